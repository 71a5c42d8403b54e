"""One submission of a run, as those see it who drive its attempts."""

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ipt_platform.errors import IptError
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import run_at

log = logging.getLogger(__name__)

_opened = cache(run_at)


@dataclass(frozen=True)
class Submission:
    """One submission of a run; goes to other machines.

    Attributes:
        path: its folder on the machine that submitted it.
        storage: where it lies on S3; None: it does not.
        leader: who leads its attempts.
        before: the newest attempt before them.
    """

    path: Path
    storage: str | None
    leader: Process
    before: int

    @classmethod
    def of(cls, run: RunDir, leader: Process) -> "Submission":
        """The one that begins now."""
        return cls(run.path.absolute(), run.mirror.about.storage if run.mirror else None, leader, run.current_attempt())

    @property
    def run(self) -> RunDir:
        """The run, as it is seen from this machine (`observe.storage.run_at`)."""
        return _opened(self.path, self.storage)

    def tell(self, event: str, reason: str, **fields: Any) -> None:
        """Append an event to the run's, unless somebody else has taken it over by now.

        That the storage takes none is logged only: it is seldom the first sign of it.
        """
        try:
            if (attempt := self._attempt()) is not None:
                append_event(self.run, event, attempt, reason=reason, **fields)
        except (OSError, IptError):
            log.exception("this could not be written to the events of %s: %s: %s", self.path, event, reason)

    def tell_ending(self, error: IptError) -> None:
        """Append the ending that an error is, as `tell`."""
        try:
            if (attempt := self._attempt()) is not None:
                append_ending(self.run, attempt, error)
        except (OSError, IptError):
            log.exception("this could not be written to the events of %s: the ending: %s", self.path, error)

    def asked_to_stop(self) -> str | None:
        """The reason why the newest attempt of this submission is asked to stop, or None; of a run on S3 some seconds old."""
        own = self.run.attempt_of(self.leader, self.before, fresh=False)
        return self.run.stop_requested(own) if own is not None else None

    def _attempt(self) -> int | None:
        attempt = self.run.current_attempt()
        own = self.run.attempt_of(self.leader, self.before)
        return attempt if attempt in (self.before, own) else None
