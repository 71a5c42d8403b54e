"""Rain against what its parameters promise: number, direction, length, width and light of the streaks."""

import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation, rain
from ipt_platform.data.degradations.rain import rain_streaks


def params(**changes):
    family = build_degradation({"name": "rain"})
    return {**family.draw(np.random.default_rng(0)), **changes}


def test_light_grows_with_density():
    light = [rain_streaks(300, 300, params(density=density, opacity=0.3)).mean() for density in (0.001, 0.002, 0.004)]

    assert light[1] / light[0] == pytest.approx(2, rel=0.2)
    assert light[2] / light[0] == pytest.approx(4, rel=0.2)


def test_light_is_proportional_to_opacity():
    faint = rain_streaks(100, 100, params(opacity=0.2))
    strong = rain_streaks(100, 100, params(opacity=0.6))

    np.testing.assert_allclose(strong, 3 * faint, atol=1e-6)


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_a_lone_streak_is_no_brighter_than_its_opacity_at_any_width(width):
    # So few streaks that they seldom cross: the brightest point is one streak's crest.
    streaks = rain_streaks(400, 400, params(density=0.0002, opacity=0.5, width=width, length=40.0, angle=0.0))

    assert 0.3 < np.quantile(streaks[streaks > 0.01], 0.999) < 0.55


def test_the_light_model_adds_the_same_to_all_channels_and_clips_at_white():
    clean = np.random.default_rng(0).random((80, 90, 3), dtype=np.float32)
    family = build_degradation({"name": "rain", "density": 0.02})

    rainy, drawn = family(clean, np.random.default_rng(1))

    expected = np.minimum(clean + rain_streaks(80, 90, drawn)[..., None], 1)
    np.testing.assert_allclose(rainy, expected, atol=1e-6)


def test_the_heavy_model_mixes_in_airlight():
    clean = np.random.default_rng(0).random((80, 90, 3), dtype=np.float32)
    family = build_degradation({"name": "rain", "veil": 0.4, "airlight": 0.8})

    rainy, drawn = family(clean, np.random.default_rng(1))

    expected = np.minimum(0.6 * (clean + rain_streaks(80, 90, drawn)[..., None]) + 0.4 * 0.8, 1)
    np.testing.assert_allclose(rainy, expected, atol=1e-6)


def test_rain_falls_evenly_up_to_each_border():
    streaks = np.mean([rain_streaks(96, 96, params(key=key, density=0.02, angle=5.0)) for key in range(60)], axis=0)

    inside = streaks[24:72, 24:72].mean()
    for border in (streaks[:6], streaks[-6:], streaks[:, :6], streaks[:, -6:]):
        assert border.mean() == pytest.approx(inside, rel=0.08)


def test_drawing_in_small_parts_draws_the_same_rain(monkeypatch):
    drawn = params(density=0.02)
    at_once = rain_streaks(60, 70, drawn)
    monkeypatch.setattr(rain, "_POINTS_AT_ONCE", 500)

    np.testing.assert_allclose(rain_streaks(60, 70, drawn), at_once, atol=1e-6)
