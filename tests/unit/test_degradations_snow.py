"""Snow against its formula and what its parameters promise."""

import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.snow import snow_mask


def params(**changes):
    snow = build_degradation({"name": "snow"})
    return {**snow.draw(np.random.default_rng(0)), **changes}


def test_the_picture_follows_the_formula_of_its_parameters():
    clean = np.random.default_rng(0).random((90, 70, 3), dtype=np.float32)

    snowy, drawn = build_degradation({"name": "snow"})(clean, np.random.default_rng(1))

    zr = snow_mask(90, 70, drawn)[..., None].astype(np.float64) * drawn["opacity"]
    t = 1 - drawn["veil"]
    flaked = clean * (1 - zr) + drawn["brightness"] * zr
    np.testing.assert_allclose(snowy, flaked * t + drawn["airlight"] * (1 - t), atol=1e-6)


def test_black_and_white_pictures_show_one_and_the_same_snow():
    # Without asking for the mask: what a flake takes from white and what it gives to black are tied by C, T and A.
    snow = build_degradation({"name": "snow", "density": 0.02})
    drawn = snow.draw(np.random.default_rng(4))
    on_black = snow.apply(np.zeros((80, 80, 3), np.float32), drawn).astype(np.float64)
    on_white = snow.apply(np.ones((80, 80, 3), np.float32), drawn).astype(np.float64)

    t = 1 - drawn["veil"]
    let_through = on_white - on_black
    expected = drawn["brightness"] * (t - let_through) + drawn["airlight"] * (1 - t)
    np.testing.assert_allclose(on_black, expected, atol=1e-5)
    assert let_through.min() < 0.5 * t
    assert let_through.max() == pytest.approx(t, abs=1e-6)


def test_the_mask_is_a_share_of_cover():
    mask = snow_mask(200, 200, params(density=0.05, size=6.0))

    assert mask.min() >= 0
    assert mask.max() < 1
    assert mask.max() > 0.9


def test_cover_grows_with_density():
    # Layers let light through independently, so the logarithm of what passes is what adds up.
    sparse, dense = (np.log1p(-snow_mask(500, 500, params(density=d, size=2.0))).mean() for d in (0.002, 0.008))

    assert dense / sparse == pytest.approx(4, rel=0.25)


def test_snow_falls_evenly_up_to_the_borders():
    mask = np.mean([snow_mask(96, 96, params(key=key, density=0.02)) for key in range(40)], axis=0)

    border = np.concatenate((mask[:8].ravel(), mask[-8:].ravel(), mask[:, :8].ravel(), mask[:, -8:].ravel()))
    assert border.mean() == pytest.approx(mask[24:72, 24:72].mean(), rel=0.1)
