"""How many bad samples are too many: a share of what was seen, judged so that no order of the pictures decides."""

import numpy as np
import pytest

from ipt_platform.train.samples import JUDGED, SampleCount


@pytest.mark.parametrize(("pictures", "bad"), [(6, 1), (1500, 1), (1500, 15), (JUDGED, 7)])
def test_no_set_within_the_limit_fails_by_the_luck_of_its_order(pictures, bad):
    limit = bad / pictures
    order = [np.random.default_rng(seed).permutation(pictures) < bad for seed in range(3)]
    order.append(np.arange(pictures)[::-1] < bad)  # all at the end of a pass,
    order.append(np.arange(pictures) < bad)  # and at the beginning of the next
    found = np.flatnonzero(np.concatenate(order))

    exceeded = [
        SampleCount(int(place) + 1, {"damaged": count}).exceeds(limit, pictures) for count, place in enumerate(found, 1)
    ]
    assert not any(exceeded)


@pytest.mark.parametrize(("pictures", "bad"), [(6, 2), (1500, 3), (9000, 12)])
def test_a_set_past_the_limit_fails_within_its_first_pass(pictures, bad):
    limit = (bad - 1) / pictures - 1e-9 if bad > 2 else 0.001
    places = np.sort(np.random.default_rng(0).permutation(pictures)[:bad])

    assert SampleCount(int(places[-1]) + 1, {"damaged": bad}).exceeds(limit, pictures)


def test_one_alone_is_no_share_and_none_may_be_where_none_are_allowed():
    assert not SampleCount(1, {"damaged": 1}).exceeds(0.001, 100)
    assert SampleCount(1, {"damaged": 1}).exceeds(0, 100)
    assert SampleCount(5600, {"cut-off": 2, "too-large": 1}) + SampleCount(1, {"damaged": 1}) == SampleCount(
        5601, {"cut-off": 2, "damaged": 1, "too-large": 1}
    )
    assert str(SampleCount(5600, {"cut-off": 2, "too-large": 1})) == (
        "3 of 5,600 samples could not be used: 2 cut-off, 1 too-large"
    )
