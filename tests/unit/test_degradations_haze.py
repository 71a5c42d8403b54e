"""Haze against the scattering model and the shape of its depth."""

import numpy as np
import pytest

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.depth import REACH, DepthLayout, depth_map, self_guided, smooth_luminance
from ipt_platform.data.degradations.fractal import lattice, spline, unit_places


def picture(height=60, width=70, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def everything(values):
    return slice(0, values.shape[0]), slice(0, values.shape[1])


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
    noise = depth_map(picture(400, 400), layout(clouds=1.0, key=3), Frame(400, 400)).astype(np.float64)

    assert noise.min() >= 0
    assert noise.max() <= 1
    assert noise.std() > 0.05
    # The finest lattice has 12 cells: neighbours of 400 pixels differ by far less than the noise as a whole.
    assert np.abs(np.diff(noise, axis=0)).max() < 0.02


def test_clouds_are_spread_by_the_cubic_spline_of_their_lattice():
    points = lattice(5).astype(np.float64)
    at = unit_places(50, 80, 11)

    # The uniform cubic B-spline is the fourfold convolution of a box: its closed form piece by piece.
    distance = np.abs(at[:, None].astype(np.float64) * 12 - (np.arange(15) - 1))
    shares = np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6)
    np.testing.assert_allclose(spline(at), shares, atol=1e-5)
    clouds = depth_map(picture(50, 50), layout(clouds=1.0, key=5), Frame(80, 80, 11, 11))
    np.testing.assert_allclose(clouds, shares @ points @ shares.T, atol=1e-5)


def test_places_beyond_the_picture_are_those_of_their_reflection():
    np.testing.assert_allclose(unit_places(8, 4, -2) * 4, (1.5, 0.5, 0.5, 1.5, 2.5, 3.5, 3.5, 2.5), atol=1e-6)


def test_objects_follow_outlines_and_drop_texture():
    step = np.zeros((80, 80), np.float32)
    step[:, 40:] = 1
    texture = 0.1 * (np.indices((80, 80)).sum(axis=0) % 2)
    clean = np.repeat((0.1 + 0.7 * step + texture)[..., None], 3, axis=2).astype(np.float32)

    smooth = smooth_luminance(clean, everything(clean))

    left, right = smooth[20:60, :39], smooth[20:60, 41:]
    assert right.min() - left.max() > 0.4
    # Away from the outline, where no window of the filter holds it, a twentieth of the texture is left.
    assert smooth[20:60, :18].std() < 0.05 * clean[20:60, :18].std() + 1e-6


def test_the_filter_is_the_definition_and_looks_no_farther_than_its_reach():
    values = picture(70, 60)[..., 0]
    radius = REACH // 2

    def box(x):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, radius, mode="reflect"), (2 * radius + 1,) * 2)
        return windows.mean(axis=(2, 3))

    exact = values.astype(np.float64)
    gain = (box(exact**2) - box(exact) ** 2) / (box(exact**2) - box(exact) ** 2 + 0.05)
    np.testing.assert_allclose(
        self_guided(values, everything(values)), box(gain) * exact + box(box(exact) * (1 - gain)), atol=1e-5
    )
    changed = values.copy()
    changed[:10] = 0
    np.testing.assert_array_equal(
        self_guided(changed, everything(changed))[10 + REACH :], self_guided(values, everything(values))[10 + REACH :]
    )


def test_the_horizon_scales_beta_as_the_outdoor_set_of_reside_needs():
    clean = picture()
    near = build_degradation({"name": "haze", "beta": 1.2, "airlight": 0.85, "flat": 0})
    far = build_degradation({"name": "haze", "beta": 0.12, "airlight": 0.85, "flat": 0, "far": 10})

    hazy, _ = near(clean, np.random.default_rng(3))

    np.testing.assert_allclose(far(clean, np.random.default_rng(3))[0], hazy, atol=1e-6)


def test_the_ranges_of_reside_can_be_written_and_are_drawn():
    outdoor = build_degradation(
        {
            "name": "haze",
            "beta": {"choices": [0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2]},
            "airlight": {"choices": [0.8, 0.85, 0.9, 0.95, 1.0]},
            "far": 10,
        }
    )
    rng = np.random.default_rng(0)

    drawn = [outdoor.draw(rng) for _ in range(1000)]

    assert len({(each["beta"], each["airlight"]) for each in drawn}) == 35
    assert {each["far"] for each in drawn} == {10}


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
