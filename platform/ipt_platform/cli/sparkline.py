"""A curve in one line of text."""

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """A bar for each value, from the least to the greatest of them; more values than bars are averaged.

    Args:
        values: the curve; where none of the values of a bar is finite there is an `x`.
        width: bars at the most.
    """
    bars = min(width, len(values))
    bins = [values[number * len(values) // bars : (number + 1) * len(values) // bars] for number in range(bars)]
    means = [_mean([value for value in each if math.isfinite(value)]) for each in bins]
    finite = [mean for mean in means if mean is not None]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return "".join("x" if mean is None else BARS[_level(mean, low, high)] for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(value / len(values) for value in values) if values else None


def _level(value: float, low: float, high: float) -> int:
    if low == high:
        return len(BARS) // 2
    # Halved, for the difference of two finite numbers need not be finite.
    return min(len(BARS) - 1, int((value / 2 - low / 2) / (high / 2 - low / 2) * len(BARS)))
