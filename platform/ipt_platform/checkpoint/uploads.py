"""Checkpoints on their way to where a run is kept: one is sent, one waits, and who brings a third one waits too.

So a slow store delays the training by what it is slower, and no more; one that fails is tried until patience is over, while
training goes on as long as there is room.
"""

import logging
import threading
import time
from collections.abc import Callable

from ipt_platform.errors import InfrastructureError, IptError, NoRoomError, storage_failed

log = logging.getLogger(__name__)

ROOM = 2
"""Checkpoints: one that is sent, and one that waits."""

PAUSE = 2.0
"""Seconds between two attempts, beside the pauses that each of them takes itself."""

LOOK = 1.0
"""Seconds between two calls of `waits`."""

NOTICED = 0.1
"""Seconds that training waits before it is worth a word."""


class Uploads:
    """A thread that sends checkpoints in the order in which they are given.

    Args:
        send: sends one, by its step; may be called again after an InfrastructureError.
        sent: called after each with its step and the seconds that it took.
        warn: tells people a sentence, with numbers by name.
        patience: seconds for which a failing store is tried.
        clock: seconds.
        waits: called every `LOOK` seconds by who waits for the thread: it is alive, and the store is what it waits for.
    """

    def __init__(
        self,
        send: Callable[[int], None],
        sent: Callable[[int, float], None],
        warn: Callable[..., None],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], None] = lambda: None,
    ):
        self._send, self._sent, self._warn = send, sent, warn
        self._patience, self._clock, self._waits = patience, clock, waits
        self._steps: list[int] = []
        self._failure: Exception | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._go, name="ipt-uploads", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> set[int]:
        """The steps that are not sent yet, which must stay on the disk."""
        with self._changed:
            return set(self._steps)

    def submit(self, step: int) -> None:
        """Have a step sent; waits while there is no room.

        Raises:
            IptError: the one before could not be sent.
        """
        began = self._clock()
        with self._changed:
            self._wait_until(lambda: self._failure or len(self._steps) < ROOM)
            waited = self._clock() - began
            self.check()
            self._steps.append(step)
            self._changed.notify_all()
        if waited >= NOTICED:
            self._warn(f"training waited {waited:.1f} s, because checkpoints are written faster than sent", seconds=waited)

    def finish(self) -> None:
        """Wait until all are sent.

        Raises:
            IptError: one could not be sent.
        """
        with self._changed:
            self._wait_until(lambda: self._failure or not self._steps)
            self.check()

    def check(self) -> None:
        """Raise what went wrong, if something did.

        Raises:
            InfrastructureError: the store failed for longer than patience lasts; NoRoomError where it was full.
            RefusedError: another attempt owns the run, or other bytes are in the way.
            IptError: whatever else the store says, or the disk, where it is told that a step was sent.
        """
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Take nothing more; what was not sent stays on the disk."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _wait_until(self, true: Callable[[], object]) -> None:
        while not self._changed.wait_for(true, LOOK):
            self._waits()

    def _go(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._steps or self._over)
                if self._over:
                    return
                step = self._steps[0]
            failure = self._outcome(step)
            with self._changed:
                self._failure = failure
                if not failure:
                    self._steps.remove(step)
                self._changed.notify_all()
                if failure:
                    return

    def _outcome(self, step: int) -> Exception | None:
        """What a step failed with at last, whatever it was: a thread that dies of it is waited for without end."""
        try:
            return self._deliver(step)
        except OSError as error:
            return storage_failed(error)
        except Exception as error:
            return error

    def _deliver(self, step: int) -> IptError | None:
        """Send a step; what it failed with at last."""
        began, warned = self._clock(), False
        while not self._over:
            try:
                self._send(step)
            except InfrastructureError as error:
                failed = self._clock() - began
                if failed >= self._patience:
                    # New workers would find a full store as full.
                    kind = NoRoomError if isinstance(error, NoRoomError) else InfrastructureError
                    return kind(
                        f"the checkpoint of step {step} could not be sent for {failed:.0f} s; it is on this machine, and "
                        f"submitting the run again from here goes on from it: {error}"
                    )
                log.warning("step %d: %s", step, error)
                if not warned:
                    self._warn(f"the checkpoint of step {step} cannot be sent; it is tried again: {error}", step=step)
                    warned = True
            except IptError as error:
                return error
            except OSError as error:
                return InfrastructureError(f"the checkpoint of step {step} cannot be read again: {error}")
            else:
                self._sent(step, self._clock() - began)
                return None
            with self._changed:
                self._changed.wait_for(lambda: self._over, PAUSE)
        return None
