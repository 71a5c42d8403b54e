"""Laws that every family obeys, and the laws of sub-pixel kernels, for drawn parameters."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.data.degradations import DEGRADATIONS, Frame, build_degradation
from ipt_platform.data.degradations.frame import Context
from ipt_platform.data.degradations.kernels import kernel_radius, path_kernel, shake_path
from ipt_platform.data.degradations.splat import splat

ZERO = {
    "gaussian-noise": {"sigma": 0},
    "poisson-noise": {"shot": 0},
    "speckle-noise": {"contrast": 0},
    "impulse-noise": {"share": 0},
    "camera-noise": {"shot": 0},
    "motion-blur": {"length": 0},
    "linear-motion-blur": {"length": 0},
    "gaussian-blur": {"sigma_x": 0},
    "defocus-blur": {"radius": 0.5},
    "sharpen": {"amount": 0},
    "low-resolution": {"scale": 1, "quantize": False},
    "resample": {"scale": 1},
    "haze": {"beta": 0},
    "rain": {"density": 0},
    "raindrop": {"density": 0},
    "snow": {"density": 0, "veil": 0},
    "shadow": {"gamma": 1, "tint": 0},
    "moire": {"strength": 0, "contrast": 1},
    "lowlight": {"alpha": 1, "beta": 1, "gamma": 1, "power": 1, "shot": 0, "sigma": 0},
    "inpaint": {"share": 0},
    "outpaint": {"share": 0},
}
"""What makes each family do nothing."""

NEVER_NOTHING = {
    "sinc-blur": "a circle of frequencies never holds the corners of the spectrum",
    "jpeg": "even quality 100 rounds colours and coefficients",
}
"""Families that have no zero strength, and why."""

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def picture(size, seed):
    return np.random.default_rng(seed).random((*size, 3), dtype=np.float32)


@pytest.mark.parametrize("name", DEGRADATIONS)
@settings(max_examples=15)
@given(seed=seeds, size=sizes)
def test_same_key_same_bytes_and_the_picture_is_left_alone(name, seed, size):
    degradation = build_degradation({"name": name})
    clean = picture(size, seed)
    before = clean.copy()

    first, params = degradation(clean, np.random.default_rng(seed))
    second, again = degradation(clean, np.random.default_rng(seed))

    assert first.tobytes() == second.tobytes()
    assert params == again
    assert clean.tobytes() == before.tobytes()
    assert first.shape == clean.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert not np.shares_memory(first, clean)


@pytest.mark.parametrize("name", DEGRADATIONS)
@settings(max_examples=10)
@given(seed=seeds, size=sizes)
def test_params_after_json_rebuild_the_pair(name, seed, size):
    degradation = build_degradation({"name": name})
    clean = picture(size, seed)

    degraded, params = degradation(clean, np.random.default_rng(seed))

    assert degradation.apply(clean, json.loads(json.dumps(params))).tobytes() == degraded.tobytes()


@pytest.mark.parametrize("name", [name for name in DEGRADATIONS if name not in NEVER_NOTHING])
@settings(max_examples=10)
@given(seed=seeds, size=sizes)
def test_zero_strength_is_the_identity(name, seed, size):
    clean = picture(size, seed)

    degraded, _ = build_degradation({"name": name, **ZERO[name]})(clean, np.random.default_rng(seed))

    np.testing.assert_array_equal(degraded, clean)


@settings(max_examples=25)
@given(seed=seeds, size=sizes)
def test_rain_only_brightens_and_stays_in_range(seed, size):
    clean = picture(size, seed)

    rainy, _ = build_degradation({"name": "rain", "density": 0.05})(clean, np.random.default_rng(seed))

    assert (rainy >= clean).all()
    assert rainy.max() <= 1


@pytest.mark.parametrize("name", ["haze", "snow", "raindrop", "shadow", "moire"])
@settings(max_examples=25)
@given(seed=seeds, size=sizes)
def test_mixtures_of_light_stay_in_range(name, seed, size):
    degraded, _ = build_degradation({"name": name})(picture(size, seed), np.random.default_rng(seed))

    assert degraded.min() >= -1e-6
    assert degraded.max() <= 1 + 1e-6


@pytest.mark.parametrize(("objects", "flat"), [(0.5, 0), (0, 0), (0.5, 1)])
@settings(max_examples=15)
@given(seed=seeds, top=st.integers(0, 60), left=st.integers(0, 50))
def test_haze_of_a_crop_with_margin_is_the_crop_of_the_haze(objects, flat, seed, top, left):
    clean, size = picture((90, 80), seed), 30
    haze = build_degradation({"name": "haze", "objects": objects, "flat": flat})
    params, m = haze.draw(np.random.default_rng(seed)), haze.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")

    whole = haze.apply(clean, params)[top : top + size, left : left + size]
    context = padded[top : top + size + 2 * m, left : left + size + 2 * m]
    crop = haze.apply(context, params, Frame(90, 80, top - m, left - m))[m : m + size, m : m + size]

    np.testing.assert_allclose(crop, whole, atol=2e-5)


@pytest.mark.parametrize("spec", [{"name": "raindrop", "size": 3, "density": 0.005}, {"name": "moire", "strength": 0.3}])
@settings(max_examples=15)
@given(seed=seeds, top=st.integers(0, 60), left=st.integers(0, 50))
def test_drops_and_bands_have_their_places_in_the_whole_picture(spec, seed, top, left):
    clean, size = picture((90, 80), seed), 30
    degradation = build_degradation(spec)
    params, m = degradation.draw(np.random.default_rng(seed)), degradation.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")

    whole = degradation.apply(clean, params)[top : top + size, left : left + size]
    context = padded[top : top + size + 2 * m, left : left + size + 2 * m]
    crop = degradation.apply(context, params, Frame(90, 80, top - m, left - m))[m : m + size, m : m + size]

    np.testing.assert_allclose(crop, whole, atol=2e-5)


PLACED = [
    {"name": "motion-blur"},
    {"name": "motion-blur", "length": {"min": 0, "max": 60}, "linear_light": True},
    {"name": "linear-motion-blur", "length": {"min": 0, "max": 60}},
    {"name": "gaussian-blur"},
    {"name": "gaussian-blur", "shape": "plateau", "sigma_y": {"min": 0.2, "max": 3}, "radius": {"choices": [3, 10]}},
    {"name": "defocus-blur"},
    {"name": "sinc-blur"},
    {"name": "sharpen", "sigma": {"min": 0.3, "max": 3}},
    {"name": "low-resolution"},
    {"name": "resample"},
    {"name": "resample", "scale": 0.15, "there": ["area"], "back": ["bicubic"]},
    {"name": "haze"},
    {"name": "raindrop", "size": {"min": 1, "max": 6}, "density": 0.005},
    {"name": "moire"},
    {"name": "lowlight", "shot": 0, "sigma": 0},
    {"name": "jpeg"},
    {"name": "one-of", "choices": ["sinc-blur", ["motion-blur", {"name": "jpeg", "probability": 0.5}]]},
]
"""Degradations that a place in the whole picture decides, and nothing that lies over the array."""


@pytest.mark.parametrize("spec", PLACED, ids=lambda spec: spec["name"])
@settings(max_examples=15)
@given(seed=seeds, top=st.integers(0, 60), left=st.integers(0, 50))
def test_what_a_draw_needs_of_context_is_enough_and_context_is_not_given_back(spec, seed, top, left):
    clean, size = picture((90, 80), seed), 30
    degradation = build_degradation(spec)
    params = degradation.draw(np.random.default_rng(seed))
    r, m = degradation.reach(params), degradation.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")
    context = padded[top + m - r : top + m + size + r, left + m - r : left + m + size + r]

    crop = degradation.apply(context, params, Frame(90, 80, top - r, left - r, Context(r, r, r, r)))
    whole = degradation.apply(clean, params)[top : top + size, left : left + size]

    assert 0 <= r <= m
    assert crop.shape == (size, size, 3)
    np.testing.assert_allclose(crop, whole, atol=5e-5)


@settings(max_examples=60)
@given(length=st.floats(0, 60), wander=st.floats(0, 6), shakes=st.floats(0, 5), seed=seeds)
def test_kernels_are_non_negative_centred_and_sum_to_one(length, wander, shakes, seed):
    radius = kernel_radius(length)
    path = shake_path(length, wander, shakes, np.random.default_rng(seed))

    kernel = path_kernel(path, radius).astype(np.float64)

    at = np.arange(-radius, radius + 1)
    assert kernel.min() >= 0
    assert abs(kernel.sum() - 1) < 1e-5
    assert abs((kernel.sum(axis=1) * at).sum()) < 1e-4
    assert abs((kernel.sum(axis=0) * at).sum()) < 1e-4


@settings(max_examples=60)
@given(dy=st.floats(-3, 3), dx=st.floats(-3, 3), seed=seeds)
def test_moving_a_path_moves_the_centroid_by_exactly_as_much(dy, dx, seed):
    path = shake_path(12.0, 2.0, 1.0, np.random.default_rng(seed)) + np.array((20, 22))
    weights = np.full(len(path), 1 / len(path))
    grid = np.indices((42, 46))

    moved = splat(path[:, 0] + dy, path[:, 1] + dx, weights, 42, 46)

    centroid = (grid * moved).sum(axis=(1, 2))
    np.testing.assert_allclose(centroid, (20 + dy, 22 + dx), atol=1e-9)


@settings(max_examples=40)
@given(seed=seeds, count=st.integers(0, 60), height=st.integers(1, 9), width=st.integers(1, 9))
def test_splat_is_the_definition_and_drops_what_lies_outside(seed, count, height, width):
    rng = np.random.default_rng(seed)
    rows, columns, weights = rng.uniform(-5, 14, count), rng.uniform(-5, 14, count), rng.random(count)

    i, j = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    hat = np.maximum(0, 1 - np.abs(rows - i)) * np.maximum(0, 1 - np.abs(columns - j))
    np.testing.assert_allclose(splat(rows, columns, weights, height, width), (hat * weights).sum(axis=2), atol=1e-12)
