"""The sign of life of an attempt: a number in a small file, which rises as long as training gets on.

Who watches compares numbers, never times: clocks of two machines differ, and any of them may be set back. Who looks but once
goes by when the file was written, by the clock of where it lies.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from ipt_platform.errors import InfrastructureError, NotFoundError, UsageError
from ipt_platform.observe.rundir import RunDir

LONGEST_SECONDS = 5.0
"""The file is written no more often than this, however fast the steps are."""


def beat_seconds(hang_seconds: float) -> float:
    """Seconds between two beats, where so many seconds without one mean that training stands still."""
    return min(LONGEST_SECONDS, hang_seconds / 4)


class Heartbeat:
    """Writes the sign of life; call it whenever something was done.

    Args:
        run: the run; where it lies on S3, the file goes there too.
        attempt: the attempt that lives.
        every: seconds that must lie between two beats; calls in between do nothing.
        clock: seconds, of this process alone.
    """

    def __init__(self, run: RunDir, attempt: int, every: float, clock: Callable[[], float] = time.monotonic):
        self.run, self.path, self.attempt, self.every, self.clock = run, run.heartbeat, attempt, every, clock
        self.number, self.last = 0, float("-inf")

    def __call__(self) -> bool:
        """Beat, if the last one was long enough ago; whether it did.

        Raises:
            OSError: the disk is full or refuses.
        """
        now = self.clock()
        if now - self.last < self.every:
            return False
        self.last, self.number = now, self.number + 1
        temporary = self.path.with_name(f".{self.path.name}-{self.attempt}")
        temporary.write_text(json.dumps({"attempt": self.attempt, "beat": self.number}) + "\n")
        # Not synced: after a power cut nobody watches.
        temporary.replace(self.path)
        self.run.keep(self.path)
        return True


class Silence:
    """Watches a heartbeat: how long it has not risen.

    Time in which nobody looked, because the watching process was stopped itself or S3 did not answer, is no silence.

    Args:
        run: the run.
        limit: seconds without a beat that are too long.
        every: seconds between two looks at the file.
        clock: seconds, of this process alone.
    """

    def __init__(self, run: RunDir, limit: float, every: float, clock: Callable[[], float] = time.monotonic):
        self.run, self.limit, self.every, self.clock = run, limit, every, clock
        self.newest = read_beat(run) or (0, 0)
        self.looked = clock()
        self.seconds = 0.0

    def too_long(self) -> bool:
        """Look, if it is time to: whether the heart has not beaten for longer than the limit."""
        passed = self.clock() - self.looked
        if passed < self.every:
            return False
        self.looked += passed
        if (beat := read_beat(self.run)) is None:
            return False
        # An older attempt that is still alive has a lower number, and does not count.
        if beat > self.newest:
            self.newest, self.seconds = beat, 0.0
        else:
            self.seconds += min(passed, 2 * self.every)
        return self.seconds > self.limit


def read_beat(run: RunDir) -> tuple[int, int] | None:
    """The attempt and the number of its last beat; (0, 0): there was none; None: S3 does not say, or not to us."""
    try:
        value = json.loads(run.heartbeat.read_bytes() if not run.mirror else run.mirror.remote.read(run.heartbeat.name))
        return value["attempt"], value["beat"]
    except (InfrastructureError, UsageError):
        return None
    except (NotFoundError, OSError, ValueError, KeyError, TypeError):
        return 0, 0


def last_beat(run: RunDir, attempt: int) -> datetime | None:
    """When an attempt last beat, by the clock of S3 or of the file system and not of the machine it runs on; None: never."""
    if (read_beat(run) or (0, 0))[0] != attempt:
        return None
    if mirror := run.mirror:
        entry = mirror.remote.find(run.heartbeat.name)
        return entry.modified if entry else None
    try:
        return datetime.fromtimestamp(run.heartbeat.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
