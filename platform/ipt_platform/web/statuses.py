"""The states of all runs of a storage for who looks again and again: worked out anew only where a run's files have changed."""

import logging
import os
import pwd
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import IptError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.status import Status, run_status
from ipt_platform.observe.storage import is_remote, list_runs
from ipt_platform.observe.submitted import submitted

FRESH_SECONDS = 1.0
"""How old an answer may be: several people who look at once cost no more than one."""

_FRESH_ON_S3 = 5.0
_LOOKED_AT = ("events.jsonl", "metrics.jsonl", "stop.json", "submission.json", "heartbeat.json", "attempts", "checkpoints")

DAMAGED = "damaged"
"""The state on the page of a run whose files cannot be understood; its reason says what is wrong with them."""

log = logging.getLogger(__name__)

_Mark = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Row:
    """A run of a list: its state, and who it belongs to ("": not known)."""

    status: Status
    owner: str


class Statuses:
    """The runs of a storage.

    Args:
        storage: a folder, or `s3://bucket/prefix`.
        clock: seconds.
    """

    def __init__(self, storage: str, clock: Callable[[], float] = time.monotonic):
        self.storage, self._clock = storage, clock
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._at = float("-inf")
        self._known: dict[str, tuple[_Mark, Row]] = {}

    def all(self) -> list[Row]:
        """Every run by name, as it was a moment ago.

        Raises:
            UsageError: the storage is none, or S3 does not let us.
            InfrastructureError: S3 fails.
        """
        with self._lock:
            fresh = _FRESH_ON_S3 if is_remote(self.storage) else FRESH_SECONDS
            if self._clock() - self._at > fresh:
                remote = is_remote(self.storage)
                self._rows = [Row(each, "") for each in all_statuses(self.storage)] if remote else self._look()
                self._at = self._clock()
            return self._rows

    def _look(self) -> list[Row]:
        runs = {run.id: run for run in list_runs(self.storage)}
        known = {name: self._row(run) for name, run in runs.items()}
        self._known = known
        return [row for _, row in known.values()]

    def _row(self, run: RunDir) -> tuple[_Mark, Row]:
        mark = _mark(run.path)
        before = self._known.get(run.id)
        # Whether a process lives, or a file may be read, is not seen from their marks alone.
        if before and before[0] == mark and before[1].status.state not in ("running", DAMAGED):
            return before
        owner = before[1].owner if before and before[0] == mark else owner_of(run)
        return mark, Row(status_of(run), owner)


def status_of(run: RunDir) -> Status:
    """The state of a run from the ends of its files; that of one whose files cannot be understood is DAMAGED.

    Raises:
        IptError: as `observe.status.run_status`.
    """
    try:
        return run_status(run, quick=True)
    except IptError:
        raise
    except Exception as error:  # whatever stands in the files of one run, the others are to be seen
        log.debug("run %s", run.id, exc_info=error)
        return Status(run.id, DAMAGED, f"its files cannot be understood: {type(error).__name__}: {error}")


class Members:
    """The runs of the searches and analyses that were asked for last.

    Args:
        most: so many of them are kept.
    """

    def __init__(self, most: int = 16):
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[str, Statuses] = OrderedDict()

    def of(self, run: RunDir) -> list[Row]:
        """The runs of one, by name; [] where it has none.

        Raises:
            UsageError, InfrastructureError: as `Statuses.all`.
        """
        place = f"{run.place}/{run.members.name}"
        with self._lock:
            found = self._kept.pop(place, None) or Statuses(place)
            self._kept[place] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found.all()


def owner_of(run: RunDir) -> str:
    """Who submitted a run to a cluster, or else whose its folder is; "": not known."""
    if place := submitted(run):
        return place.owner
    if run.mirror:
        return ""  # its folder here belongs to who looks at it
    try:
        return pwd.getpwuid(run.path.stat().st_uid).pw_name
    except (KeyError, OSError):
        return ""


def _mark(folder: Path) -> _Mark:
    """What changes if somebody writes to a run."""
    base, found = f"{folder}/", []
    for name in _LOOKED_AT:
        try:
            stat = os.stat(base + name)  # noqa: PTH116 - thousands of these at a time
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)
