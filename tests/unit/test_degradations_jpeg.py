"""JPEG against a second implementation, closed forms of the format, and the block grid of the whole picture."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.jpeg import recode

LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
"""Table K.1 of ITU-T T.81."""

PILLOW = {444: 0, 422: 1, 420: 2}


def photo(height, width, seed=0):
    """Smooth shades with some texture, uint8."""
    rng = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 3, height)[:, None, None], np.linspace(0, 4, width)[None, :, None]
    waves = np.sin(rows * rng.uniform(1, 3, 3) + columns * rng.uniform(-3, 3, 3) + rng.uniform(0, 6, 3))
    return np.rint(np.clip(128 + 80 * waves + rng.normal(0, 12, (height, width, 3)), 0, 255)).astype(np.uint8)


def light(pixels):
    return np.divide(pixels, 255, dtype=np.float32)


def table(quality):
    """Table K.1 at a quality, by the rule of the Independent JPEG Group."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def jpeg(quality=50, subsampling=420):
    return build_degradation({"name": "jpeg", "quality": quality, "subsampling": subsampling})


@pytest.mark.parametrize("quality", [5, 10, 30, 50, 75, 95])
@pytest.mark.parametrize("grey", [0, 3, 60, 127, 128, 200, 255])
def test_one_grey_is_rounded_to_a_step_of_the_first_coefficient(grey, quality):
    result = recode(np.full((16, 16, 3), grey, np.uint8), quality, 420)

    # The mean of a block is an eighth of its first coefficient, which is rounded to a multiple of its step.
    step, level = table(quality)[0, 0], int(result[0, 0, 0])
    levels = np.clip(128 + step / 8 * np.arange(-1024, 1025), 0, 255)
    assert np.unique(result).size == 1
    assert np.abs(levels - level).min() <= 0.5
    assert abs(level - grey) <= step / 16 + 0.5


@pytest.mark.parametrize("quality", [10, 40, 80])
def test_grey_pictures_are_those_of_the_definition(quality):
    pixels = np.repeat(photo(64, 72)[..., :1], 3, axis=2)

    result = recode(pixels, quality, 444)

    n = np.arange(8)
    dct = np.cos((2 * n + 1) * n[:, None] * np.pi / 16) / 2
    dct[0] /= np.sqrt(2)
    blocks = (pixels[..., 0].astype(np.float64) - 128).reshape(8, 8, 9, 8).transpose(0, 2, 1, 3)
    steps = table(quality)
    multiples = dct @ blocks @ dct.T / steps
    # Halves, which are frequent in the first coefficient, are rounded away from zero.
    coefficients = np.sign(multiples) * np.floor(np.abs(multiples) + 0.5 + 1e-9) * steps
    expected = (dct.T @ coefficients @ dct + 128).transpose(0, 2, 1, 3).reshape(64, 72)
    difference = np.abs(result[..., 0] - np.clip(np.round(expected), 0, 255))
    # Integer arithmetic takes a coefficient that lies nearly between two steps to the other one now and then.
    assert np.ptp(result, axis=2).max() == 0
    assert np.mean(difference <= 1) > 0.93
    assert difference.mean() < 0.05 * np.abs(pixels[..., 0] - expected).mean()


@pytest.mark.parametrize("subsampling", PILLOW)
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_pillow_saves_the_same_picture(quality, subsampling):
    pixels, file = photo(70, 61), io.BytesIO()

    result, params = jpeg(quality, subsampling)(light(pixels), np.random.default_rng(0))

    Image.fromarray(pixels).save(file, "jpeg", quality=quality, subsampling=PILLOW[subsampling])
    assert params == {"quality": quality, "subsampling": subsampling}
    np.testing.assert_array_equal(np.rint(result * 255), np.asarray(Image.open(file)))


@pytest.mark.parametrize("subsampling", PILLOW)
@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_a_crop_with_margin_is_the_crop_of_the_whole_to_the_last_bit(subsampling, data, seed):
    height, width = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - rows)), data.draw(st.integers(0, width - columns))
    clean = light(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))
    degradation = jpeg({"min": 5, "max": 95}, subsampling)
    params, m = degradation.draw(np.random.default_rng(seed)), degradation.margin
    padded = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")

    whole = degradation.apply(clean, params)[top : top + rows, left : left + columns]
    context = padded[top : top + rows + 2 * m, left : left + columns + 2 * m]
    crop = degradation.apply(context, params, Frame(height, width, top - m, left - m))[m : m + rows, m : m + columns]

    np.testing.assert_array_equal(crop, whole)


