"""Blur against closed forms: the splatted line, the moments of a kernel, a second convolution, the mean of light."""

import cv2
import numpy as np
import pytest
from scipy import ndimage, special

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.convolve import convolve
from ipt_platform.data.degradations.kernels import (
    bessel_j1,
    disk_kernel,
    gaussian_kernel,
    gaussian_reach,
    kernel_radius,
    line_path,
    path_kernel,
    shake_path,
    sinc_kernel,
)


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


def covariance(kernel):
    """[2, 2] second moments of a kernel about its centre, row and column."""
    at = np.arange(len(kernel)) - len(kernel) // 2
    mixed = at @ kernel.astype(np.float64) @ at
    return np.array([[(at**2) @ kernel.sum(axis=1), mixed], [mixed, (at**2) @ kernel.sum(axis=0)]])


@pytest.mark.parametrize("angle", [-70.0, -20.0, 0.0, 33.0, 90.0])
@pytest.mark.parametrize("length", [2.5, 9.0, 24.7])
def test_a_line_has_the_length_and_direction_that_were_asked_for(length, angle):
    # A line of even weight has variance L^2/12; splatting keeps mixed moments and adds at most 1/4 to the variances.
    turn = np.deg2rad(angle)
    heading = np.array((np.sin(turn), np.cos(turn)))

    kernel = path_kernel(line_path(length, angle), kernel_radius(length))

    spread = covariance(kernel) - length**2 / 12 * np.outer(heading, heading)
    assert spread[0, 1] == pytest.approx(0, abs=1e-3 * length)
    assert ((np.diag(spread) > -1e-3 * length) & (np.diag(spread) < 0.251)).all()
    assert kernel.sum() == pytest.approx(1, abs=1e-6)


def test_positive_angles_lead_down_to_the_right():
    for kernel in (path_kernel(line_path(9.0, 45.0), 5), gaussian_kernel("gaussian", 3.0, 0.5, 45.0, 1.0, 5)):
        assert kernel[8, 8] > 10 * kernel[8, 2]


@pytest.mark.parametrize(
    ("sigma_x", "sigma_y", "angle"), [(1.0, 1.0, 0.0), (3.0, 1.2, 0.0), (3.0, 1.2, 90.0), (2.5, 0.9, -35.0)]
)
def test_a_gaussian_has_the_covariance_of_its_widths(sigma_x, sigma_y, angle):
    turn = np.deg2rad(angle)
    axes = np.array([[np.sin(turn), np.cos(turn)], [np.cos(turn), -np.sin(turn)]]).T
    kernel = gaussian_kernel("gaussian", sigma_x, sigma_y, angle, 1.0, gaussian_reach("gaussian", sigma_x, 1.0))

    np.testing.assert_allclose(covariance(kernel), axes @ np.diag((sigma_x**2, sigma_y**2)) @ axes.T, atol=5e-3 * sigma_x**2)


@pytest.mark.parametrize(
    ("shape", "beta"), [("gaussian", 1.0), ("gaussian", 0.5), ("gaussian", 4.0), ("plateau", 1.0), ("plateau", 2.0)]
)
def test_kernels_follow_their_profiles_and_end_where_they_have_faded(shape, beta):
    sigma, radius = 1.5, gaussian_reach(shape, 1.5, beta)
    kernel = gaussian_kernel(shape, sigma, sigma, 0.0, beta, radius).astype(np.float64)

    profile = {"gaussian": lambda q: np.exp(-0.5 * q**beta), "plateau": lambda q: 1 / (1 + q**beta)}[shape]
    for down, right in ((0, 1), (1, 1), (-2, 1), (0, -2)):
        expected = profile((down**2 + right**2) / sigma**2)
        assert kernel[radius + down, radius + right] / kernel[radius, radius] == pytest.approx(expected, rel=1e-5)
    assert kernel[radius, 0] <= 1e-4 * kernel[radius, radius]
    assert profile((radius - 1) ** 2 / sigma**2) > 1e-4
    assert kernel.sum() == pytest.approx(1, abs=1e-5)


def test_gaussian_blur_agrees_with_scipy():
    clean = picture()

    blurred, _ = build_degradation({"name": "gaussian-blur", "sigma_x": 1.7})(clean, np.random.default_rng(0))

    expected = ndimage.gaussian_filter(clean.astype(np.float64), (1.7, 1.7, 0), mode="mirror", truncate=7)
    np.testing.assert_allclose(blurred, expected, atol=2e-4)


def test_a_round_kernel_draws_one_width_and_a_long_one_two():
    rng = np.random.default_rng(0)
    widths = {"min": 0.5, "max": 3.0}
    one = build_degradation({"name": "gaussian-blur", "sigma_x": widths}).draw(rng)
    two = build_degradation({"name": "gaussian-blur", "sigma_x": widths, "sigma_y": widths, "radius": 7}).draw(rng)

    assert one["sigma_x"] == one["sigma_y"]
    assert two["sigma_x"] != two["sigma_y"]
    assert two["radius"] == 7


@pytest.mark.parametrize("radius", [0.8, 1.0, 2.5, 4.3, 8.0])
def test_a_disk_covers_each_pixel_by_the_area_that_fine_points_count(radius):
    fine = 200
    kernel = disk_kernel(radius).astype(np.float64)
    side = len(kernel)
    at = (np.arange(side * fine) + 0.5) / fine - side / 2
    inside = (at[:, None] ** 2 + at**2 < radius**2).reshape(side, fine, side, fine).mean(axis=(1, 3))

    np.testing.assert_allclose(kernel * np.pi * radius**2, inside, atol=2e-3)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel[0].max() > 0
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-8)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-8)
    # A disk has variance r^2/4 along each axis, and a pixel adds its own 1/12; a small disk sees that pixels are coarse.
    assert covariance(kernel)[0, 0] == pytest.approx(radius**2 / 4 + 1 / 12, abs=0.1)


