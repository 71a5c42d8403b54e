import json
import math

import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ipt_platform.errors import DataError
from ipt_platform.evaluate.metrics import from_json_number, json_number, psnr, ssim


def noisy_pair(sigma: float = 25) -> tuple[np.ndarray, np.ndarray]:
    clean = skimage.data.astronaut()[100:260, 50:250]
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8), clean


@pytest.mark.parametrize("offset", [0.5, 0.1, 1e-3])
def test_psnr_of_a_constant_offset_has_a_closed_form(offset):
    clean = np.full((20, 30, 3), 0.25)

    assert psnr(clean + offset, clean, 1.0) == pytest.approx(20 * math.log10(1 / offset), abs=1e-9)


def test_psnr_counts_every_pixel_and_channel_once():
    clean = np.zeros((10, 10, 3))
    restored = clean.copy()
    restored[3, 4, 1] = 1

    assert psnr(restored, clean, 1.0) == pytest.approx(10 * math.log10(300))


def test_uint8_differences_do_not_wrap_around():
    assert psnr(np.zeros((12, 12), np.uint8), np.full((12, 12), 255, np.uint8), 255) == pytest.approx(0)


def test_identical_pictures_are_infinitely_good_and_json_says_null():
    clean = noisy_pair()[1]

    assert psnr(clean, clean, 255) == math.inf
    assert ssim(clean, clean, 255) == pytest.approx(1, abs=1e-12)
    assert json.dumps(json_number(math.inf), allow_nan=False) == "null"
    assert from_json_number(json_number(math.inf)) == math.inf
    assert from_json_number(json_number(31.25)) == 31.25
    with pytest.raises(ValueError, match="NaN"):
        json_number(math.nan)


@pytest.mark.parametrize("as_float", [False, True])
def test_psnr_and_ssim_agree_with_scikit_image(as_float):
    restored, clean = noisy_pair()
    data_range = 255.0
    if as_float:
        restored, clean, data_range = restored / 255, clean / 255, 1.0

    theirs = structural_similarity(
        restored,
        clean,
        data_range=data_range,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )

    assert psnr(restored, clean, data_range) == pytest.approx(
        peak_signal_noise_ratio(clean, restored, data_range=data_range), abs=1e-9
    )
    assert ssim(restored, clean, data_range) == pytest.approx(theirs, abs=1e-9)


def test_ssim_of_a_grey_picture_agrees_with_scikit_image():
    restored, clean = (picture[..., 0] for picture in noisy_pair(60))
    theirs = structural_similarity(
        restored, clean, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )

    assert ssim(restored, clean, 255) == pytest.approx(theirs, abs=1e-9)


def test_ssim_of_two_flat_pictures_is_the_luminance_term_alone():
    a, b, c1 = 0.3, 0.6, 0.01**2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)

    assert ssim(np.full((11, 40, 3), a), np.full((11, 40, 3), b), 1.0) == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r"\(4, 4, 3\).*\(4, 5, 3\)"):
        psnr(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)), 1.0)
    with pytest.raises(DataError, match="40×10"):
        ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)), 1.0)
