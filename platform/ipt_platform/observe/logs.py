"""The logs of a run as records: a line with time and level, and the lines after it (a traceback) that have neither.

What Python's logging writes here is read, and what Ray writes in either of its forms:

    2026-11-25 20:55:51,420 INFO ipt_platform.train.worker: worker 0 of 1 on cpu, 2 threads
    2026-11-25 20:55:51,420<tab>INFO worker.py:2014 -- Started a local Ray instance.
    [2026-11-25 20:55:51,420 W 4242 4242] (raylet) node_manager.cc:103: ...

Times are those of the machine that wrote them; they are read in the time zone of the one that reads.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.observe.jsonl import Follower, last_lines
from ipt_platform.observe.moments import since as moment_of
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
Log = tuple[int, str]
"""Whose log it is: attempt, and rank or word."""

HELD = 1000
"""So many lines of a record are kept while none of them has matched."""

_LETTERS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "C": "CRITICAL", "F": "CRITICAL"}
_HEAD = re.compile(
    r"\[?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,](\d{1,6}))?\s+(DEBUG|INFO|WARNING|ERROR|CRITICAL|FATAL|[DIWECF](?= ))\b"
)


@dataclass(frozen=True)
class Wanted:
    """Which records are wanted: of this level and above, in one of whose lines the pattern is found, not older than `since`."""

    level: str | None = None
    pattern: re.Pattern[str] | None = None
    since: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.level or self.pattern or self.since)


def wanted(level: str | None, grep: str | None, since: str | None, now: datetime) -> Wanted:
    """What a person asked for.

    Args:
        level: one of LEVELS in any case, or `warn`.
        grep: a regular expression.
        since: as `moments.since`.
        now: the present moment, with its offset.

    Raises:
        UsageError: one of them cannot be read.
    """
    name = level and {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(level.upper(), level.upper())
    if name and name not in LEVELS:
        raise UsageError(f"--level {level!r} is no level; expected one of {', '.join(map(str.lower, LEVELS))}")
    try:
        pattern = re.compile(grep) if grep else None
    except re.error as error:
        raise UsageError(
            f"--grep {grep!r} is no regular expression: {error}; write \\ before what is meant as it is"
        ) from error
    return Wanted(name, pattern, moment_of(since, now) if since else None)


@dataclass
class Sieve:
    """Lets the lines of wanted records through, line by line as they are written.

    sieve = Sieve(Wanted(level="ERROR"))
    for line in lines:
        shown += sieve.feed(line)
    """

    wanted: Wanted
    _fits: bool = False  # the present record by its level and time
    _found: bool = False  # and the pattern in it
    _held: deque[str] = field(default_factory=lambda: deque(maxlen=HELD))

    def __post_init__(self) -> None:
        self._begin(None, None)

    def feed(self, line: str) -> list[str]:
        """The lines that are to be shown, now that this one has come."""
        if head := _HEAD.match(line):
            date, time, fraction, level = head.groups()
            self._begin(_LETTERS[level[0]], _moment(f"{date} {time}.{fraction or 0}") if self.wanted.since else None)
        if not self._fits:
            return []
        if not self._found and not (self.wanted.pattern and self.wanted.pattern.search(line)):
            self._held.append(line)
            return []
        self._found = True
        shown = [*self._held, line]
        self._held.clear()
        return shown

    def _begin(self, level: str | None, time: datetime | None) -> None:
        """A record begins; what comes before the first has neither level nor time."""
        want = self.wanted
        high = not want.level or (level in LEVELS and LEVELS.index(level) >= LEVELS.index(want.level))
        new = not want.since or (time is not None and time >= want.since)
        self._fits, self._found = high and new, not want.pattern
        self._held.clear()


def choose_logs(run: RunDir, attempt: int, rank: str | None) -> dict[str, Path]:
    """The logs of an attempt by rank (or word), or the one of this rank.

    Raises:
        NotFoundError: there are none.
    """
    files = run.log_files(attempt)
    if not files:
        raise NotFoundError(f"run {run.id} has no logs of attempt {attempt}: {run_status(run).reason}")
    if rank is None:
        return files
    if rank not in files:
        raise NotFoundError(f"attempt {attempt} of run {run.id} has no log {rank!r}; there are: {', '.join(files)}")
    return {rank: files[rank]}


def tail(path: Path, count: int, end: int | None = None, sieve: Sieve | None = None, reach: int | None = None) -> list[str]:
    """The last lines of a log.

    Args:
        path: the log.
        count: how many.
        end: look only at the first so many bytes (where a Follower stands).
        sieve: count those alone that it lets through; the log is then read from its beginning,
        reach: or so many bytes before its end, if it has more.
    """
    if sieve is None or not sieve.wanted:
        return [line.decode(errors="replace") for line in last_lines(path, count, end)]
    found: deque[str] = deque(maxlen=count)
    left = path.stat().st_size if end is None else end
    with path.open("rb") as file:
        if reach is not None and left > reach:
            file.seek(left - reach)
            left = reach - len(file.readline(reach))  # of which the beginning is missing
        while left > 0 and (line := file.readline(left)):
            left -= len(line)
            found.extend(sieve.feed(line.decode(errors="replace").rstrip("\r\n")))
    return [line for line in found if line.strip()]


def follow_lines(
    followers: dict[Log, Follower],
    appeared: Callable[[], Mapping[Log, Path]],
    running: Callable[[], bool],
    sleep: Callable[[float], None],
    period: float = 0.5,
) -> Iterator[tuple[Log, str]]:
    """New `(log, line)` of growing files until `running` says no; what was written before that still comes.

    Args:
        followers: the files by attempt and rank; those that appear are added.
        appeared: the files that are there by now; a new one is followed from its beginning.
        running: whether more is to be expected.
        sleep: waits so many seconds.
        period: seconds between two looks.
    """
    while True:
        more = running()
        for log, path in appeared().items():
            followers.setdefault(log, Follower(path))
        for log, follower in followers.items():
            for line in follower.poll():
                yield log, line.decode(errors="replace")
        if not more:
            return
        sleep(period)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").astimezone()
    except (ValueError, OverflowError):
        return None  # of the form of a time, but none
