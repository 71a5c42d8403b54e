"""The lines of metrics.jsonl, numbered so that whoever reads them anew, on whatever machine, knows where it stood."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.rundir import RunDir

REACH = 1 << 18
"""Bytes that are read at a time; so a reader that has far to catch up needs no more memory than others."""

_NO_NUMBERS = ("time", "attempt", "step", "steps")


class Place(NamedTuple):
    """A line of metrics.jsonl: the how manieth of its attempt, from 1.

    Lines of an attempt are written by one process, so this holds also where the file was put together on another machine.
    """

    attempt: int
    number: int


BEGINNING = Place(0, 0)
"""What all lines stand behind."""


class Line(NamedTuple):
    """A report, and its place."""

    place: Place
    report: dict[str, Any]


class Reports:
    """Reads the reports of a run that stand behind a place, in order.

    Args:
        run: the run.
        after: the last one that is known.
    """

    def __init__(self, run: RunDir, after: Place = BEGINNING):
        self.run, self.after = run, after
        self._follower = Follower(run.metrics)
        self._last = BEGINNING

    def more(self) -> list[Line]:
        """The next ones, not all at once; [] where there are none yet."""
        while True:
            before = self._follower.position
            lines = [self._numbered(revive(each)) for each in self._follower.poll_objects(REACH)]
            if found := [line for line in lines if line and line.place > self.after]:
                return found
            if self._follower.position == before:
                return []

    def _numbered(self, report: dict[str, Any]) -> Line | None:
        """A report with its place; None: an attempt that had lost the run wrote it, or none."""
        attempt = report.get("attempt", 0)
        if attempt < max(1, self._last.attempt) or not isinstance(report.get("step"), int):
            return None
        self._last = Place(attempt, 1 + (self._last.number if attempt == self._last.attempt else 0))
        return Line(self._last, report)


def measures(report: Mapping[str, Any]) -> bool:
    """Whether it is a report of an evaluation."""
    return "evaluation" in report


def scalars(report: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in a report by name: `loss/denoise`, `lr`, `samples/bad/cut-off`; of an evaluation `psnr/SET/TASK`."""
    if measures(report):
        return {
            f"{name}/{testset}/{task}": float(value)
            for testset, tasks in report["evaluation"].items()
            for task, numbers in tasks.items()
            for name, value in numbers.items()
            if name != "n" and _is_number(value)
        }
    return _flat({key: value for key, value in report.items() if key not in _NO_NUMBERS})


def _flat(value: Mapping[str, Any], above: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            found |= _flat(each, f"{above}{key}/")
        elif _is_number(each):
            found[f"{above}{key}"] = float(each)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
