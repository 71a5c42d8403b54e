"""Resizing against MATLAB's definition, Pillow, PyTorch and the published numbers of bicubic; resolution lost and anchored.

What was compared for `imresize`: a scalar float64 transcription of the definition (every pixel, borders too); constants
and ramps; Pillow's bicubic, which differs at borders alone; and the PSNR of bicubic on Set5 and Set14, which papers have
measured with MATLAB itself (within 0.02 dB).
"""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.resize import FILTERS, IMRESIZE, imresize, resize, resized, taps
from ipt_platform.evaluate.protocols import to_uint8

SETS = Path(__file__).parents[3] / "shared/data/test"
SCALES = [2, 3, 4, 1 / 2, 1 / 3, 1 / 4, 0.7, 1.9]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def keys(x):
    """The cubic of Keys (1981), equation 15."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    if x <= 2:
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return 0.0


def matlab_line(line, scale):
    """One line resized as MATLAB's `imresize` documents and does it: pixels counted from 1, sums in float64."""
    n, result = len(line), []
    width = 4 / scale if scale < 1 else 4
    for x in range(1, math.ceil(n * scale - 1e-9) + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        total = weights = 0.0
        for place in range(left, left + math.ceil(width) + 2):
            weight = scale * keys(scale * (u - place)) if scale < 1 else keys(u - place)
            mirrored = [*range(1, n + 1), *range(n, 0, -1)][(place - 1) % (2 * n)]
            total += weight * float(line[mirrored - 1])
            weights += weight
        result.append(total / weights)
    return result


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("height", "width"), [(12, 17), (9, 8), (3, 25), (1, 2)])
def test_imresize_is_the_definition(scale, height, width):
    x = picture(height, width)

    columns = np.array([[matlab_line(x[:, j, c], scale) for c in range(3)] for j in range(width)]).transpose(2, 0, 1)
    expected = np.array([[matlab_line(row[:, c], scale) for c in range(3)] for row in columns]).transpose(0, 2, 1)
    np.testing.assert_allclose(imresize(x, scale), expected, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_constants_are_kept_everywhere_and_ramps_inside(scale):
    constant = np.full((21, 26, 3), (0.0, 0.3, 1.0), np.float32)
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None] / 40, (40, 30, 3))

    flat, sloped = imresize(constant, scale), imresize(ramp, scale)

    np.testing.assert_allclose(flat, np.broadcast_to(constant[0, 0], flat.shape), atol=1e-6)
    if scale >= 1 or (1 / scale).is_integer():  # between whole steps a stretched cubic is not exact on ramps
        inside = slice(math.ceil(3 * scale) + 2, -math.ceil(3 * scale) - 2)
        place = (np.arange(len(sloped)) + 0.5) / scale - 0.5
        np.testing.assert_allclose(sloped[inside, 5, 0], place[inside] / 40, atol=1e-6)


@pytest.mark.parametrize("kind", [*FILTERS.values(), IMRESIZE])
@settings(max_examples=30)
@given(size=st.integers(1, 40), step=st.floats(0.2, 9), seed=st.integers(0, 99))
def test_weights_sum_to_one_and_places_lie_in_the_picture(kind, size, step, seed):
    centres = np.random.default_rng(seed).uniform(-3, size + 3, 20)

    found = taps(centres, size, kind, step)

    np.testing.assert_allclose(found.weight.sum(axis=1, dtype=np.float64), 1, atol=1e-6)
    assert found.place.min() >= 0
    assert found.place.max() < size


@pytest.mark.parametrize(
    ("size", "scale"), [((60, 84), 1 / 2), ((60, 84), 1 / 3), ((60, 84), 1 / 4), ((20, 31), 3), ((20, 31), 4)]
)
def test_inside_imresize_is_the_bicubic_of_pillow(size, scale):
    x = picture(*size)
    height, width = round(size[0] * scale), round(size[1] * scale)
    pillow = [np.asarray(Image.fromarray(x[..., c]).resize((width, height), Image.Resampling.BICUBIC)) for c in range(3)]

    rim = max(2, math.ceil(2 * scale) + 1)
    inside = (slice(rim, -rim), slice(rim, -rim))
    np.testing.assert_allclose(imresize(x, scale)[inside], np.stack(pillow, axis=-1)[inside], atol=2e-6)


