"""What the files of a run say, carried elsewhere while it goes on: to trackers and to those who want to be told.

The files are the truth, so a feed needs no memory of its own: what it could not tell yet stands there, and it is told later, in
order, also by another process. Each feed goes in a thread of its own; none can hold up or end a run.
"""

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from ipt_platform.errors import CancelledRunError, InfrastructureError, IptError
from ipt_platform.observe.events import append_event
from ipt_platform.observe.redact import redact, secrets_of
from ipt_platform.observe.rundir import RunDir

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks at the files."""

LONGEST_SECONDS = 60.0
"""Between two tries, unless the other side asks for more."""

LAST_SECONDS = 20.0
"""For which the end of a command waits until everything is told."""


class FeedError(InfrastructureError):
    """The other side did not take what it was told; `pause` is how many seconds it asks for (0: it does not say)."""

    def __init__(self, message: str, pause: float = 0.0):
        self.pause = pause
        super().__init__(message)


class Feed(Protocol):
    """What tells one listener of one run. A turn that failed is made again, and goes on where the listener stands."""

    @property
    def name(self) -> str:
        """Who is told, for people; without anything secret."""
        ...

    @property
    def rest(self) -> str:
        """The command that tells what has not been told, without the run."""
        ...

    def turn(self, last: bool) -> None:
        """Tell what is new.

        Args:
            last: whether the files will say no more.

        Raises:
            Exception: whatever the listener's library raises; the turn is made again.
        """
        ...


@contextlib.contextmanager
def feeding(run: RunDir, feeds: Sequence[Feed], patience: float = LAST_SECONDS) -> Iterator[None]:
    """Let feeds go until the block is over, and then for at most so many seconds more; whoever has not been told all is named.

    Args:
        run: the run.
        feeds: what tells of it.
        patience: seconds.
    """
    threads = [_Thread(run, feed) for feed in feeds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end = time.monotonic() + patience
        for thread in threads:
            thread.finish(end)
        # Who does not want to wait for it has said so; how the run ended is what counts.
        with contextlib.suppress(KeyboardInterrupt, CancelledRunError):
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
        for thread in threads:
            thread.tell_what_is_left()


def tell(feed: Feed) -> None:
    """Tell everything now, of a run that nobody leads, or in addition to who does: a listener hears nothing twice by it.

    Raises:
        InfrastructureError: it cannot be told.
    """
    try:
        feed.turn(last=True)
    except IptError:
        raise
    except Exception as error:  # of any kind, as below
        log.info("%s", feed.name, exc_info=error)
        raise InfrastructureError(f"{feed.name} cannot be told: {_in_words(error)}") from error


class _Thread(threading.Thread):
    def __init__(self, run: RunDir, feed: Feed):
        super().__init__(name=f"ipt-feed {feed.name}", daemon=True)
        self.run_dir, self.feed = run, feed
        self.over, self.end = threading.Event(), float("inf")
        self.failures, self.why, self.done = 0, "", False
        self.not_before = float("-inf")
        self.rng = random.Random()  # noqa: S311 - pauses need no secrecy

    def finish(self, end: float) -> None:
        """Tell it that the files will say no more, and until when it may try."""
        self.end = end
        self.over.set()

    def run(self) -> None:
        """Look, tell, wait; until the files say no more and all is told, or until the end."""
        while not self.done:
            last = self.over.is_set()
            pause = self._turn(last)
            self.over.wait(pause)
            if last:
                self.not_before = max(self.not_before, time.monotonic() + pause)
            if self.over.is_set() and not self.done:
                if self.not_before >= self.end:
                    return
                time.sleep(max(0.0, self.not_before - time.monotonic()))

    def tell_what_is_left(self) -> None:
        if not self.done:
            run, why = self.run_dir, self.why or "it is slow"
            self._warn(f"{self.feed.name} has not been told everything ({why}); `{self.feed.rest} {run.place}` tells the rest")

    def _turn(self, last: bool) -> float:
        """One turn; seconds until the next."""
        try:
            self.feed.turn(last)
        except Exception as error:  # of any kind: the libraries of others raise what they like, and the run goes on
            log.info("%s", self.feed.name, exc_info=error)
            self.failures += 1
            self.why = _in_words(error)
            if self.failures == 1 and not last:
                self._warn(f"{self.feed.name} cannot be told ({self.why}); it is tried again, and nothing is lost")
            asked = error.pause if isinstance(error, FeedError) else 0.0
            self.not_before = time.monotonic() + asked
            return max(asked, min(LONGEST_SECONDS, 2.0 ** min(self.failures - 1, 16)) * self.rng.uniform(0.5, 1))
        if self.failures and not last:
            self._warn(f"{self.feed.name} is told again, everything that it has missed too")
        self.failures, self.why, self.done = 0, "", last
        return LOOK_SECONDS

    def _warn(self, reason: str) -> None:
        # The storage may be why; then it says so itself.
        with contextlib.suppress(IptError, OSError):
            append_event(self.run_dir, "warning", self.run_dir.current_attempt(fresh=False), reason=reason)


def _in_words(error: Exception) -> str:
    words = " ".join(f"{error}".split()) or type(error).__name__
    return redact(words, secrets_of(os.environ))[:300].rstrip(". ")
