"""How often and how soon lost workers are replaced."""

import random

from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.train.retry import Budget, pause_seconds


def test_failures_in_a_row_use_the_budget_up():
    budget = Budget(2, progress=None)

    assert [budget.spend(None) for _ in range(4)] == [True, True, False, False]


def test_without_a_budget_the_first_failure_is_the_last():
    assert not Budget(0, progress=5).spend(5)
    assert not Budget(0, progress=5).spend(6)


@given(st.integers(0, 4), st.lists(st.integers(0, 6), min_size=1))
def test_training_that_gets_on_may_fail_for_ever(limit, failures_at_each_checkpoint):
    """It is given up exactly where more failures than allowed met the same newest checkpoint."""
    budget = Budget(limit, progress=0)
    for step, failures in enumerate(failures_at_each_checkpoint):
        allowed = [budget.spend(step) for _ in range(failures)]

        assert allowed == [number < limit for number in range(failures)]


@given(st.integers(1, 10_000), st.integers())
def test_the_first_pause_is_none_then_they_double_up_to_a_minute_and_half_of_each_is_random(failures, seed):
    seconds = pause_seconds(failures, random.Random(seed))
    whole = min(60, int(2 ** (failures - 2))) if failures < 9 else 60

    assert whole / 2 <= seconds <= whole
    assert seconds == pause_seconds(failures, random.Random(seed))


def test_pauses_of_two_runs_differ():
    assert pause_seconds(3, random.Random("one 0")) != pause_seconds(3, random.Random("two 0"))
