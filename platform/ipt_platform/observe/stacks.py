"""Where a process stands when it does not get on: the stacks of its threads, written by itself."""

import contextlib
import faulthandler
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def stacks_when_silent(
    path: Path, after: float, every: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[], None]]:
    """Give a function to be called whenever something was done; after so many seconds without a call the stacks are written.

    A thread that needs nothing of Python writes them, so it does not matter whether the interpreter's lock is held. There can
    be one such watch in a process.

    Args:
        path: the file that they are appended to.
        after: seconds.
        every: seconds that must lie between two calls; those in between do nothing.
        clock: seconds, of this process alone.
    """
    last = float("-inf")
    with path.open("a") as file:

        def alive() -> None:
            nonlocal last
            now = clock()
            if now - last >= every:
                last = now
                faulthandler.dump_traceback_later(after, file=file)

        alive()
        try:
            yield alive
        finally:
            faulthandler.cancel_dump_traceback_later()
