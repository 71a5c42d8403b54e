import math

import numpy as np
import pytest
import skimage.data
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ipt_platform.errors import TrainingError, UsageError
from ipt_platform.evaluate.protocols import PROTOCOLS, find_protocol, matlab_luma, measure, to_uint8

CLEAN = skimage.data.chelsea()[:120, 100:260]


def restored_like(sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, sigma / 255, CLEAN.shape)
    return (CLEAN / 255 + noise).astype(np.float32)


def skimage_ssim(a: np.ndarray, b: np.ndarray, data_range: float) -> float:
    return structural_similarity(
        a,
        b,
        data_range=data_range,
        channel_axis=2 if a.ndim == 3 else None,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def independently(name: str, restored: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    clipped = np.minimum(np.maximum(restored, 0), 1)
    if name == "rgb-float":
        return clipped, CLEAN / 255, 1.0
    levels = (clipped * 255).round().astype(np.uint8)
    if name == "rgb-uint8":
        return levels, CLEAN, 255.0
    return np.floor(rgb2ycbcr(levels)[..., 0] + 0.5), np.floor(rgb2ycbcr(CLEAN)[..., 0] + 0.5), 255.0


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_agrees_with_scikit_image(name):
    restored = restored_like(40)
    a, b, data_range = independently(name, restored)

    ours = measure(name, restored, CLEAN)

    assert ours["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=data_range), abs=1e-6)
    assert ours["ssim"] == pytest.approx(skimage_ssim(a, b, data_range), abs=1e-6)


def test_the_clean_picture_itself_is_identical_under_every_protocol():
    for name in PROTOCOLS:
        assert measure(name, CLEAN.astype(np.float32) / np.float32(255), CLEAN)["psnr"] >= 130, name
    for name in ("rgb-uint8", "y-uint8"):
        assert measure(name, CLEAN.astype(np.float32) / np.float32(255), CLEAN)["psnr"] == math.inf


def test_only_rgb_float_sees_less_than_half_a_grey_level():
    grey = np.full((16, 16, 3), 100, np.uint8)
    restored = np.full((16, 16, 3), 100.4 / 255)

    assert measure("rgb-float", restored, grey)["psnr"] == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-6)
    assert measure("rgb-uint8", restored, grey)["psnr"] == math.inf


def test_values_outside_the_range_are_clipped_not_wrapped():
    white = np.full((16, 16, 3), 255, np.uint8)

    for name in PROTOCOLS:
        assert measure(name, np.full((16, 16, 3), 1.7), white)["psnr"] == math.inf
    assert to_uint8(np.array([-0.3, 0.0, 1.0, 1.2])).tolist() == [0, 0, 255, 255]


def test_rounding_is_to_the_nearest_level_never_truncation():
    assert to_uint8(np.arange(256) / 255).tolist() == list(range(256))
    assert to_uint8((np.arange(255) + 0.6) / 255).tolist() == list(range(1, 256))


def test_luma_of_the_corners_of_the_cube_is_that_of_bt_601():
    corners = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)

    assert matlab_luma(corners).tolist() == [[16, 235, 81, 145, 41]]


def test_a_luma_shift_of_one_level_has_a_closed_form():
    # 116 is the least grey whose Y rounds to one level more than that of 115.
    dark, light = np.full((16, 16, 3), 115, np.uint8), np.full((16, 16, 3), 116, np.uint8)
    assert int(matlab_luma(light)[0, 0]) - int(matlab_luma(dark)[0, 0]) == 1

    assert measure("y-uint8", light / 255, dark)["psnr"] == pytest.approx(20 * math.log10(255))


def test_broken_weights_are_an_error_not_a_number():
    restored = restored_like(10)
    restored[3, 3, 0] = math.nan

    with pytest.raises(TrainingError, match="1 of 57600 restored values are not finite"):
        measure("rgb-uint8", restored, CLEAN)


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'rgb-uint8'"):
        find_protocol("rgb-unit8")
