"""What every benchmark shares: the machine, medians with intervals, one table or one JSON line at the end."""

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from ipt_platform.errors import IptError

ROOT = Path(__file__).parents[1]
CONFIDENCE = 0.95

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Spread:
    """The median of repetitions, and an interval in which the true median lies with at least `CONFIDENCE` (see `spread`)."""

    median: float
    low: float
    high: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Median and interval of independent repetitions, whatever their distribution.

    The interval goes from the k-th smallest to the k-th largest value; a median lies outside only if fewer than k of n fair
    coins show heads, or fewer than k show tails. Under six repetitions that is not rare enough for any k, and the interval
    is the whole range.
    Source: the order-statistic interval of the sign test (Conover, Practical Nonparametric Statistics, section 3.2).
    """
    ordered, n = sorted(values), len(values)
    k, below = 0, 0.0
    while (below := below + math.comb(n, k) / 2**n) <= (1 - CONFIDENCE) / 2:
        k += 1
    k = max(k, 1)
    return Spread(statistics.median(ordered), ordered[k - 1], ordered[-k], n)


@dataclass(frozen=True)
class Figure:
    """One number that a benchmark is run for.

    Attributes:
        name: what it is.
        value: how much; a `Spread` where it was measured repeatedly.
        unit: of the value, "" for a ratio.
        at_most: the most it is asked to be, if anything is asked.
        at_least: the least it is asked to be.
    """

    name: str
    value: float | Spread
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    def row(self) -> dict[str, Any]:
        """The figure as plain values."""
        many = self.value if isinstance(self.value, Spread) else None
        value = self.value.median if isinstance(self.value, Spread) else self.value
        return {
            "figure": self.name,
            "value": value,
            "unit": self.unit,
            "interval": [many.low, many.high] if many else None,
            "n": many.n if many else 1,
            **self._verdict(value),
        }

    def _verdict(self, value: float) -> dict[str, Any]:
        if self.at_most is not None:
            return {"asked": f"<= {self.at_most:g}", "met": value <= self.at_most}
        if self.at_least is not None:
            return {"asked": f">= {self.at_least:g}", "met": value >= self.at_least}
        return {"asked": None, "met": None}


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser that knows `--json`; the description is the script's docstring."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one JSON line instead of tables")
    return made


def count(text: str) -> int:
    """An argument that is a number from 1 on."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, found {number}")
    return number


def run_script(main: Callable[[], None]) -> None:
    """Run a benchmark; an error of the platform ends it with its message and exit code instead of a traceback."""
    try:
        main()
    except IptError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


def note(text: str) -> None:
    """Tell on stderr what is going on."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def finish(
    arguments: argparse.Namespace,
    machine: Mapping[str, Any],
    figures: Sequence[Figure],
    **tables: Rows,
) -> None:
    """Print what was measured: one JSON line, or tables.

    Args:
        arguments: as parsed; they are printed too.
        machine: what `machine` said when the benchmark began.
        figures: the numbers that matter.
        tables: whatever else was measured, rows by name.
    """
    rows = [figure.row() for figure in figures]
    settings = {name: value for name, value in vars(arguments).items() if name != "json"}
    if arguments.json:
        result = {"benchmark": Path(sys.argv[0]).stem, "machine": machine, "settings": settings, "figures": rows, **tables}
        sys.stdout.write(json.dumps(result, default=str) + "\n")
        return
    for name, value in {**machine, "settings": " ".join(f"{key}={value}" for key, value in settings.items())}.items():
        sys.stdout.write(f"{name:>12}  {value}\n")
    for name, table in tables.items():
        sys.stdout.write(f"\n{name.replace('_', ' ')}\n{_render(table)}")
    sys.stdout.write(f"\nfigures\n{_render(rows)}")


def machine() -> dict[str, Any]:
    """What the benchmark runs on: processor, cores, memory (GiB), versions, commit, UTC date, and how busy it is already."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": version("torch"),
        "ray": version("ray"),
        "commit": _commit(),
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.processor()


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _render(rows: Rows) -> str:
    """Rows as a table; columns are the keys of the first."""
    columns = list(rows[0]) if rows else []
    lines = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n" for line in lines
    )


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "NO"
        case float():
            return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        case list():
            return " .. ".join(map(_cell, value))
        case _:
            return str(value)