@pytest.mark.parametrize(("name", "mode"), [("bilinear", "bilinear"), ("bicubic", "bicubic")])
@pytest.mark.parametrize(("size", "target"), [((40, 50), (17, 23)), ((20, 30), (33, 41)), ((30, 30), (60, 15))])
def test_inside_the_other_filters_are_those_of_pytorch(name, mode, size, target):
    x = picture(*size)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x).permute(2, 0, 1)[None], target, mode=mode)

    rows, columns = (
        taps((np.arange(n) + 0.5) * full / n - 0.5, full, FILTERS[name], full / n) for full, n in zip(size, target, strict=True)
    )
    inside = (slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(resize(x, rows, columns)[inside], expected[0].permute(1, 2, 0).numpy()[inside], atol=1e-5)


@pytest.mark.parametrize("target", [(10, 16), (17, 31), (13, 20)])
def test_area_is_the_mean_over_what_a_pixel_covers(target):
    x = picture(40, 64)
    rows, columns = (
        taps((np.arange(n) + 0.5) * full / n - 0.5, full, FILTERS["area"], full / n)
        for full, n in zip((40, 64), target, strict=True)
    )

    expected = cv2.resize(x, (target[1], target[0]), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(resize(x, rows, columns), expected, atol=1e-5)


# Of bicubic, as VDSR (Kim et al., CVPR 2016, table 3) and many papers since report it: luma, no border of `scale` pixels.
@pytest.mark.parametrize(
    ("folder", "published"),
    [("Set5", {2: 33.66, 3: 30.39, 4: 28.42}), ("Set14", {2: 30.24, 3: 27.55, 4: 26.00})],
)
def test_bicubic_measures_what_papers_have_measured_with_matlab(folder, published):
    if not (SETS / folder).is_dir():
        pytest.skip(f"{SETS / folder} is not here")
    lumas = [luma(Image.open(path)) for path in sorted((SETS / folder).glob("*.bmp"))]
    for scale, expected in published.items():
        degradation = build_degradation({"name": "low-resolution", "scale": scale})
        found = []
        for full in lumas:
            clean = full[: full.shape[0] // scale * scale, : full.shape[1] // scale * scale]
            degraded, _ = degradation(np.divide(clean, 255, dtype=np.float32), np.random.default_rng(0))
            error = (to_uint8(degraded) - clean)[scale:-scale, scale:-scale]
            found.append(20 * np.log10(255 / np.sqrt(np.mean(error**2))))
        assert np.mean(found) == pytest.approx(expected, abs=0.02), scale


def luma(image):
    """[H, W, 3] whole grey levels, three times the BT.601 luma as MATLAB's rgb2ycbcr rounds it; a grey picture as it is."""
    values = np.asarray(image, np.float64)
    y = values if image.mode == "L" else np.rint(16 + values @ (65.481, 128.553, 24.966) / 255)
    return np.repeat(y[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_resolution_is_imresize_there_and_back_through_8_bits(scale):
    # 61 and 47 are multiples of none of the scales: the last small pixel lies partly beyond the picture.
    x = picture(61, 47)

    degraded, params = build_degradation({"name": "low-resolution", "scale": scale})(x, np.random.default_rng(0))

    small = np.rint(np.clip(imresize(x, 1 / scale), 0, 1) * 255).astype(np.float32) / np.float32(255)
    assert small.shape[:2] == (math.ceil(61 / scale), math.ceil(47 / scale))
    np.testing.assert_allclose(degraded, imresize(small, scale)[:61, :47], atol=1e-6)
    assert params == {"scale": scale}


def test_what_an_enlarged_small_file_would_be_is_what_the_task_was_trained_on():
    # A person has the small file of 8 bits; the task saw the same numbers.
    x = picture(48, 36)
    degradation = build_degradation({"name": "low-resolution", "scale": 4})
    small = to_uint8(imresize(x, 1 / 4))

    degraded, _ = degradation(x, np.random.default_rng(0))

    np.testing.assert_allclose(imresize(np.divide(small, 255, dtype=np.float32), 4), degraded, atol=1e-6)


@settings(max_examples=40)
@given(
    scale=st.sampled_from([2, 3, 4]),
    height=st.integers(30, 75),
    width=st.integers(30, 75),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_crop_anywhere_loses_to_the_bit_what_the_whole_loses(scale, height, width, place):
    assert_crop_is_whole({"name": "low-resolution", "scale": scale}, height, width, place)


@settings(max_examples=40)
@given(
    scale=st.floats(0.15, 2),
    there=st.sampled_from([*FILTERS]),
    back=st.sampled_from([*FILTERS]),
    size=st.tuples(st.integers(30, 75), st.integers(30, 75)),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_crop_resampled_anywhere_is_the_crop_of_the_whole(scale, there, back, size, place):
    assert_crop_is_whole({"name": "resample", "scale": scale, "there": [there], "back": [back]}, *size, place)


def assert_crop_is_whole(spec, height, width, place):
    """A crop with its margin, reflected beyond borders, equals the whole in every bit."""
    size = 25
    degradation = build_degradation(spec)
    clean, params, m = picture(height, width), degradation.draw(np.random.default_rng(0)), degradation.margin
    top, left = round(place[0] * (height - size)), round(place[1] * (width - size))
    context = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")[top : top + size + 2 * m, left : left + size + 2 * m]

    whole = degradation.apply(clean, params)[top : top + size, left : left + size]
    crop = degradation.apply(context, params, Frame(height, width, top - m, left - m))[m : m + size, m : m + size]

    np.testing.assert_array_equal(crop, whole)


def test_resampling_draws_from_its_lists_and_loses_detail():
    resample = build_degradation({"name": "resample", "scale": {"min": 0.2, "max": 0.4}, "there": ["area"]})
    clean = picture(60, 60)

    degraded, params = resample(clean, np.random.default_rng(1))

    assert params["there"] == "area"
    assert params["back"] in FILTERS
    assert 0.2 <= params["scale"] <= 0.4
    assert degraded.std() < 0.5 * clean.std()
    assert degraded.mean() == pytest.approx(clean.mean(), abs=0.01)


def test_a_rounding_error_makes_no_pixel():
    assert [resized(10 * n, 0.1) for n in range(1, 200)] == list(range(1, 200))
    assert [resized(3 * n, 1 / 3) for n in range(1, 200)] == list(range(1, 200))
    assert resized(7, 1 / 3) == 3


def test_files_are_smaller_than_what_is_degraded_only_where_resolution_is_lost():
    assert build_degradation({"name": "low-resolution", "scale": 4}).upscale == 4
    assert build_degradation({"name": "low-resolution", "scale": {"choices": [4, 2]}}).upscale == 2
    assert build_degradation({"name": "resample"}).upscale == 1


@pytest.mark.parametrize("scale", [2.5, {"min": 2, "max": 4}, 9])
def test_a_scale_that_is_no_whole_number_up_to_8_is_refused(scale):
    with pytest.raises(ValueError, match=r"whole numbers|between 1 and 8"):
        build_degradation({"name": "low-resolution", "scale": scale})