def test_without_the_frame_the_blocks_would_lie_elsewhere():
    clean = light(photo(80, 80))

    whole = jpeg(10).apply(clean, {"quality": 10, "subsampling": 420})[21:69, 21:69]
    own_grid = jpeg(10).apply(clean[21:69, 21:69], {"quality": 10, "subsampling": 420})

    assert np.abs(whole - own_grid).mean() > 1 / 255


def test_beyond_the_border_lies_the_reflection_of_the_result():
    clean, params = light(photo(40, 50)), {"quality": 20, "subsampling": 420}
    whole = jpeg(20).apply(clean, params)

    context = np.pad(clean, ((9, 7), (5, 11), (0, 0)), mode="reflect")
    result = jpeg(20).apply(context, params, Frame(40, 50, -9, -5))

    np.testing.assert_array_equal(result, np.pad(whole, ((9, 7), (5, 11), (0, 0)), mode="reflect"))


def test_values_are_clipped_and_rounded_to_8_bits_first():
    pixels = photo(32, 32)
    off = light(pixels) + np.random.default_rng(0).uniform(-0.4, 0.4, pixels.shape).astype(np.float32) / 255

    result, _ = jpeg(50)(off, np.random.default_rng(0))

    np.testing.assert_array_equal(result, light(recode(pixels, 50, 420)))
    beyond, _ = jpeg(50)(np.full((8, 8, 3), 1.7, np.float32), np.random.default_rng(0))
    assert (beyond == 1).all()


def test_lower_quality_is_farther_from_the_picture():
    clean = light(photo(128, 128))

    errors = [np.square(jpeg(quality)(clean, np.random.default_rng(0))[0] - clean).mean() for quality in (95, 70, 40, 20, 5)]

    assert errors == sorted(errors)


def test_colours_lose_resolution_by_the_subsampling():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 130, 0)  # of the same luminance

    spread = {s: float(np.abs(np.diff(recode(stripes, 100, s)[..., 0].astype(int), axis=1)).mean()) for s in PILLOW}
    turned = {
        s: float(np.abs(np.diff(recode(stripes.swapaxes(0, 1), 100, s)[..., 0].astype(int), axis=0)).mean()) for s in PILLOW
    }

    assert spread[444] > 240
    assert max(spread[422], spread[420], turned[420]) < 10
    assert turned[422] > 240


def test_quality_is_a_whole_number_over_the_range():
    degradation = build_degradation({"name": "jpeg", "quality": {"min": 10, "max": 14}})
    rng = np.random.default_rng(0)

    drawn = [degradation.draw(rng) for _ in range(400)]

    assert {params["quality"] for params in drawn} == {10, 11, 12, 13, 14}
    assert {params["subsampling"] for params in drawn} == {444, 422, 420}


@pytest.mark.parametrize("subsampling", [411, {"choices": [420, 1]}, {"min": 420, "max": 444}])
def test_an_unknown_subsampling_is_refused(subsampling):
    with pytest.raises(ValidationError, match="expected 444, 422 or 420"):
        jpeg(50, subsampling)


def test_margin_is_the_rest_of_a_block_and_what_its_colours_are_interpolated_from():
    assert jpeg(50, 444).margin == 7
    assert jpeg(50, 420).margin == jpeg(50, 422).margin == jpeg(50, {"choices": [444, 420]}).margin == 17


def test_the_pinned_encoder_gives_these_values_on_every_machine():
    digest = hashlib.sha256()
    noise = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (96, 112, 3), np.uint8)
    for quality in (10, 35, 60, 95):
        for subsampling in PILLOW:
            digest.update(recode(noise, quality, subsampling).tobytes())

    # Written down once; libjpeg-turbo's accurate integer transform and its vector forms agree to the bit.
    assert digest.hexdigest() == "b4e1d3a1a055f9332f80102c2d792e80daa0e4c7fb175610792089347ce46953"