def test_a_point_out_of_focus_becomes_a_disk_of_its_light():
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    disk, _ = build_degradation({"name": "defocus-blur", "radius": 5})(point, np.random.default_rng(0))
    light, _ = build_degradation({"name": "defocus-blur", "radius": 5, "linear_light": True})(point, np.random.default_rng(0))

    assert disk[20, 23, 0] == pytest.approx(1 / (np.pi * 25), rel=1e-4)
    assert light[20, 23, 0] == pytest.approx((1 / (np.pi * 25)) ** (1 / 2.2), rel=1e-3)
    assert disk[20, 26].max() == pytest.approx(0, abs=1e-6)


def test_bessel_s_integral_is_scipy_s():
    x = np.linspace(0, 80, 1001)

    np.testing.assert_allclose(bessel_j1(x), special.j1(x), atol=1e-13)


def test_the_low_pass_is_the_definition_and_stops_what_lies_above_its_cutoff():
    cutoff, radius = 0.4, 16
    kernel = sinc_kernel(cutoff, radius).astype(np.float64)
    at = np.arange(-radius, radius + 1)
    omega = np.pi * cutoff

    distance = np.hypot(3, 2)
    centre = omega**2 / (4 * np.pi)
    assert kernel[radius + 3, radius + 2] / kernel[radius, radius] == pytest.approx(
        omega * special.j1(omega * distance) / (2 * np.pi * distance) / centre, rel=1e-5
    )
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    for angle in (0.0, 0.6):
        along = at[:, None] * np.sin(angle) + at * np.cos(angle)
        passed, stopped = ((kernel * np.cos(share * omega * along)).sum() for share in (0.5, 1.6))
        # A kernel that ends passes about the cutoff a little, and no frequency quite whole.
        assert passed == pytest.approx(1, abs=0.1)
        assert stopped == pytest.approx(0, abs=0.05)


def test_the_low_pass_rings_beside_an_edge():
    edge = np.full((40, 40, 3), 0.2, np.float32)
    edge[:, 20:] = 0.8

    soft, _ = build_degradation({"name": "sinc-blur", "cutoff": 0.4, "radius": 10})(edge, np.random.default_rng(0))

    assert soft.max() > 0.82
    assert soft.min() < 0.18


def test_sharpening_is_the_unsharp_mask_of_its_definition():
    clean = cv2.GaussianBlur(picture(64, 64), (0, 0), 1.5)
    spec = {"name": "sharpen", "amount": 0.8, "sigma": 2, "threshold": 6}

    sharp, _ = build_degradation(spec)(clean, np.random.default_rng(0))

    def soft(values):
        return ndimage.gaussian_filter(values, (2, 2, 0), mode="mirror", radius=(7, 7, 0))

    x = clean.astype(np.float64)
    rest = x - soft(x)
    mask = soft((np.abs(rest) > 6 / 255).astype(np.float64))
    expected = mask * np.clip(x + 0.8 * rest, 0, 1) + (1 - mask) * x
    np.testing.assert_allclose(sharp, expected, atol=2e-4)
    assert sharp.std() > 1.1 * clean.std()


def test_sharpening_leaves_alone_what_may_be_noise():
    clean = (0.5 + 0.01 * np.random.default_rng(0).uniform(-1, 1, (50, 50, 3))).astype(np.float32)

    sharp, _ = build_degradation({"name": "sharpen", "amount": 2})(clean, np.random.default_rng(0))

    np.testing.assert_array_equal(sharp, clean)


@pytest.mark.parametrize("place", [(31, 47), (0, 0), (80, 90)])
@pytest.mark.parametrize(
    "spec",
    [
        {"name": "linear-motion-blur"},
        {"name": "gaussian-blur", "sigma_y": {"min": 0.2, "max": 3}},
        {"name": "gaussian-blur", "shape": "plateau", "beta": {"min": 1, "max": 2}},
        {"name": "defocus-blur"},
        {"name": "sinc-blur"},
        {"name": "sharpen", "sigma": 4},
    ],
    ids=lambda spec: spec["name"] + ("-plateau" if "shape" in spec else ""),
)
def test_a_crop_with_margin_equals_the_whole_in_every_family(spec, place):
    clean = cv2.GaussianBlur(picture(120, 130), (0, 0), 1.0)
    blur = build_degradation(spec)
    params = blur.draw(np.random.default_rng(5))
    m, size = blur.margin, 40
    top, left = place
    context = np.pad(clean, ((m, m), (m, m), (0, 0)), mode="reflect")[top : top + size + 2 * m, left : left + size + 2 * m]

    whole = blur.apply(clean, params)[top : top + size, left : left + size]
    crop = blur.apply(context, params, Frame(120, 130, top - m, left - m))[m : m + size, m : m + size]

    np.testing.assert_allclose(crop, whole, atol=5e-6)


@pytest.mark.parametrize("radius", [2.5, {"min": 3, "max": 9}])
def test_a_radius_that_is_no_whole_number_is_refused(radius):
    with pytest.raises(ValueError, match="whole numbers"):
        build_degradation({"name": "sinc-blur", "radius": radius})
