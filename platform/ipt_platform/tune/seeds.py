"""Numbers over seeds: mean and deviation, and whether one variant is higher than another beyond the noise.

    >>> paired({0: 30.1, 1: 30.3, 2: 30.2}, {0: 29.9, 1: 30.0, 2: 30.0}).verdict
    'higher'

Two variants that were trained with the same seed share their initial weights, crops and degradations, so the differences seed
by seed are compared with zero (Student's paired t-test), which is much sharper than to compare two means.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from ipt_platform.errors import DataError

Verdict = Literal[
    "higher",
    "lower",
    "inside the noise",
    "one seed: noise unknown",
    "no spread: noise unknown",
    "no seed in common",
]

LEVEL = 0.05
"""A difference is beyond the noise if chance alone makes one as large in fewer than this share of cases."""

SAME = 1e-12
"""Deviations below this share of the values themselves are rounding of float64."""


@dataclass(frozen=True)
class Summary:
    """Mean of a number over seeds; `deviation` (sample, n - 1) and the 95 % t interval need two seeds."""

    mean: float
    deviation: float | None
    n: int
    interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"interval": list(self.interval) if self.interval else None}


@dataclass(frozen=True)
class Paired:
    """How much higher one variant is than another over the `n` seeds that both have.

    Attributes:
        mean: mean of the differences; None without a common seed.
        deviation: their sample standard deviation; None below two seeds.
        n: seeds that both have.
        interval: 95 % t interval of the mean difference; None where the noise is unknown.
        p: two-sided p of the paired t-test; None where the noise is unknown.
        verdict: what may be said of the first variant.
    """

    mean: float | None
    deviation: float | None
    n: int
    interval: tuple[float, float] | None
    p: float | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"interval": list(self.interval) if self.interval else None}


def summary(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation and 95 % t interval of a number that was measured once per seed.

    Raises:
        DataError: there is no value, or one is not finite.
    """
    if not len(values):
        raise DataError("no value to summarise: expected one number per seed")
    _finite(values)
    n, mean, deviation = _moments(values)
    return Summary(mean, deviation, n, None if deviation is None else _interval(mean, deviation, n))


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> Paired:
    """Compare two variants over the seeds that both have.

    Differences that are zero at every seed are inside the noise (p = 1). Differences that are the same at every seed but not
    zero leave the test without a measure of noise: either the seed changes nothing, or the values were rounded. That is said
    as it is, and never taken for certainty.

    Args:
        one: value by seed.
        other: value by seed.

    Raises:
        DataError: a value is not finite.
    """
    seeds = sorted(one.keys() & other.keys())
    values = [one[seed] for seed in seeds], [other[seed] for seed in seeds]
    _finite([*values[0], *values[1]])
    if not seeds:
        return Paired(None, None, 0, None, None, "no seed in common")
    n, mean, deviation = _moments([a - b for a, b in zip(*values, strict=True)])
    if deviation is None:
        return Paired(mean, None, n, None, None, "one seed: noise unknown")
    rounding = SAME * max(abs(value) for side in values for value in side)
    if deviation <= rounding:
        if abs(mean) <= rounding:
            return Paired(0.0, 0.0, n, (0.0, 0.0), 1.0, "inside the noise")
        return Paired(mean, 0.0, n, None, None, "no spread: noise unknown")
    p = float(2 * stats.t.sf(abs(mean) * math.sqrt(n) / deviation, n - 1))
    verdict: Verdict = "inside the noise" if p >= LEVEL else "higher" if mean > 0 else "lower"
    return Paired(mean, deviation, n, _interval(mean, deviation, n), p, verdict)


def _moments(values: Sequence[float]) -> tuple[int, float, float | None]:
    array = np.asarray(values, np.float64)
    return array.size, float(array.mean()), float(array.std(ddof=1)) if array.size > 1 else None


def _interval(mean: float, deviation: float, n: int) -> tuple[float, float]:
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def _finite(values: Sequence[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise DataError(f"a value over seeds is {value}: only finite numbers have a mean; leave out runs that gave none")
