"""One attempt at a compound job: its run, its word on how far it is, and whether somebody asked it to stop."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipt_platform.errors import IptError, RefusedError
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.train.slots import Slots

RayOf = Callable[[Slots], AbstractContextManager[None]]
"""Connects to a Ray that has what is asked of it."""


@dataclass
class Whole:
    """A compound job that is being done.

    Attributes:
        run: its run.
        attempt: this attempt at it.
        base: what relative paths are relative to.
        leader: the process with which it and its jobs live and end.
        total: jobs in all, as far as it is known.
        done: jobs that are over.
        clock: seconds, for durations.
    """

    run: RunDir
    attempt: int
    base: Path
    leader: Process
    total: int
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def member(self, name: str) -> RunDir:
        """The run of one of the jobs."""
        return RunDir(self.run.members / name)

    def asked_to_stop(self) -> str | None:
        """Why this attempt should stop, or None.

        Raises:
            RefusedError: another attempt has taken the run over.
        """
        if self.run.current_attempt() != self.attempt:
            with self.run.fence(self.attempt)():
                pass
        return self.run.stop_requested(self.attempt)

    def tell(self, name: str, state: str, **fields: Any) -> None:
        """Write that one of the jobs began or is over."""
        append_event(self.run, "job", self.attempt, job=name, state=state, **fields)

    def count(self, done: int) -> None:
        """Write how many of the jobs are over."""
        self.done = done
        seconds = self.clock() - self.began
        append_metrics(
            self.run, {"attempt": self.attempt, "step": done, "steps": self.total, "seconds": seconds, "eta_seconds": None}
        )


@contextmanager
def attempt_at(run: RunDir, base: Path, leader: Process | None, total: int) -> Iterator[Whole]:
    """Begin an attempt, and write how it ended: what it raises, or that it finished.

    Raises:
        IptError: what the block raised.
    """
    leader = leader or this_process()
    attempt = run.new_attempt(leader)
    append_event(run, "resumed" if attempt > 1 else "started", attempt, step=0, steps=total)
    whole = Whole(run, attempt, base, leader, total)
    try:
        yield whole
        with run.fence(attempt)():
            append_event(run, "finished", attempt, step=whole.total, reason=f"all {whole.total} jobs of it are over")
    except IptError as error:
        with suppress(RefusedError), run.fence(attempt)():  # unless another attempt has taken the run over
            append_ending(run, attempt, error)
        raise
