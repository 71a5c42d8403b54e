"""Fields of random numbers against the distributions that they stand for."""

import numpy as np
import pytest
from scipy import stats

from ipt_platform.data.degradations.base import keyed
from ipt_platform.data.degradations.fields import normal_field, normal_levels, uniform_field


def test_levels_are_the_root_mean_squares_of_parts_of_equal_probability():
    levels = normal_levels().astype(np.float64)

    edges = stats.norm.ppf(np.arange(65537) / 65536)
    middles = stats.norm.ppf((np.arange(65536) + 0.5) / 65536)
    assert (np.diff(levels) > 0).all()
    assert (levels >= edges[:-1]).all()
    assert (levels <= edges[1:]).all()
    np.testing.assert_allclose(levels[200:-200], middles[200:-200], atol=1e-5)
    np.testing.assert_array_equal(levels, -levels[::-1])


def test_moments_of_the_levels_are_those_of_the_normal_distribution():
    levels = normal_levels().astype(np.float64)

    assert levels.mean() == 0
    assert np.square(levels).mean() == pytest.approx(1, abs=1e-7)
    assert (levels**4).mean() == pytest.approx(3, abs=2e-4)


def test_levels_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        normal_levels()[0] = 1


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (5, 7, 3), (0, 4)])
def test_a_field_is_read_off_the_words_of_the_generator_four_numbers_each(shape):
    count = int(np.prod(shape))
    words = [int(word) for word in keyed(3).bit_generator.random_raw(-(-count // 4))]

    numbers = [word >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)][:count]
    assert uniform_field(keyed(3), shape).shape == normal_field(keyed(3), shape).shape == shape
    assert uniform_field(keyed(3), shape).ravel().tolist() == numbers
    assert normal_field(keyed(3), shape).ravel().tolist() == [normal_levels()[number] for number in numbers]


def test_a_field_is_normal_by_kolmogorov_smirnov_and_reaches_into_the_tails():
    field = normal_field(keyed(1), (1000, 1000))

    assert stats.kstest(field.ravel(), "norm").pvalue > 1e-3
    beyond = 2 * stats.norm.sf(4) * field.size
    assert abs((np.abs(field) > 4).sum() - beyond) < 4 * np.sqrt(beyond)


def test_a_field_is_uniform_and_its_numbers_are_independent():
    field = uniform_field(keyed(2), (512, 512)).astype(np.float64)

    assert stats.kstest(field.ravel(), stats.uniform(0, 65536).cdf).pvalue > 1e-3
    for one, other in ((field[1:], field[:-1]), (field[:, 1:], field[:, :-1]), (field[:, 4:], field[:, :-4])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / 512
