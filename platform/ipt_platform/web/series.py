"""The curves of a run for whoever looks again and again: only new lines are read, and only as many points are sent as are seen.

What counts is as in `observe.curves`: an attempt that goes on from a checkpoint does steps again, and what was reported of them
before no longer counts.
"""

import math
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipt_platform.observe import said
from ipt_platform.observe.curves import Column
from ipt_platform.observe.jsonl import objects_of
from ipt_platform.observe.metrics_log import psnr_of, revive
from ipt_platform.observe.rundir import RunDir

NUMBERS = ("lr", "bias_lr", "grad_norm", "bias_grad_norm", "images_per_second", "data_wait_share")
"""What of a report is drawn beside losses and PSNR: numbers, or tables of them by task."""

_COLUMNS = ("loss", *NUMBERS)

POINTS = 600
"""So many points of a curve are sent at the most; a screen shows no more."""

_PIECE = 4 << 20  # bytes
_MOST_POINTS = 20_000_000  # of all runs that are kept, 16 bytes each


class Curve:
    """One column: steps in order, and a number for each."""

    def __init__(self) -> None:
        self.steps, self.values = array("q"), array("d")

    def cut(self, step: int) -> None:
        """Forget this step and those after it."""
        keep = bisect_left(self.steps, step)
        del self.steps[keep:], self.values[keep:]

    def at(self, step: int) -> float | None:
        """The number of a step; None: it has none."""
        place = bisect_left(self.steps, step)
        return self.values[place] if place < len(self.steps) and self.steps[place] == step else None


class Series:
    """The curves of one metrics.jsonl; several threads may ask."""

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self.curves: dict[Column, Curve] = {}
        self.points = 0  # numbers that are kept; others may read it without the lock
        self.position, self._inode, self._last = 0, 0, -1

    def update(self) -> None:
        """Read what has come; a file that was replaced or cut is read from its beginning."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        if stat.st_ino != self._inode or stat.st_size < self.position:
            self._begin()
            self._inode = stat.st_ino
        if stat.st_size > self.position:
            self._read()

    def _read(self) -> None:
        """Take the complete lines after those that were read, in pieces: a file may be larger than what it is read for."""
        with self.path.open("rb") as file:
            file.seek(self.position)
            rest = b""
            while data := file.read(_PIECE):
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                for line in objects_of(lines):
                    self._take(line)
                self.position = file.tell() - len(rest)
                self.points = sum(len(curve.steps) for curve in self.curves.values())

    def _take(self, line: Mapping[str, Any]) -> None:
        step = said.count(line.get("step"))
        if step is None:
            return
        measures = "evaluation" in line
        psnr = psnr_of(revive(line)) if measures else {}
        if step <= self._last:
            for name, curve in self.curves.items():
                # An evaluation of a step stands beside what training reported of it, and in the place of one on the same set.
                again = not measures or (name[0] == "psnr" and name[1] in psnr)
                curve.cut(step if again else step + 1)
        self._last = step
        for name in _COLUMNS:
            value = line.get(name)
            if isinstance(value, dict):
                for task, each in value.items():
                    self._add((name, task), step, each)
            elif value is not None:
                self._add((name,), step, value)
        for test_set, tasks in psnr.items():
            for task, value in tasks.items():
                self._add(("psnr", test_set, task), step, value)

    def _add(self, name: Column, step: int, value: Any) -> None:
        if type(value) is not float and (value := said.number(revive(value))) is None:
            return
        curve = self.curves.get(name)
        if curve is None:
            curve = self.curves[name] = Curve()
        curve.steps.append(step)
        curve.values.append(value)


class Library:
    """The series of the runs that were asked for last, in bounded memory."""

    def __init__(self, most: int = _MOST_POINTS):
        self._most, self._lock = most, threading.Lock()
        self._kept: OrderedDict[Path, Series] = OrderedDict()

    def known(self, run: RunDir) -> bool:
        """Whether the series of a run was opened before, so that it is not much to read."""
        with self._lock:
            return run.metrics in self._kept

    @contextmanager
    def open(self, run: RunDir) -> Iterator[Series]:
        """The series of a run as it is now; nobody changes it meanwhile.

        Who opens several does so in the order of their paths, and each of them once.
        """
        run.refresh()
        with self._lock:
            series = self._kept.pop(run.metrics, None) or Series(run.metrics)
            self._kept[run.metrics] = series
        with series.lock:
            series.update()
            yield series
        with self._lock:
            while len(self._kept) > 1 and sum(each.points for each in self._kept.values()) > self._most:
                self._kept.popitem(last=False)


@dataclass(frozen=True)
class Drawn:
    """A curve as it is drawn: numbers, and the least and greatest of what each stands for (None: it stands for itself)."""

    values: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None


def drawn(
    curves: Mapping[str, Curve], start: float = -math.inf, end: float = math.inf, points: int = POINTS
) -> tuple[list[float], dict[str, Drawn]]:
    """Curves on common steps, thinned so that every peak stays to be seen.

    Where there are more steps than points, those from `start` to `end` are cut into equal stretches, and of each stay the mean,
    the least and the greatest number.

    Returns:
        The steps (or the middles of the stretches), and for each curve as many numbers; None: it has none there that is finite.
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, curve in curves.items():
        low, high = bisect_left(curve.steps, start), bisect_left(curve.steps, end + 1 if math.isfinite(end) else end)
        parts[name] = _numbers(curve.steps, low, high), _numbers(curve.values, low, high)
    every = [steps for steps, _ in parts.values() if len(steps)]
    if not every:
        return [], {name: Drawn([]) for name in curves}
    if max(map(len, every)) <= points and len(grid := np.unique(np.concatenate(every))) <= points:
        return grid.tolist(), {name: Drawn(_onto(grid, *part)) for name, part in parts.items()}
    first, last = min(int(steps[0]) for steps in every), max(int(steps[-1]) for steps in every)
    width = math.ceil((last - first + 1) / points)
    count = (last - first) // width + 1
    middles = np.minimum(first + np.arange(count) * width + (width - 1) / 2, last)
    return middles.tolist(), {
        name: _thinned((steps - first) // width, values, count) for name, (steps, values) in parts.items()
    }


def ordered(columns: Iterable[Column]) -> list[Column]:
    """Columns as they are shown: losses, PSNR, then the others."""
    order = ("loss", "psnr", *NUMBERS)
    return sorted(columns, key=lambda name: (order.index(name[0]), name[1:]))


def _numbers(of: array, low: int, high: int) -> np.ndarray:
    """A part of an array; a copy, for one whose memory is lent out cannot grow."""
    return np.frombuffer(of, of.typecode)[low:high].copy() if of else np.empty(0)


def _onto(grid: np.ndarray, steps: np.ndarray, values: np.ndarray) -> list[float | None]:
    found = np.full(len(grid), np.nan)
    found[np.searchsorted(grid, steps)] = values
    return _plain(found)


def _thinned(stretches: np.ndarray, values: np.ndarray, count: int) -> Drawn:
    found = np.full((3, count), np.nan)
    if not (finite := np.isfinite(values)).all():
        stretches, values = stretches[finite], values[finite]
    if len(values):
        starts = np.flatnonzero(np.diff(stretches, prepend=-1))
        places = stretches[starts]
        found[0, places] = np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
        found[1, places] = np.minimum.reduceat(values, starts)
        found[2, places] = np.maximum.reduceat(values, starts)
    return Drawn(*map(_plain, found))


def _plain(values: np.ndarray) -> list[float | None]:
    """As JSON has them: six digits, and None for what is not finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
