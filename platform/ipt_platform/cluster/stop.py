"""Ctrl-C and SIGTERM: the first asks a training for a checkpoint, the second, or one that nothing can wait for, ends it.

The handlers only write down what came. What follows from it is done between two looks at the run, so a signal never breaks
into anything, and least of all into the clearing up.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from ipt_platform.errors import CancelledRunError
from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """What the signals that came ask for.

    Args:
        run: the run.
        own_attempt: the attempt of this submission that owns the run now, None before the first.
        gently: whether an attempt can stop by itself.
        lost: what is lost when everything is ended at once, as the end of a sentence.
    """

    def __init__(self, run: RunDir, own_attempt: Callable[[], int | None], gently: bool, lost: str = ""):
        self.run, self.own_attempt, self.gently = run, own_attempt, gently
        self.lost = lost
        self.heard: list[int] = []
        self.asked: int | None = None

    def at_once(self) -> bool:
        """Act on what was heard: whether to end everything now; asks the attempt to stop if that is enough."""
        if not self.heard:
            return False
        attempt = self.own_attempt()
        if attempt is None or not self.gently or len(self.heard) > 1:
            return True
        if attempt != self.asked:  # the first time, or lost workers were replaced before they could hear
            reason = f"{name_of(self.heard[0])}; once more to stop at once"
            append_event(self.run, "stop-requested", attempt, reason=reason)  # before the run hears, and writes what it does
            self.run.request_stop(f"stopped by {name_of(self.heard[0])}")
            self.asked = attempt
        return False

    def error(self) -> CancelledRunError:
        """Why everything was ended."""
        name = name_of(self.heard[-1])
        if self.own_attempt() is None:
            return CancelledRunError(f"stopped by {name} before it had begun")
        return CancelledRunError(f"stopped at once by {name}{self.lost}")


@contextlib.contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """Let a Stop hear the signals of this process; in any other thread than the main one there are none to hear."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, frame: stop.heard.append(number)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def name_of(number: int) -> str:
    """What people call a signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
