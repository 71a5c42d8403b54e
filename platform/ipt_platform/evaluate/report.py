"""The report of a run: `report.json` for programs, a table for people.

    {"protocol": "rgb-uint8",
     "sets": {set: {task: {"psnr": dB, "psnr_input": dB, "ssim": 0..1, "n": pictures}}},
     "parameters": {"backbone": count, "bias": {task: count}},
     "steps": count, "seconds": s, "images_per_second": 1/s, "data_wait_share": 0..1,
     "samples": {"seen": count, "bad": {kind: count}}}

A PSNR of null is infinite: no picture had any error. What was not measured has no entry. A job that restores has a report of
its own (`cluster.restore.make_report`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.evaluate.metrics import from_json_number

Sets = Mapping[str, Mapping[str, Mapping[str, Any]]]
HEADINGS = ("set", "task", "pictures", "input dB", "restored dB", "gain", "SSIM")


@dataclass(frozen=True)
class Row:
    """One line of the table; PSNR and gain in dB, possibly infinite."""

    set: str
    task: str
    n: int
    psnr_input: float
    psnr: float
    ssim: float

    @property
    def gain(self) -> float:
        """Decibels won by restoring; 0 where the input was already identical and still is."""
        return 0.0 if self.psnr == self.psnr_input else self.psnr - self.psnr_input

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of `HEADINGS`."""
        numbers = f"{self.psnr_input:.2f}", f"{self.psnr:.2f}", f"{self.gain:+.2f}", f"{self.ssim:.4f}"
        return self.set, self.task, str(self.n), *numbers


def make_report(
    protocol: str,
    sets: Sets,
    backbone_parameters: int,
    bias_parameters: Mapping[str, int],
    steps: int,
    seconds: float,
    images_per_second: float,
    data_wait_share: float,
    samples: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `report.json` (see the module).

    Args:
        protocol: how the numbers were measured.
        sets: what `evaluate.run.summarise` gave, by set and task.
        backbone_parameters: parameters of the backbone.
        bias_parameters: parameters each task adds.
        steps: steps trained.
        seconds: duration of the training, all attempts together.
        images_per_second: crops trained on per second.
        data_wait_share: share of the time in which the step waited for data, 0 to 1.
        samples: how many training has seen, and by kind how many of their pictures could not be used.
    """
    return {
        "protocol": protocol,
        "sets": {name: {task: dict(numbers) for task, numbers in tasks.items()} for name, tasks in sets.items()},
        "parameters": {"backbone": backbone_parameters, "bias": dict(bias_parameters)},
        "steps": steps,
        "seconds": seconds,
        "images_per_second": images_per_second,
        "data_wait_share": data_wait_share,
        "samples": dict(samples or {"seen": 0, "bad": {}}),
    }


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write `report.json`, whole or not at all.

    Raises:
        ValueError: a number is infinite or NaN, which JSON does not know; `metrics.json_number` makes null of infinity.
    """
    replace_file(path, json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")


def read_report(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises:
        NotFoundError: there is none.
        DataError: it is not a report.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no report; it is written when a run finishes")
    try:
        report = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    kinds = ({"protocol", "sets"}, {"pictures", "bad"}, {"kind", "what"})
    if not isinstance(report, dict) or not any(keys <= report.keys() for keys in kinds):
        raise DataError(
            f"{path}: not a report: expected an object with the keys protocol and sets, pictures and bad, or kind and what"
        )
    return report


def rows_of(sets: Sets) -> list[Row]:
    """The lines of the table, set by set, task by task, in the order of the report."""
    return [
        Row(
            set=name,
            task=task,
            n=numbers["n"],
            psnr_input=from_json_number(numbers["psnr_input"]),
            psnr=from_json_number(numbers["psnr"]),
            ssim=numbers["ssim"],
        )
        for name, tasks in sets.items()
        for task, numbers in tasks.items()
    ]


def text_table(sets: Sets) -> str:
    """The table in aligned columns, for any terminal or log."""
    lines = [HEADINGS, *(row.cells() for row in rows_of(sets))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    # Words to the left, numbers to the right.
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(sets: Sets, protocol: str) -> str:
    """The table in Markdown, the protocol below it."""
    lines = [HEADINGS, ("---", "---", "--:", "--:", "--:", "--:", "--:"), *(row.cells() for row in rows_of(sets))]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\nProtocol: `{protocol}`.\n"
