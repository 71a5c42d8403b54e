import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ipt_platform.errors import DataError
from ipt_platform.tune.seeds import paired, summary

DECIBELS = st.floats(10, 60).map(lambda value: round(value, 4))
RUNS = st.dictionaries(st.integers(0, 9), DECIBELS, max_size=8)


def test_summary_of_three_seeds_by_hand():
    found = summary([30.0, 31.0, 32.0])

    assert (found.mean, found.deviation, found.n) == (31.0, 1.0, 3)
    # t of 95 % with two degrees of freedom: the closed form is 0.95 * sqrt(2 / (1 - 0.95^2))
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    assert found.interval == pytest.approx((31 - half, 31 + half))


def test_one_seed_has_no_deviation():
    assert summary([30.0]).to_dict() == {"mean": 30.0, "deviation": None, "n": 1, "interval": None}


@pytest.mark.parametrize("values", [[], [math.nan], [30.0, math.inf]])
def test_a_summary_refuses_what_has_no_mean(values):
    with pytest.raises(DataError):
        summary(values)


@given(st.lists(DECIBELS, min_size=2, max_size=10))
def test_summary_agrees_with_the_definition(values):
    found = summary(values)

    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert found.mean == pytest.approx(mean)
    assert found.deviation == pytest.approx(math.sqrt(variance), abs=1e-9)


def test_two_pairs_by_hand():
    # Differences 1 and 3: mean 2, deviation sqrt(2), t = 2; with one degree of freedom p = 1 - 2 atan(t) / pi.
    found = paired({0: 31.0, 1: 33.0}, {0: 30.0, 1: 30.0})

    assert (found.mean, found.n, found.verdict) == (2.0, 2, "inside the noise")
    assert found.deviation == pytest.approx(math.sqrt(2))
    assert found.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)


@given(RUNS, RUNS)
def test_paired_agrees_with_scipy(one, other):
    found = paired(one, other)

    seeds = sorted(one.keys() & other.keys())
    differences = {round(one[seed] - other[seed], 9) for seed in seeds}
    assert found.n == len(seeds)
    if len(seeds) >= 2 and len(differences) >= 2:
        expected = stats.ttest_rel([one[seed] for seed in seeds], [other[seed] for seed in seeds])
        assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
        assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-6)
        assert (found.verdict == "inside the noise") == (found.interval[0] <= 0 <= found.interval[1])
    json.dumps(found.to_dict(), allow_nan=False)


@given(RUNS, RUNS)
def test_the_other_way_round_is_the_opposite(one, other):
    there, back = paired(one, other), paired(other, one)

    opposite = {"higher": "lower", "lower": "higher"}
    assert back.verdict == opposite.get(there.verdict, there.verdict)
    assert back.p == there.p
    assert there.mean is None or back.mean == pytest.approx(-there.mean, abs=1e-12)


def test_only_common_seeds_count():
    found = paired({0: 31.0, 1: 31.5, 7: 90.0}, {0: 30.0, 1: 30.4, 8: 1.0})

    assert found.n == 2
    assert found.mean == pytest.approx(1.05)


def test_pairing_finds_what_two_means_hide():
    """Seeds differ by 2 dB, the variants by 0.1 dB at each of them."""
    other = {0: 28.0, 1: 30.0, 2: 32.0, 3: 29.0}
    one = {0: 28.10, 1: 30.11, 2: 32.09, 3: 29.10}

    assert paired(one, other).verdict == "higher"
    assert stats.ttest_ind(list(one.values()), list(other.values())).pvalue > 0.9


@pytest.mark.parametrize(
    ("one", "other", "verdict", "p"),
    [
        ({0: 30.0}, {0: 29.0}, "one seed: noise unknown", None),
        ({0: 30.0}, {1: 29.0}, "no seed in common", None),
        ({}, {0: 29.0}, "no seed in common", None),
        # Not a difference at any seed.
        ({0: 30.1, 1: 30.7}, {0: 30.1, 1: 30.7}, "inside the noise", 1.0),
        # The same difference at every seed (but for rounding of float64): nothing tells how large chance is.
        ({0: 30.1, 1: 30.4, 2: 30.7}, {0: 30.0, 1: 30.3, 2: 30.6}, "no spread: noise unknown", None),
    ],
)
def test_where_the_noise_cannot_be_known(one, other, verdict, p):
    found = paired(one, other)

    assert (found.verdict, found.p) == (verdict, p)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_value_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="finite"):
        paired({0: math.inf, 1: 30.0}, {0: 30.0, 1: 30.0})


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_there_is_no_difference_one_in_twenty_is_called_one(seeds):
    rng, rounds = np.random.default_rng(seeds), 1200
    drawn = rng.normal(30, 0.3, (rounds, 2, seeds))
    called = sum(paired(dict(enumerate(a)), dict(enumerate(b))).verdict != "inside the noise" for a, b in drawn)

    # Four standard errors of a binomial share.
    assert abs(called / rounds - 0.05) < 4 * math.sqrt(0.05 * 0.95 / rounds)
