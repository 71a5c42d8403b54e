"""Noise against its definition: mean, deviation, independence, and nothing done to the picture besides."""

import numpy as np
import pytest
from scipy import stats

from ipt_platform.data.degradations import build_degradation


def field(sigma, seed=0, size=256, level=0.5):
    clean = np.full((size, size, 3), level, np.float32)
    noisy, params = build_degradation({"name": "gaussian-noise", "sigma": sigma})(clean, np.random.default_rng(seed))
    return noisy.astype(np.float64) - level, params


@pytest.mark.parametrize("sigma", [1, 15, 25, 50])
def test_mean_and_deviation_are_those_of_sigma(sigma):
    noise, params = field(sigma)

    n = noise.size
    assert params["sigma"] == sigma
    assert abs(noise.mean()) < 4 * sigma / 255 / np.sqrt(n)
    # The standard error of a deviation of n normal numbers is sigma / sqrt(2n).
    assert abs(noise.std() * 255 - sigma) < 4 * sigma / np.sqrt(2 * n)


def test_noise_is_normal_by_kolmogorov_smirnov():
    noise, _ = field(25)

    assert stats.kstest(noise.ravel()[::7] * 255 / 25, "norm").pvalue > 1e-3


def test_channels_and_neighbours_are_independent():
    noise, _ = field(25)

    bound = 4 / np.sqrt(256 * 256)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < bound
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < bound
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < bound


def test_noise_does_not_depend_on_the_picture_and_is_not_clipped():
    dark, _ = field(50, level=0.0)
    bright, _ = field(50, level=1.0)

    np.testing.assert_allclose(dark, bright, atol=1e-6)
    assert dark.min() < -0.5
    assert bright.max() > 0.5


def test_blind_sigma_is_uniform_over_its_range():
    noise = build_degradation({"name": "gaussian-noise", "sigma": {"min": 10, "max": 30}})
    rng = np.random.default_rng(0)

    drawn = np.array([noise.draw(rng)["sigma"] for _ in range(2000)])

    assert stats.kstest(drawn, stats.uniform(10, 20).cdf).pvalue > 1e-3
