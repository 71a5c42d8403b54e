"""How a process tells the exporter of what it does: without waiting for it, and whether or not there is one.

What is told is laid down in a mailbox, which a thread empties. There newer values of a gauge replace older ones and what is
counted adds up, so a slow exporter costs neither memory nor numbers. Every message holds all gauges of this process anew, and
one comes now and then even if nothing happened: an exporter that was started anew knows everything again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

log = logging.getLogger(__name__)

Report = tuple[str, Mapping[str, str], str, Any]
"""`(metric, labels, operation, value)`: "add" to a counter, "set" a gauge, raise it to a "max", "observe" a list of numbers."""

COUNTS = ("add", "observe")
"""The operations of which none may be left out; of gauges, the last one counts."""

RENEW_SECONDS = 30.0
"""How often gauges are told again."""

PAUSE_SECONDS = 0.5
"""Between two looks into the mailbox, so that steps of milliseconds are told together."""

CLOSE_SECONDS = 5.0
"""For the last words at the end of a run, if an exporter is there and slow."""

LOOK_SECONDS = 30.0
"""How often an exporter is looked for that is not there."""

OBSERVATIONS = 10_000
"""Of each series in the mailbox; those above are dropped and counted."""


class Line(Protocol):
    """A connection to the exporter."""

    def send(self, reports: list[Report]) -> bool:
        """Hand over a message, without waiting until it is taken; False: an earlier one is not taken yet.

        Raises:
            LostError: the exporter is gone; what was sent last may be lost.
        """
        ...

    def settle(self, seconds: float) -> None:
        """Wait so long at most until what was sent is taken.

        Raises:
            LostError: as above.
        """


class LostError(Exception):
    """The exporter is gone, or does not know what it is told; another one may come."""


class Mailbox:
    """What is to be told next.

    Attributes:
        fresh: whether something was laid down since it was last emptied.
        lock: held by who lays down what belongs together.
    """

    def __init__(self) -> None:
        self.fresh = False
        self.lock = threading.RLock()
        self._gauges: dict[tuple[Any, ...], Report] = {}
        self._counts: dict[tuple[Any, ...], Report] = {}

    def put(self, *reports: Report) -> None:
        """Lay down reports."""
        with self.lock:
            self.fresh = True
            for report in reports:
                self._put(report)

    def take(self) -> list[Report]:
        """Everything that is to be told; counts are then told, gauges stay."""
        with self.lock:
            self.fresh = False
            found = [*self._gauges.values(), *self._counts.values()]
            self._counts = {}
            return found

    def put_back(self, reports: list[Report]) -> None:
        """What was taken was not told: counts are counted again."""
        self.put(*(report for report in reports if report[2] in COUNTS))

    def _put(self, report: Report) -> None:
        name, labels, operation, value = report
        key = (name, *labels.items())
        kept = self._counts if operation in COUNTS else self._gauges
        before = kept[key][3] if key in kept else None
        match operation:
            case "add" if before is not None:
                value = before + value
            case "max" if before is not None:
                value = max(before, value)
            case "observe":
                value = [*(before or ()), *value]
                if (over := len(value) - OBSERVATIONS) > 0:
                    value = value[:OBSERVATIONS]
                    self._put(dropped(over))
        kept[key] = (name, labels, operation, value)


def dropped(values: int) -> Report:
    """The report that values were not told as the exporter was busy or gone."""
    return ("ipt_exporter_dropped_total", {"reason": "busy"}, "add", values)


class Teller:
    """Tells the exporter what lies in a mailbox, from a thread of its own that begins with the first word.

    Args:
        find: looks for the exporter; None: there is none now.
        clock: seconds.
    """

    def __init__(self, find: Callable[[], Line | None], clock: Callable[[], float] = time.monotonic):
        self._find, self._clock = find, clock
        self._mailbox = Mailbox()
        self._line: Line | None = None
        self._counts_sent = 0
        self._sent = self._looked = float("-inf")
        self._closing, self._end = threading.Event(), float("inf")
        self._thread: threading.Thread | None = None

    @property
    def heard(self) -> bool:
        """Whether there is an exporter, as far as is known."""
        return self._line is not None

    @property
    def at_once(self) -> AbstractContextManager[Any]:
        """What is told in such a block comes in one message."""
        return self._mailbox.lock

    def tell(self, *reports: Report) -> None:
        """Tell of something; returns at once, and whatever becomes of it is no concern of the caller."""
        self._mailbox.put(*reports)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telling", daemon=True)
            self._thread.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Tell what is left, for so many seconds at most, and end the thread; without an exporter that is done at once."""
        self._end = self._clock() + seconds
        self._closing.set()
        if self._thread:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            closing = False
            while not closing:
                closing = self._closing.wait(PAUSE_SECONDS)
                if self._mailbox.fresh or self._clock() - self._sent > RENEW_SECONDS:
                    self._send()
            while self._line and self._mailbox.fresh and (left := self._end - self._clock()) > 0:  # it was busy
                self._line.settle(left)
                self._send()
            if self._line:
                self._line.settle(RENEW_SECONDS)
        except LostError as error:
            log.info("%s", error)
        except Exception:  # a mistake of ours here shall not reach the training, but shall be seen
            log.exception("nothing more is told to the exporter of metrics")

    def _send(self) -> None:
        line = self._line or self._look()
        if line is None:
            return
        reports = self._mailbox.take()
        try:
            if not line.send(reports):
                self._mailbox.put_back(reports)
                return
        except LostError as error:
            log.info("%s", error)
            self._line = None
            self._mailbox.put_back(reports)
            self._mailbox.put(dropped(self._counts_sent))
            return
        self._sent = self._clock()
        self._counts_sent = sum(operation in COUNTS for _, _, operation, _ in reports)

    def _look(self) -> Line | None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        self._line = self._find()
        return self._line


class Voice:
    """Tells in the name of a job; without a teller it says nothing.

    Args:
        teller: whom it tells.
        job: name of the job.
        part: whether it speaks for one of several runs of the job that go on at a time, as those of a search: what they count
            adds up under the name of the search, and gauges of one of them would be those of none.
    """

    def __init__(self, teller: Teller | None, job: str, part: bool = False):
        self.teller, self.job, self.part = teller, job, part

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy, such as one in a snapshot of Ray Tune's: it says nothing, for its teller is a thread of this process."""
        return vars(self) | {"teller": None}

    @property
    def heard(self) -> bool:
        """Whether somebody listens, as far as is known: what costs time need not be worked out for nobody."""
        return self.teller is not None and self.teller.heard

    @property
    def at_once(self) -> AbstractContextManager[Any]:
        """What is told in such a block comes in one message."""
        return self.teller.at_once if self.teller else nullcontext()

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add to a counter."""
        self._tell(name, labels, "add", value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._tell(name, labels, "set", value)

    def raise_to(self, name: str, value: float, **labels: str) -> None:
        """Raise a gauge to a value, if that is more."""
        self._tell(name, labels, "max", value)

    def observe(self, name: str, values: Sequence[float], **labels: str) -> None:
        """Add to a histogram."""
        self._tell(name, labels, "observe", values)

    def close(self) -> None:
        """Tell what is left, and nothing more (`Teller.close`)."""
        if self.teller:
            self.teller.close()

    def _tell(self, name: str, labels: dict[str, str], operation: str, value: Any) -> None:
        if self.teller and (operation in COUNTS or not self.part):
            self.teller.tell((name, {"job": self.job, **labels}, operation, value))
