"""Low light against its two formulas, and its noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.lowlight import illumination

QUIET = {"name": "lowlight", "shot": 0, "sigma": 0}
COLOURS = [(0.0, 0.0, 0.0), (0.2, 0.5, 0.3), (0.9, 0.1, 0.6), (1.0, 1.0, 1.0)]


def constant(*colour, size=50):
    return np.tile(np.array(colour, np.float32), (size, size, 1))


def everything(values):
    return slice(0, values.shape[0]), slice(0, values.shape[1])


def picture(seed, size=(50, 60)):
    return np.random.default_rng(seed).random((*size, 3), dtype=np.float32)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.9, 0.5, 1.5), (1.0, 0.3, 2.0), (0.95, 1.0, 5.0)])
def test_the_curve_is_beta_times_a_power_of_alpha_x(alpha, beta, gamma, colour):
    degradation = build_degradation({**QUIET, "retinex": 0, "alpha": alpha, "beta": beta, "gamma": gamma})

    dark, params = degradation(constant(*colour), np.random.default_rng(0))

    assert params["gamma"] == gamma
    np.testing.assert_allclose(dark[25, 25], beta * (alpha * np.array(colour)) ** gamma, rtol=1e-5)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("power", "dim"), [(1.0, 1.0), (2.0, 1.0), (2.7, 1.0), (2.0, 0.4)])
def test_retinex_of_one_colour_takes_its_brightest_channel_to_the_power(power, dim, colour):
    degradation = build_degradation({**QUIET, "retinex": 1, "power": power, "dim": dim})

    dark, params = degradation(constant(*colour), np.random.default_rng(0))

    assert params["power"] == power
    np.testing.assert_allclose(dark, dim * constant(*colour) * max(colour) ** (power - 1), rtol=1e-4)


def test_retinex_darkens_by_the_place_and_keeps_the_colour():
    clean = picture(0)
    degradation = build_degradation({**QUIET, "retinex": 1, "power": 3})

    dark, _ = degradation(clean, np.random.default_rng(0))

    np.testing.assert_allclose(dark, clean * illumination(clean, everything(clean))[..., None] ** 2, rtol=1e-4, atol=1e-7)


def test_illumination_steps_at_outlines_and_drops_texture():
    clean = constant(0.8, 0.3, 0.1, size=80)
    clean[:, 40:] = (0.05, 0.05, 0.15)
    clean += 0.04 * np.sign(picture(1, (80, 80)) - 0.5)

    light = illumination(clean, everything(clean))

    left, right = light[20:60, :38], light[20:60, 42:]
    assert left.min() - right.max() > 0.4
    # Away from the outline nearly nothing is left of the texture of the brightest channel.
    assert light[20:60, :18].std() < 0.1 * clean[20:60, :18, 0].std()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_without_noise_nothing_gets_brighter(seed):
    clean = picture(seed, (30, 30))

    dark, _ = build_degradation(QUIET)(clean, np.random.default_rng(seed))

    assert (dark <= clean).all()
    assert dark.min() >= 0


@pytest.mark.parametrize("retinex", [0, 1])
@pytest.mark.parametrize("grey", [0.0, 0.3, 0.9])
def test_noise_has_mean_zero_and_the_variance_of_photons_and_sensor(grey, retinex):
    clean, shot, sigma = constant(grey, grey, grey, size=200), 1e-3, 3.0
    form = {"name": "lowlight", "retinex": retinex, "alpha": 1, "beta": 0.5, "gamma": 2, "power": 2}

    dark, _ = build_degradation({**form, "shot": 0, "sigma": 0})(clean, np.random.default_rng(0))
    noisy, _ = build_degradation({**form, "shot": shot, "sigma": sigma})(clean, np.random.default_rng(0))

    noise, n = (noisy - dark).astype(np.float64), clean.size
    variance = shot * float(dark[0, 0, 0]) + (sigma / 255) ** 2
    assert abs(noise.mean()) < 4 * np.sqrt(variance / n)
    assert noise.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 4 / 200


def test_a_share_of_pairs_has_each_form():
    degradation = build_degradation({"name": "lowlight", "retinex": 0.25})
    rng = np.random.default_rng(0)

    drawn = [degradation.draw(rng) for _ in range(2000)]

    assert all(("power" in params) != ("gamma" in params) for params in drawn)
    assert abs(sum("power" in params for params in drawn) - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), top=st.integers(0, 60), left=st.integers(0, 50))
def test_a_crop_with_margin_is_the_crop_of_the_whole(seed, top, left):
    clean, size = picture(seed, (90, 80)), 30
    degradation = build_degradation({**QUIET, "retinex": 1})
    params, m = degradation.draw(np.random.default_rng(seed)), degradation.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")

    whole = degradation.apply(clean, params)[top : top + size, left : left + size]
    context = padded[top : top + size + 2 * m, left : left + size + 2 * m]
    crop = degradation.apply(context, params, Frame(90, 80, top - m, left - m))[m : m + size, m : m + size]

    np.testing.assert_allclose(crop, whole, atol=2e-5)


def test_the_curve_alone_needs_no_context():
    assert build_degradation({"name": "lowlight", "retinex": 0}).margin == 0
