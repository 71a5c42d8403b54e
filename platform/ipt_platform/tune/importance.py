"""How much each knob of a search matters, and how sure that is.

The share of a knob is its main effect: the share of the variance of the trials' values that the knob explains on its own,
adjusted for what chance explains (epsilon squared: Kelley 1935, "An unbiased correlation ratio measure"). A knob of numbers
enters as a parabola in the ranks of its values, so logarithmic and linear ranges are the same to it and a best value in the
middle is found; any other knob by the mean of each of its values.

What it does not say: shares need not sum to 1 (the rest is noise, and knobs that act only together), and a searcher that homes
in moves knobs together, so that one may borrow from another.

Compared with Optuna's PedAnovaImportanceEvaluator on functions with known shares, this finds the strongest knob and the order
of all more often at 12, 30 and 100 trials and gives less to knobs without effect, and PED-ANOVA has no uncertainty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from ipt_platform.errors import DataError

Knob = bool | int | float | str

LEAST_TRIALS = 8
"""With fewer trials the interval covers nearly everything from 0 to 1, and nothing is said."""
SPARE = 3
"""Trials that a knob must have beyond the numbers fitted to it."""
LEVEL = 0.05
"""The chance that any knob without effect is called beyond chance (family-wise, Holm 1979)."""

TOO_FEW = f"too few trials: expected at least {LEAST_TRIALS}, and {SPARE} more than a knob has values to tell apart"
ONE_VALUE = "only one value was tried"
NO_VARIANCE = "all trials have the same value"


@dataclass(frozen=True)
class Importance:
    """What the trials say of one knob.

    Attributes:
        knob: its name.
        n: trials that have it.
        share: share of the variance that it explains alone, 0 to 1; None where nothing can be said.
        interval: 90 % bootstrap interval of the share.
        p: permutation p of "no effect", adjusted for the number of knobs.
        beyond_chance: p is below 0.05.
        why_not: why nothing can be said; empty otherwise.
    """

    knob: str
    n: int
    share: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    beyond_chance: bool = False
    why_not: str = ""

    def cells(self) -> tuple[str, str, str, str]:
        """A table row: knob, share, 90 % interval, verdict."""
        if self.share is None or self.interval is None:
            return self.knob, "–", "–", self.why_not
        low, high = self.interval
        verdict = "beyond chance" if self.beyond_chance else "within chance"
        return self.knob, f"{self.share:.0%}", f"{low:.0%} to {high:.0%}", f"{verdict} (p = {self.p:.2g}, {self.n} trials)"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"interval": list(self.interval) if self.interval else None}


def importance(
    trials: Sequence[tuple[Mapping[str, Knob], float]], rng: np.random.Generator, resamples: int = 2000
) -> list[Importance]:
    """The importance of every knob, most important first, those of which nothing can be said last.

    A knob that some trials do not have (the rank of a group that is no target) is judged by the trials that have it.

    Args:
        trials: (knobs, value) of the trials that ran to their end; a stopped trial's value is not comparable.
        rng: draws resamples and permutations; the same generator state gives the same result.
        resamples: bootstrap samples and permutations, each.

    Raises:
        DataError: a value or a knob is not finite.
    """
    knobs = list(dict.fromkeys(name for params, _ in trials for name in params))
    found = [_of(knob, [(params[knob], value) for params, value in trials if knob in params], rng, resamples) for knob in knobs]
    return sorted(_holm(found), key=lambda each: (each.share is None, -(each.share or 0.0)))


def _of(knob: str, pairs: Sequence[tuple[Knob, float]], rng: np.random.Generator, resamples: int) -> Importance:
    """One knob, its p not yet adjusted."""
    n, y = len(pairs), np.array([value for _, value in pairs], np.float64)
    if not np.isfinite(y).all():
        raise DataError("a trial's value is not finite: leave out trials that gave no number")
    columns = _columns(knob, [given for given, _ in pairs])
    if columns.shape[1] == 1:
        return Importance(knob, n, why_not=ONE_VALUE)
    if n < max(LEAST_TRIALS, columns.shape[1] + SPARE):
        return Importance(knob, n, why_not=TOO_FEW)
    y -= y.mean()
    if np.abs(y).max() <= 1e-12 * max(1.0, *(abs(value) for _, value in pairs)):
        return Importance(knob, n, why_not=NO_VARIANCE)
    explained = _explained(columns, y)
    share = float(np.clip(_adjusted(explained, n, columns.shape[1]), 0, 1))
    permuted = np.array([_explained(columns, rng.permutation(y)) for _ in range(resamples)])
    # Permutations that only swap trials of one knob value explain the same, but for rounding; the order found counts as one.
    p = (1 + np.count_nonzero(permuted >= explained - 1e-9)) / (1 + resamples)
    low, high = np.quantile(_bootstrap(columns, y, rng, resamples), [0.05, 0.95])
    return Importance(knob, n, share, (min(float(low), share), max(float(high), share)), float(p))


def _columns(knob: str, given: Sequence[Knob]) -> np.ndarray:
    """What is fitted to a knob, orthonormal, `[n, k]`; the first column is constant, and alone if there is one value only."""
    values = sorted(set(given), key=lambda value: (str(type(value)), value))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = np.array(given, np.float64)
        if not np.isfinite(numbers).all():
            raise DataError(f"knob {knob} has a value that is not finite")
        ranks = stats.rankdata(numbers)
        centred = (ranks - ranks.mean()) / len(ranks)
        fitted = np.stack([centred**power for power in range(min(3, len(values)))], axis=1)
    else:
        fitted = np.array([[1.0, *(float(each == value) for value in values[1:])] for each in given])
    return np.linalg.qr(fitted)[0]


def _explained(columns: np.ndarray, y: np.ndarray) -> float:
    """Eta squared of centred values."""
    return float(np.sum((columns[:, 1:].T @ y) ** 2) / np.sum(y**2))


def _adjusted(explained: Any, n: Any, fitted: Any) -> Any:
    """Epsilon squared: 0 on average where there is no effect."""
    return 1 - (1 - explained) * (n - 1) / (n - fitted)


def _bootstrap(columns: np.ndarray, y: np.ndarray, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Shares over resampled trials, clipped to [0, 1].

    A resample of n trials has about 0.63 n different ones and explains itself too well. So the adjustment counts the different
    ones: on functions with known shares the 90 % interval then covers the truth in 89 to 99 % of cases from 6 to 100 trials;
    with n it covers 79 to 94 % and is wider.
    """
    n = len(y)
    weights = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    gram = np.einsum("bn,ni,nj->bij", weights, columns, columns, optimize=True)
    moment = weights @ (columns * y[:, None])
    fit = np.einsum("bi,bij,bj->b", moment, np.linalg.pinv(gram, rcond=1e-9, hermitian=True), moment)
    of_mean = (weights @ y) ** 2 / n
    total = weights @ y**2 - of_mean
    # A resample may lack a value of the knob, or all but one.
    fitted = np.linalg.matrix_rank(gram, tol=1e-9, hermitian=True)
    different = np.count_nonzero(weights, axis=1)
    usable = (different > fitted) & (total > 1e-12 * np.sum(y**2))
    explained = np.divide(fit - of_mean, total, out=np.zeros(resamples), where=usable)
    return np.clip(_adjusted(explained[usable], different[usable], fitted[usable]), 0, 1)


def _holm(found: Sequence[Importance]) -> list[Importance]:
    """Adjust p for the number of knobs (Holm's step-down procedure)."""
    judged = sorted((each.p, index) for index, each in enumerate(found) if each.p is not None)
    out, largest = list(found), 0.0
    for place, (p, index) in enumerate(judged):
        largest = max(largest, min(1.0, p * (len(judged) - place)))
        each = found[index]
        out[index] = Importance(each.knob, each.n, each.share, each.interval, largest, largest < LEVEL)
    return out
