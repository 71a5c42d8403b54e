"""The plan is a bijection in every epoch, and a pure function that knows nothing of steps, workers or order."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.data.plan import SORTED, Plan, Schedule, Stage, permute, share
from ipt_platform.errors import DataError

seeds = st.integers(0, 2**63)
images = st.integers(1, 3000)
stages = st.lists(
    st.builds(Stage, steps=st.integers(1, 9), patch=st.just(16), images=st.sampled_from([4, 8, 12])),
    min_size=1,
    max_size=4,
)


@given(seeds, images, st.integers(0, 50))
@settings(max_examples=60)
def test_every_picture_comes_exactly_once_per_epoch(seed, size, epoch):
    order = Plan(seed, size).indices(epoch * size, (epoch + 1) * size)

    assert sorted(order) == list(range(size))


@pytest.mark.parametrize("size", [*range(1, 40), SORTED, SORTED + 1, 4095, 4096, 4097, 16384, 16385])
def test_permutation_is_a_bijection_at_the_edges_of_its_domain(size):
    assert sorted(permute(np.arange(size), size, (7, 0))) == list(range(size))


@given(seeds, st.integers(20, 3000), st.integers(0, 50))
def test_epochs_and_seeds_have_orders_of_their_own(seed, size, epoch):
    plan = Plan(seed, size)
    order = plan.indices(epoch * size, (epoch + 1) * size)

    assert not np.array_equal(order, plan.indices((epoch + 1) * size, (epoch + 2) * size))
    assert not np.array_equal(order, Plan(seed + 1, size).indices(epoch * size, (epoch + 1) * size))


@given(seeds, images, st.integers(0, 10**6), st.integers(0, 30))
def test_a_stretch_of_the_plan_is_its_samples_one_by_one(seed, size, start, length):
    plan = Plan(seed, size)

    one_by_one = [plan.sample(i).index for i in range(start, start + length)]

    assert plan.indices(start, start + length).tolist() == one_by_one
    assert plan.sample(start).epoch == start // size


@given(seeds, images, st.integers(0, 10**6))
@settings(max_examples=30)
def test_substitutes_are_the_following_pictures_of_the_epoch(seed, size, i):
    plan = Plan(seed, size)
    epoch, position = divmod(i, size)
    order = plan.indices(epoch * size, (epoch + 1) * size)

    assert list(islice(plan.substitutes(i), 40)) == np.roll(order, -position)[1:41].tolist()


def test_every_other_picture_is_a_substitute_once():
    assert sorted([Plan(0, 30).sample(41).index, *Plan(0, 30).substitutes(41)]) == list(range(30))
    assert list(Plan(0, 1).substitutes(5)) == []


@given(stages, st.sampled_from([1, 2, 4]))
def test_steps_take_the_samples_in_turn_whatever_the_number_of_workers(given_stages, world):
    schedule = Schedule(tuple(given_stages))
    taken = [
        sample
        for step in range(schedule.total_steps)
        for rank in range(world)
        for sample in share(schedule.locate(step).first, schedule.locate(step).stage.images, rank, world)
    ]

    assert taken == list(range(schedule.total_samples))


def test_every_order_of_four_pictures_is_about_equally_likely():
    epochs = 24 * 200
    orders = Plan(seed=1, images=4).indices(0, 4 * epochs).reshape(epochs, 4)
    counts = Counter(map(tuple, orders.tolist()))

    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values()) + 200 * (24 - len(counts))
    assert chi_square < 49.7  # 0.999 quantile, 23 degrees of freedom


def test_every_picture_is_equally_likely_at_every_place_of_an_epoch():
    epochs, size = 2000, 13
    orders = Plan(seed=2, images=size).indices(0, size * epochs).reshape(epochs, size)
    counts = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])

    expected = epochs / size
    assert ((counts - expected) ** 2 / expected).sum() < 200  # 144 degrees of freedom: 0.999 quantile is 199.9


def test_every_picture_is_equally_likely_at_every_place_of_a_large_epoch():
    epochs, size, parts = 60, SORTED + 77, 16
    orders = Plan(seed=3, images=size).indices(0, size * epochs)
    places = np.tile(np.arange(size), epochs)
    counts, _, _ = np.histogram2d(places, orders, bins=parts)

    expected = epochs * size / parts**2
    assert ((counts - expected) ** 2 / expected).sum() < 330  # about 225 degrees of freedom: 0.99999 quantile is 325


def test_a_plan_of_a_hundred_million_pictures_takes_no_memory_of_their_number():
    plan = Plan(seed=0, images=100_000_000)
    somewhere = plan.indices(987_654_321_000, 987_654_321_000 + 50_000)

    assert len(set(somewhere.tolist())) == 50_000
    assert somewhere.min() >= 0
    assert somewhere.max() < 100_000_000
    assert abs(somewhere.mean() / 100_000_000 - 0.5) < 0.01
    assert abs(np.corrcoef(somewhere[:-1], somewhere[1:])[0, 1]) < 0.02


def test_what_is_not_a_plan_or_a_share_is_refused():
    with pytest.raises(DataError, match="hold 0"):
        Plan(seed=0, images=0)
    with pytest.raises(ValueError, match="shared equally by 3"):
        share(0, 8, 0, 3)
    with pytest.raises(ValueError, match="outside the schedule of 5"):
        Schedule((Stage(5, 16, 1),)).locate(5)
