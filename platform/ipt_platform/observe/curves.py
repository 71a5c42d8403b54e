"""What a run has reported, step by step: each step once, as the attempt that counts saw it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.metrics_log import psnr_of, revive
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.waiting import goes_on

NUMBERS = ("lr", "bias_lr", "images_per_second", "data_wait_share")
"""What of a report is shown beside losses and PSNR, by its name in metrics.jsonl."""


Column = tuple[str, ...]
"""What a number is: `("loss", task)`, `("lr",)`, `("psnr", set, task)`."""


@dataclass
class Report:
    """What is known of a step.

    Attributes:
        step: steps done.
        attempt: the attempt that reported it.
        time: of the last line about it, UTC, ISO 8601.
        numbers: by name (of NUMBERS).
        loss: by task.
        psnr: dB by test set and task.
    """

    step: int
    attempt: int
    time: str
    numbers: dict[str, float] = field(default_factory=dict)
    loss: dict[str, float] = field(default_factory=dict)
    psnr: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "step": self.step,
            "attempt": self.attempt,
            "time": self.time,
            "loss": self.loss,
            **{name: self.numbers.get(name) for name in NUMBERS},
            "psnr": self.psnr,
        }

    def cells(self) -> dict[Column, float]:
        """Every number of it by what it is."""
        return {
            **{("loss", task): value for task, value in self.loss.items()},
            **{(name,): self.numbers[name] for name in NUMBERS if name in self.numbers},
            **{("psnr", name, task): value for name, tasks in self.psnr.items() for task, value in tasks.items()},
        }


def reports_of(lines: Iterable[Mapping[str, Any]]) -> list[Report]:
    """The reports in lines of metrics.jsonl in the order of their steps, an evaluation joined to the step that it measured.

    An attempt that goes on from a checkpoint does steps again: what was reported of them before no longer counts.
    """
    found: list[Report] = []
    for line in lines:
        step = line.get("step")
        if not isinstance(step, int):
            continue
        measures = "evaluation" in line
        while found and (found[-1].step > step or (found[-1].step == step and not measures)):
            found.pop()
        if not found or found[-1].step != step:
            found.append(Report(step, line.get("attempt", 0), ""))
        _add(found[-1], line)
    return found


def report_of(line: Mapping[str, Any]) -> Report:
    """The report in one line."""
    report = Report(line.get("step", 0), line.get("attempt", 0), "")
    _add(report, line)
    return report


def follow_reports(run: RunDir, follower: Follower, sleep: Callable[[float], None], period: float = 0.5) -> Iterator[Report]:
    """Each report that comes until the run has ended, also of one that has not begun; an evaluation is one of its own.

    Args:
        run: the run.
        follower: of its metrics.jsonl.
        sleep: waits so many seconds.
        period: seconds between two looks.
    """
    while True:
        more = goes_on(run)
        yield from (report_of(revive(line)) for line in follower.poll_objects())
        if not more:
            return
        sleep(period)


def columns_of(reports: Iterable[Report]) -> list[Column]:
    """What the reports have numbers of, each once, in order."""
    return in_order(name for report in reports for name in report.cells())


def in_order(columns: Iterable[Column]) -> list[Column]:
    """Columns without repetitions: losses, then NUMBERS, then PSNR."""
    order = ("loss", *NUMBERS, "psnr")
    return sorted(dict.fromkeys(columns), key=lambda name: order.index(name[0]))


def curve(reports: Sequence[Report], name: Column) -> list[float]:
    """One column, without the steps that have no number in it."""
    return [cells[name] for report in reports if name in (cells := report.cells())]


def _add(report: Report, line: Mapping[str, Any]) -> None:
    report.time = line.get("time", report.time)
    report.loss |= line.get("loss", {})
    report.numbers |= {name: line[name] for name in NUMBERS if line.get(name) is not None}
    report.psnr |= psnr_of(line)
