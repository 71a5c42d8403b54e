"""Blur against closed forms: the splatted line, the moments of a kernel, a second convolution, the mean of light."""

import cv2
import numpy as np
import pytest
from scipy import ndimage

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.blur import convolve, kernel_radius, path_kernel, shake_path


def picture(height=60, width=70, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def line(length, angle, samples):
    along = (np.arange(samples) + 0.5) / samples * length - length / 2
    return np.stack((along * np.sin(angle), along * np.cos(angle)), axis=1)


def hat_integral(x):
    """Integral of max(0, 1-|t|) from minus infinity to x."""
    x = np.clip(x, -1, 1)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


@pytest.mark.parametrize("length", [0.5, 3.0, 7.3, 16.0])
def test_horizontal_path_is_the_analytic_bilinear_line(length):
    radius = kernel_radius(length)
    at = np.arange(-radius, radius + 1)

    kernel = path_kernel(line(length, 0.0, 4000), radius)

    expected = (hat_integral(length / 2 - at) - hat_integral(-length / 2 - at)) / length
    np.testing.assert_allclose(kernel[radius], expected, atol=1e-5)
    assert kernel.sum() - kernel[radius].sum() == pytest.approx(0, abs=1e-9)


def test_diagonal_path_is_the_analytic_bilinear_line():
    # On the diagonal through (s, s) a pixel (i, i) gets the integral of (1-|s-i|)^2, 1/3 for either half, and (i, i+1)
    # that of u(1-u), 1/6; the line crosses 6 pixels.
    length, radius = 6 * np.sqrt(2), 4
    kernel = path_kernel(line(length, np.pi / 4, 6000), radius)

    assert kernel[radius, radius] == pytest.approx(2 / 3 / 6, abs=1e-5)
    assert kernel[radius, radius + 1] == pytest.approx(1 / 6 / 6, abs=1e-5)
    assert kernel[radius + 3, radius + 3] == pytest.approx(1 / 3 / 6, abs=1e-5)


def test_drawn_path_without_wander_is_a_straight_line_of_its_length():
    path = shake_path(13.0, 0.0, 0.0, np.random.default_rng(3))

    steps = np.diff(path, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-12)
    assert np.linalg.norm(steps[0]) * len(path) == pytest.approx(13.0)


def test_convolution_agrees_with_scipy():
    x = picture()
    for length in (3.0, 9.0, 27.0):
        kernel = path_kernel(shake_path(length, 1.5, 1.0, np.random.default_rng(1)), kernel_radius(length))

        expected = np.stack([ndimage.convolve(x[..., c], kernel, mode="mirror") for c in range(3)], axis=-1)
        np.testing.assert_allclose(convolve(x, kernel), expected, atol=2e-6)


@pytest.mark.parametrize("linear_light", [False, True])
def test_constant_picture_stays_itself(linear_light):
    clean = np.full((40, 40, 3), (0.0, 0.37, 1.0), np.float32)
    blur = build_degradation({"name": "motion-blur", "length": 15, "linear_light": linear_light})

    blurred, _ = blur(clean, np.random.default_rng(0))

    np.testing.assert_allclose(blurred, clean, atol=1e-3 if linear_light else 1e-6)


def test_linear_light_blurs_light_not_grey_values():
    # A long straight path over a chequerboard is half the time over white, half over black: grey values give 1/2, light
    # gives (1/2)^(1/2.2).
    board = np.zeros((64, 64, 3), np.float32)
    board[:, ::2] = 1
    board[::2] = 1 - board[::2]
    params = {"length": 24.0, "wander": 0.0, "shakes": 0.0, "key": 4}
    grey = build_degradation({"name": "motion-blur"}).apply(board, params)
    light = build_degradation({"name": "motion-blur", "linear_light": True}).apply(board, params)

    middle = slice(20, 44)
    assert grey[middle, middle].mean() == pytest.approx(0.5, abs=0.01)
    assert light[middle, middle].mean() == pytest.approx(0.5 ** (1 / 2.2), abs=0.02)


@pytest.mark.parametrize("linear_light", [False, True])
def test_a_crop_with_margin_equals_the_whole(linear_light):
    clean = picture(120, 130)
    blur = build_degradation({"name": "motion-blur", "length": {"min": 4, "max": 25}, "linear_light": linear_light})
    params = blur.draw(np.random.default_rng(5))
    m, size = blur.margin, 40
    top, left = 31, 47

    whole = blur.apply(clean, params)[top : top + size, left : left + size]
    crop = blur.apply(clean[top - m : top + size + m, left - m : left + size + m], params)[m:-m, m:-m]

    np.testing.assert_allclose(crop, whole, atol=1e-4 if linear_light else 2e-6)


def test_a_path_that_leaves_the_kernel_is_refused():
    with pytest.raises(ValueError, match="radius 2 cannot hold it"):
        path_kernel(line(9.0, 0.0, 50), 2)


def test_blur_of_a_photograph_loses_detail_and_keeps_its_mean():
    clean = cv2.GaussianBlur(picture(96, 96), (0, 0), 1.0)
    blur = build_degradation({"name": "motion-blur", "length": 15})

    blurred, _ = blur(clean, np.random.default_rng(0))

    assert blurred.std() < 0.8 * clean.std()
    assert blurred.mean() == pytest.approx(clean.mean(), abs=5e-3)
