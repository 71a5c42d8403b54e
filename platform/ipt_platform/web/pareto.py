"""The trials of a search as points of a picture: parameters of a bias against PSNR, and which of them no other beats."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 640.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 32.0, 12.0, 44.0
_TICKS = 5


@dataclass(frozen=True)
class Point:
    """A trial of the picture; x and y in the units of its viewBox."""

    trial: str
    x: float
    y: float
    front: bool
    words: str


@dataclass(frozen=True)
class Scatter:
    """The picture: points, the front as the `d` of a path, and ticks as (place, words) of each axis."""

    points: Sequence[Point]
    front: str
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def scatter(trials: Sequence[Mapping[str, Any]], front: Collection[str]) -> Scatter | None:
    """The picture of the trials of a report; None where fewer than two have numbers.

    Args:
        trials: as `report.json` of a search has them: `trial`, `psnr` (dB), `parameters`.
        front: names of those that no other beats.
    """
    known = [
        each
        for each in trials
        if _is_number(each.get("psnr")) and _is_number(each.get("parameters")) and each.get("state") != "failed"
    ]
    if len(known) < 2:
        return None
    xs, ys = [float(each["parameters"]) for each in known], [float(each["psnr"]) for each in known]
    x_ticks, y_ticks = _ticks(min(xs), max(xs), whole=True), _ticks(min(ys), max(ys))

    def x(value: float) -> float:
        return round(_LEFT + (value - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (WIDTH - _LEFT - _RIGHT), 2)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (HEIGHT - _TOP - _BOTTOM), 2)

    points = [
        Point(
            str(each["trial"]),
            x(across),
            y(up),
            each["trial"] in front,
            f"{each['trial']}: {up:.3f} dB, {across:,.0f} parameters",
        )
        for each, across, up in zip(known, xs, ys, strict=True)
    ]
    along = sorted((point.x, point.y) for point in points if point.front)
    path = " ".join(f"{'M' if not number else 'L'}{px} {py}" for number, (px, py) in enumerate(along))
    digits = max(0, math.ceil(-math.log10(y_ticks[1] - y_ticks[0])))
    return Scatter(
        points,
        path,
        [(x(value), f"{value:,.0f}") for value in x_ticks],
        [(y(value), f"{value:.{digits}f}") for value in y_ticks],
    )


def _ticks(least: float, most: float, whole: bool = False) -> list[float]:
    """Round numbers from one that is not above the least to one that is not below the most; at least two."""
    span = (most - least) or max(abs(most), 1.0) / 10
    rough = span / (_TICKS - 1)
    unit = 10 ** math.floor(math.log10(rough))
    step = next(each * unit for each in (1, 2, 5, 10) if each * unit >= rough)
    step = max(step, 1.0) if whole else step
    first, last = math.floor(least / step), math.ceil(most / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
