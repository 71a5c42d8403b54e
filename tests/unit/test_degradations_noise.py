"""Noise against its definition: mean, deviation, independence, and nothing done to the picture besides."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.base import keyed
from ipt_platform.data.degradations.fields import normal_field
from ipt_platform.data.degradations.noise import draw_mixing
from ipt_platform.spec.task import load_task


def field(sigma, seed=0, size=256, level=0.5, **kinds):
    clean = np.full((size, size, 3), level, np.float32)
    noisy, params = build_degradation({"name": "gaussian-noise", "sigma": sigma, **kinds})(clean, np.random.default_rng(seed))
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


def test_plain_noise_draws_and_adds_nothing_but_sigma_and_a_field():
    clean = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    task = load_task("denoise").training({})
    rng, reference = np.random.default_rng(7), np.random.default_rng(7)

    noisy, params = task(clean, rng)

    sigma, key = reference.uniform(0, 50), int(reference.integers(2**53))
    field = normal_field(keyed(key), clean.shape)
    assert params == {"sigma": sigma, "key": key}
    assert noisy.tobytes() == (field * np.float32(sigma / 255) + clean).tobytes()
    assert rng.bit_generator.state == reference.bit_generator.state
    assert task.model_dump(mode="json") == {"sigma": {"min": 0.0, "max": 50.0}}


def test_grey_noise_is_the_same_in_all_channels():
    noise, params = field(25, grey=1)

    assert params["channels"] == "grey"
    np.testing.assert_allclose(noise[..., 0], noise[..., 1], atol=1e-7)
    np.testing.assert_allclose(noise[..., 0], noise[..., 2], atol=1e-7)
    assert abs(noise[..., 0].std() * 255 - 25) < 4 * 25 / np.sqrt(2 * 256 * 256)


@pytest.mark.parametrize("seed", range(4))
def test_correlated_noise_has_the_drawn_covariance_and_sigma_over_all_channels(seed):
    noise, params = field(25, seed=seed, correlated=1)

    mixing = np.array(params["mixing"])
    expected = mixing @ mixing.T
    found = np.cov(noise.reshape(-1, 3).T) * (255 / 25) ** 2
    # The variance of a sample covariance is (C_ii C_jj + C_ij^2) / n.
    bound = 4 * np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 256**2)
    assert params["channels"] == "correlated"
    assert (np.abs(found - expected) < bound).all()
    assert np.trace(found) / 3 == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]) < 4 / 256


def test_mixings_are_covariances_of_trace_three_without_negative_entries():
    rng = np.random.default_rng(0)

    covariances = np.array([m @ m.T for m in (np.array(draw_mixing(rng)) for _ in range(500))])

    np.testing.assert_allclose(np.trace(covariances, axis1=1, axis2=2), 3)
    assert covariances.min() >= -1e-12
    # Channels are correlated, more or less, and none is always the loudest.
    correlations = covariances[:, 0, 1] / np.sqrt(covariances[:, 0, 0] * covariances[:, 1, 1])
    assert correlations.min() < 0.1
    assert correlations.max() > 0.8
    assert set(np.argmax(np.diagonal(covariances, axis1=1, axis2=2), axis=1)) == {0, 1, 2}


def test_kinds_of_channels_come_in_their_shares():
    noise = build_degradation({"name": "gaussian-noise", "grey": 0.4, "correlated": 0.2})
    rng = np.random.default_rng(0)

    kinds = Counter(noise.draw(rng).get("channels", "colour") for _ in range(4000))

    for kind, share in {"grey": 0.4, "correlated": 0.2, "colour": 0.4}.items():
        assert abs(kinds[kind] - 4000 * share) < 4 * np.sqrt(4000 * share * (1 - share))


def test_kinds_that_sum_to_more_than_one_are_refused():
    with pytest.raises(ValidationError, match="sum to more than 1"):
        build_degradation({"name": "gaussian-noise", "grey": 0.7, "correlated": 0.5})


@pytest.mark.parametrize("level", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("shot", [1e-3, 1e-2])
def test_poisson_noise_counts_photons_at_every_level(shot, level):
    clean = np.full((256, 256, 3), level, np.float32)

    noisy, params = build_degradation({"name": "poisson-noise", "shot": shot})(clean, np.random.default_rng(0))

    n, photons = clean.size, level / shot
    noisy = noisy.astype(np.float64)
    assert params["shot"] == shot
    np.testing.assert_allclose(noisy / shot, np.rint(noisy / shot), atol=1e-3)
    assert abs(noisy.mean() - level) < 4 * np.sqrt(shot * level / n)
    # The fourth central moment of a Poisson count k is k (1 + 3 k).
    assert noisy.var() == pytest.approx(shot * level, rel=4 * np.sqrt((2 + 1 / photons) / n))
    assert (noisy.max() > 1) == (level == 1)


def test_few_photons_come_with_the_probabilities_of_poisson():
    clean = np.full((256, 256, 3), 0.03, np.float32)

    noisy, _ = build_degradation({"name": "poisson-noise", "shot": 0.01})(clean, np.random.default_rng(3))

    counts = np.bincount(np.rint(noisy / 0.01).astype(int).ravel(), minlength=10)
    expected = stats.poisson(3).pmf(np.arange(9)) * clean.size
    observed = np.append(counts[:9], counts[9:].sum())
    assert stats.chisquare(observed, np.append(expected, clean.size - expected.sum())).pvalue > 1e-3


@pytest.mark.parametrize("photons", [10, 11.5, 20, 150, 4000])
def test_many_photons_come_with_the_probabilities_of_poisson(photons):
    clean = np.full((256, 256, 3), 0.8, np.float32)

    noisy, _ = build_degradation({"name": "poisson-noise", "shot": 0.8 / photons})(clean, np.random.default_rng(3))

    counts = np.rint(noisy.astype(np.float64) * photons / 0.8).ravel()
    ends = np.unique(stats.poisson(photons).ppf(np.linspace(0.01, 0.99, 40)))
    observed = np.histogram(counts, np.concatenate(([-np.inf], ends + 0.5, [np.inf])))[0]
    expected = np.diff(stats.poisson(photons).cdf(np.concatenate(([-1], ends, [np.inf])))) * clean.size
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_grey_poisson_noise_is_that_of_the_luminance_in_all_channels():
    clean = np.tile(np.array((0.8, 0.4, 0.1), np.float32), (256, 256, 1))

    noisy, params = build_degradation({"name": "poisson-noise", "shot": 0.01, "grey": 1})(clean, np.random.default_rng(0))

    noise = (noisy - clean).astype(np.float64)
    luminance = 0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.1
    assert params["grey"] is True
    np.testing.assert_allclose(noise[..., 0], noise[..., 2], atol=1e-6)
    assert abs(noise.mean()) < 4 * np.sqrt(0.01 * luminance) / 256
    assert noise[..., 0].var() == pytest.approx(0.01 * luminance, rel=4 * np.sqrt(2.1) / 256)


def test_black_has_no_photons_and_no_speckle():
    black = np.zeros((30, 30, 3), np.float32)

    for name in ("poisson-noise", "speckle-noise"):
        noisy, _ = build_degradation({"name": name})(black, np.random.default_rng(0))
        np.testing.assert_array_equal(noisy, black)


def test_a_range_of_shot_noise_is_drawn_evenly_on_a_logarithmic_scale():
    noise = build_degradation({"name": "poisson-noise", "shot": {"min": 1e-4, "max": 1e-2}})
    rng = np.random.default_rng(0)

    drawn = np.log10([noise.draw(rng)["shot"] for _ in range(2000)])

    assert stats.kstest(drawn, stats.uniform(-4, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("shot", "said"), [({"min": 0, "max": 1}, "cannot begin at 0"), (1e-9, "found 1e-09"), ({"choices": [0, 2]}, "found 2")]
)
def test_shot_noise_that_cannot_be_drawn_is_refused(shot, said):
    with pytest.raises(ValidationError, match=said):
        build_degradation({"name": "poisson-noise", "shot": shot})


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_speckle_is_in_proportion_to_the_light(level):
    clean = np.full((256, 256, 3), level, np.float32)

    noisy, _ = build_degradation({"name": "speckle-noise", "contrast": 0.2})(clean, np.random.default_rng(0))

    ratio = noisy.astype(np.float64) / level
    assert abs(ratio.mean() - 1) < 4 * 0.2 / np.sqrt(clean.size)
    assert abs(ratio.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * clean.size)
    assert np.abs(np.corrcoef(ratio.reshape(-1, 3).T) - np.eye(3)).max() < 4 / 256


@pytest.mark.parametrize(("share", "salt"), [(0.03, 0.5), (0.27, 0.5), (0.2, 0.9), (1.0, 0.5), (0.1, 0.0)])
def test_impulses_strike_their_share_and_leave_the_rest_alone(share, salt):
    clean = np.random.default_rng(1).uniform(0.1, 0.9, (256, 256, 3)).astype(np.float32)

    noisy, _ = build_degradation({"name": "impulse-noise", "share": share, "salt": salt})(clean, np.random.default_rng(0))

    n, struck, white = clean.size, noisy != clean, noisy == 1
    assert set(np.unique(noisy[struck])) <= {0, 1}
    assert abs(struck.mean() - share) <= 4 * np.sqrt(share * (1 - share) / n)
    assert abs(white.mean() - share * salt) <= 4 * np.sqrt(share * salt / n)
    if share < 1:
        assert np.abs(np.corrcoef(struck.reshape(-1, 3).T) - np.eye(3)).max() < 4 / 256
        assert abs(np.corrcoef(struck[1:].ravel(), struck[:-1].ravel())[0, 1]) < 4 / 256


def test_grey_impulses_strike_whole_pixels():
    clean = np.full((256, 256, 3), 0.4, np.float32)

    noisy, _ = build_degradation({"name": "impulse-noise", "share": 0.1, "grey": 1})(clean, np.random.default_rng(0))

    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 1])
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])
    assert abs((noisy[..., 0] != clean[..., 0]).mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9) / 256
