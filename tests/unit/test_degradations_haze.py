"""Haze against the scattering model and the shape of its depth."""

import numpy as np
import pytest

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.depth import DepthLayout, depth_map, fractal, smooth_luminance


def picture(height=60, width=70, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def layout(**parts):
    return DepthLayout(**{"vertical": 0.0, "slope": 0.0, "angle": 0.0, "clouds": 0.0, "objects": 0.0, "key": 1, **parts})


@pytest.mark.parametrize(("beta", "airlight"), [(0.4, 0.7), (1.3, 0.9), (2.2, 1.0)])
def test_transmission_and_airlight_are_recovered_from_a_constant_depth(beta, airlight):
    clean = picture()
    haze = build_degradation({"name": "haze", "beta": beta, "airlight": airlight, "flat": 1})

    hazy, params = haze(clean, np.random.default_rng(0))

    # y = t x + A (1-t) is a line in x: its slope is t, its offset gives A.
    t, offset = np.polyfit(clean.ravel().astype(np.float64), hazy.ravel(), 1)
    assert t == pytest.approx(np.exp(-beta * params["depth"]), rel=1e-4)
    assert offset / (1 - t) == pytest.approx(airlight, rel=1e-4)


def test_the_formula_holds_for_every_pixel_of_a_laid_out_depth():
    clean = picture()
    hazy, params = build_degradation({"name": "haze", "flat": 0})(clean, np.random.default_rng(2))

    parts = {key: params[key] for key in ("vertical", "slope", "angle", "clouds", "objects", "key")}
    t = np.exp(-params["beta"] * depth_map(clean, DepthLayout(**parts), Frame(60, 70)))[..., None]
    np.testing.assert_allclose(hazy, clean * t + params["airlight"] * (1 - t), atol=1e-6)


def test_thicker_haze_moves_every_pixel_towards_the_airlight():
    clean = picture()
    haze = build_degradation({"name": "haze", "airlight": 0.8, "flat": 0})
    params = haze.draw(np.random.default_rng(1))

    distances = [np.abs(haze.apply(clean, {**params, "beta": beta}) - 0.8).astype(np.float64) for beta in (0.0, 0.7, 1.5, 3.0)]

    for nearer, farther in zip(distances[1:], distances[:-1], strict=True):
        assert (nearer <= farther + 1e-6).all()
        assert (nearer**2).sum() < (farther**2).sum()


def test_vertical_part_is_the_height_in_the_whole_picture():
    clean = picture(20, 30)

    whole = depth_map(picture(100, 30), layout(vertical=1.0), Frame(100, 30))
    crop = depth_map(clean, layout(vertical=1.0), Frame(100, 30, top=40))

    np.testing.assert_allclose(whole[:, 0], 1 - (np.arange(100) + 0.5) / 100, atol=1e-6)
    np.testing.assert_allclose(crop, whole[40:60], atol=1e-6)


@pytest.mark.parametrize("angle", np.linspace(0, 2 * np.pi, 9))
def test_slope_is_a_plane_from_zero_to_one_in_its_direction(angle):
    depth = depth_map(picture(200, 200), layout(slope=1.0, angle=float(angle)), Frame(200, 200)).astype(np.float64)

    down, right = np.gradient(depth)
    norm = abs(np.sin(angle)) + abs(np.cos(angle))
    np.testing.assert_allclose(down, np.sin(angle) / norm / 200, atol=1e-6)
    np.testing.assert_allclose(right, np.cos(angle) / norm / 200, atol=1e-6)
    assert depth.min() == pytest.approx(0.0, abs=0.01)
    assert depth.max() == pytest.approx(1.0, abs=0.01)


def test_clouds_lie_in_the_unit_range_and_are_smooth():
    at = (np.arange(400) + 0.5) / 400
    noise = fractal(at, at, key=3).astype(np.float64)

    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.std() > 0.05
    # The finest lattice has 12 cells: neighbours of 400 pixels differ by far less than the noise as a whole.
    assert np.abs(np.diff(noise, axis=0)).max() < 0.02


def test_objects_follow_outlines_and_drop_texture():
    step = np.zeros((80, 80), np.float32)
    step[:, 40:] = 1
    texture = 0.1 * (np.indices((80, 80)).sum(axis=0) % 2)
    clean = np.repeat((0.1 + 0.7 * step + texture)[..., None], 3, axis=2).astype(np.float32)

    smooth = smooth_luminance(clean)

    left, right = smooth[20:60, :39], smooth[20:60, 41:]
    assert right.min() - left.max() > 0.4
    # Away from the outline, where no window of the filter holds it, a twentieth of the texture is left.
    assert smooth[20:60, :18].std() < 0.05 * clean[20:60, :18].std() + 1e-6


def test_weights_of_the_layout_sum_to_one():
    haze = build_degradation({"name": "haze", "flat": 0, "slope": {"min": 0, "max": 1}, "clouds": {"min": 0, "max": 1}})
    rng = np.random.default_rng(0)

    for _ in range(200):
        params = haze.draw(rng)
        assert params["vertical"] + params["slope"] + params["clouds"] == pytest.approx(1.0)


def test_a_share_of_pairs_is_flat():
    haze = build_degradation({"name": "haze", "flat": 0.25})
    rng = np.random.default_rng(0)

    flat = sum("depth" in haze.draw(rng) for _ in range(2000))

    assert abs(flat - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)
