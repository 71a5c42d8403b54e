"""Wait until a run has ended, and say how."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ipt_platform.errors import ExitCode, StillRunningError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status, ending_of, exit_code_of, run_status
from ipt_platform.observe.submitted import submitted

PERIOD = 0.5
"""Seconds between two looks."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its state, the exit code that stands for it (`errors.ExitCode`), and all else that is known of it."""

    status: Status
    exit_code: int

    @property
    def state(self) -> str:
        """One of `observe.status.STATES`."""
        return self.status.state


class Patience:
    """Waits between looks at a run, for so many seconds in all.

    Args:
        seconds: None: for ever.
        sleep: waits so many seconds.
        clock: seconds.
    """

    def __init__(
        self,
        seconds: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.seconds, self._sleep, self._clock = seconds, sleep, clock
        self._began = clock()

    def pause(self) -> bool:
        """Wait for the time of the next look; False if there is none."""
        left = PERIOD if self.seconds is None else self.seconds - (self._clock() - self._began)
        if left <= 0:
            return False
        self._sleep(min(PERIOD, left))
        return True


def settled(run: RunDir) -> Status:
    """The status of a run; one that wrote its ending and went while it was being looked at is not taken for interrupted."""
    status = run_status(run, quick=True)
    return run_status(run) if status.state == "interrupted" else status


def goes_on(run: RunDir) -> bool:
    """Whether more is to be expected of a run: it is under way, or a cluster has it and has not begun."""
    state = settled(run).state
    return state == "running" or (state == "created" and submitted(run) is not None)


def ended(run: RunDir) -> Ended | None:
    """How a run ended; None while it is running or has not begun."""
    status = settled(run)
    if status.state in ("running", "created"):
        return None
    ending = ending_of(run, status.attempt)
    return Ended(status, exit_code_of(ending) if ending else ExitCode.INFRASTRUCTURE)


def wait_for_end(run: RunDir, patience: Patience, look: Callable[[], None] = lambda: None) -> Ended:
    """Wait until a run has ended; one that has not begun is waited for too.

    Args:
        run: the run.
        patience: how long.
        look: called at each look; what it raises ends the waiting.

    Raises:
        StillRunningError: patience came to an end.
    """
    while not (found := ended(run)):
        look()
        if not patience.pause():
            status = settled(run)
            raise StillRunningError(
                f"run {run.id} has not ended within {patience.seconds:g} s: {status.state}: {status.reason}"
            )
    return found
