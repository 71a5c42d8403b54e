"""Snow against its formula and what its parameters promise."""

import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation, flakes, snow
from ipt_platform.data.degradations.flakes import Flakes, cover_of
from ipt_platform.data.degradations.snow import snow_mask


def params(**changes):
    family = build_degradation({"name": "snow"})
    return {**family.draw(np.random.default_rng(0)), **changes}


def test_the_picture_follows_the_formula_of_its_parameters():
    clean = np.random.default_rng(0).random((90, 70, 3), dtype=np.float32)

    snowy, drawn = build_degradation({"name": "snow"})(clean, np.random.default_rng(1))

    zr = snow_mask(90, 70, drawn)[..., None].astype(np.float64) * drawn["opacity"]
    t = 1 - drawn["veil"]
    flaked = clean * (1 - zr) + drawn["brightness"] * zr
    np.testing.assert_allclose(snowy, flaked * t + drawn["airlight"] * (1 - t), atol=1e-6)


def test_black_and_white_pictures_show_one_and_the_same_snow():
    # Without asking for the mask: what a flake takes from white and what it gives to black are tied by C, T and A.
    family = build_degradation({"name": "snow", "density": 0.02})
    drawn = family.draw(np.random.default_rng(4))
    on_black = family.apply(np.zeros((80, 80, 3), np.float32), drawn).astype(np.float64)
    on_white = family.apply(np.ones((80, 80, 3), np.float32), drawn).astype(np.float64)

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


def test_snow_falls_evenly_up_to_each_border():
    mask = np.mean([snow_mask(96, 96, params(key=key, density=0.03, size=4.0)) for key in range(60)], axis=0)

    inside = mask[24:72, 24:72].mean()
    for border in (mask[:3], mask[-3:], mask[:, :3], mask[:, -3:]):
        assert border.mean() == pytest.approx(inside, rel=0.08)


def test_drawing_in_small_parts_draws_the_same_snow(monkeypatch):
    drawn = params(density=0.02)
    at_once = snow_mask(60, 70, drawn)
    monkeypatch.setattr(flakes, "_PIXELS_AT_ONCE", 500)

    np.testing.assert_allclose(snow_mask(60, 70, drawn), at_once, atol=1e-6)


def test_a_flake_stands_where_it_was_drawn_to_a_fraction_of_a_pixel():
    one, grid = np.ones(1), np.indices((50, 60))
    for top, left in np.random.default_rng(0).uniform(15, 35, (20, 2)):
        flake = Flakes(top * one, left * one, 5 * one, one, 3 * one, peak=one, softness=0.8 * one, lobes=np.zeros((2, 1)))

        index, cover = cover_of(flake, 50, 60)

        mask = np.zeros(50 * 60)
        mask[index] = cover
        centroid = (grid * mask.reshape(50, 60)).sum(axis=(1, 2)) / mask.sum()
        np.testing.assert_allclose(centroid, (top, left), atol=0.01)


def test_a_still_round_flake_is_the_disc_that_its_softness_says():
    one = np.ones(1)
    flake = Flakes(20 * one, 25 * one, 8 * one, one, 0 * one, peak=0.7 * one, softness=0.5 * one, lobes=np.zeros((2, 1)))

    index, cover = cover_of(flake, 40, 50)

    mask = np.zeros(40 * 50)
    mask[index] = cover
    down, right = np.indices((40, 50)) - np.array((20, 25))[:, None, None]
    rise = np.clip((1 - np.hypot(down, right) / 8) / 0.5, 0, 1)
    np.testing.assert_allclose(mask.reshape(40, 50), 0.7 * (3 * rise**2 - 2 * rise**3), atol=1e-5)


def test_large_flakes_drawn_small_cover_as_much_as_drawn_in_full(monkeypatch):
    drawn = params(density=0.001, size=16.0, motion=6.0)

    def cover():
        return np.mean([np.log1p(-snow_mask(200, 210, {**drawn, "key": key}).astype(np.float64)).mean() for key in range(40)])

    enlarged = cover()
    monkeypatch.setattr(snow, "_FINE_ENOUGH", 1e9)

    assert enlarged == pytest.approx(cover(), rel=0.15)


def test_large_flakes_show_no_enlarged_pixels():
    layer = snow._Layer(size=1.0, softness=0.8, opacity=1.0, share=1.0)
    weather = params(density=0.0002, size=30.0, motion=0.0)
    drawn = np.log(snow.layers_through(300, 310, [layer], int(30 / snow._FINE_ENOUGH), weather, np.random.default_rng(0)))

    slopes = drawn[:, :-1] < -0.05
    # Five of six neighbours would be equal; in the middle of a flake, a twenty-fifth of it, they are.
    assert slopes.mean() > 0.2
    assert (np.diff(drawn, axis=1)[slopes] == 0).mean() < 0.15
