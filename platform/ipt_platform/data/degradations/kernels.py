"""Blur kernels from their definitions: the path of a camera, Gaussians and their kin, a lens out of focus, a low-pass.

Every kernel is [2R+1, 2R+1] float32 with sum one and its centre in the middle, so blur neither dims nor shifts.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.convolve import Kernel
from ipt_platform.data.degradations.splat import splat

Shape = Literal["gaussian", "plateau"]

_STEP = 0.125
"""Distance between samples of a shaken path in pixels: far below one, so that the sum is the line integral."""

_LINE_STEP = 0.02
"""Likewise for a straight path, whose samples cost nothing to draw."""

_TAIL = 1e-4
"""Share of its peak below which a kernel is cut off."""

_THINNEST = 0.05
"""A sigma of 0 beside one that is not: so thin that, sampled, only pixels on the axis itself are touched."""

_BESSEL_POINTS = 64
"""Points of Bessel's integral; exact to rounding for arguments up to about 90."""


def kernel_radius(length: float) -> int:
    """Radius in pixels that holds every path of a length: no point lies farther than length/2 from the mean."""
    return int(np.ceil(length / 2))


def shake_path(length: float, wander: float, shakes: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the path of a shaking camera, sampled at equal times.

    Args:
        length: of the path, in pixels.
        wander: standard deviation in radians of the heading's Brownian walk over the whole path.
        shakes: expected number of sudden reversals (Poisson).
        rng: draws heading, walk and reversals.

    Returns:
        [N, 2] float64, row and column in pixels, mean zero.
    """
    steps = max(8, int(np.ceil(length / _STEP)))
    turns = rng.standard_normal(steps) * (wander / np.sqrt(steps))
    for _ in range(rng.poisson(shakes)):
        turns[int(rng.random() * steps)] += np.pi + rng.random() - 0.5
    heading = 2 * np.pi * rng.random() + np.cumsum(turns)
    pace = np.empty((steps, 2))
    pace[:, 0], pace[:, 1] = np.sin(heading), np.cos(heading)
    pace *= length / steps
    # Each sample stands in the middle of its step, where it represents the step best.
    path = np.cumsum(pace, axis=0) - pace / 2
    return path - path.sum(axis=0) / steps


def line_path(length: float, angle: float) -> NDArray[np.float64]:
    """The straight path of a camera that moves at constant speed.

    Args:
        length: of the path, in pixels.
        angle: in degrees from the horizontal; positive leads down to the right.

    Returns:
        [N, 2] float64, row and column in pixels, mean zero.
    """
    steps = max(8, int(np.ceil(length / _LINE_STEP)))
    along = ((np.arange(steps) + 0.5) / steps - 0.5) * length
    heading = np.deg2rad(angle)
    return along[:, None] * np.array((np.sin(heading), np.cos(heading)))


def path_kernel(path: NDArray, radius: int) -> Kernel:
    """Turn a path into a blur kernel by sub-pixel splatting.

    Args:
        path: [N, 2] row and column in pixels, relative to the centre of the kernel; equal times between samples.
        radius: the kernel reaches this many pixels from its centre.

    Returns:
        [2*radius+1, 2*radius+1] float32, non-negative, sum one.

    Raises:
        ValueError: the path leaves the kernel.
    """
    reach = float(np.abs(path).max())
    if reach > radius + 1e-9:
        raise ValueError(f"the path reaches {reach:.2f} pixels from its centre; a kernel of radius {radius} cannot hold it")
    size = 2 * radius + 1
    weights = np.full(len(path), 1 / len(path))
    return splat(path[:, 0] + radius, path[:, 1] + radius, weights, size, size).astype(np.float32)


def gaussian_reach(shape: Shape, sigma: float, beta: float) -> int:
    """Distance in pixels at which a kernel of `gaussian_kernel` has fallen to a ten-thousandth of its peak."""
    square = (-2 * np.log(_TAIL) if shape == "gaussian" else 1 / _TAIL - 1) ** (1 / beta)
    return int(np.ceil(sigma * np.sqrt(square)))


def gaussian_kernel(shape: Shape, sigma_x: float, sigma_y: float, angle: float, beta: float, radius: int) -> Kernel:
    """A Gaussian of any two widths, or one of its kin, sampled at the centres of the pixels.

    With q = u' S^-1 u and S the covariance whose axes are turned by `angle`: exp(-q^beta / 2) for "gaussian" (beta 1
    is the Gaussian itself, less has a sharper peak and longer tails) and 1 / (1 + q^beta) for "plateau" (flat in the
    middle). These are the generalized and the plateau kernels of Real-ESRGAN (Wang et al., ICCVW 2021, section 3.2).

    Args:
        shape: which of the two profiles.
        sigma_x: width in pixels along the axis that `angle` turns.
        sigma_y: width in pixels across it.
        angle: of that axis in degrees from the horizontal; positive leads down to the right.
        beta: the exponent; above 0.
        radius: the kernel reaches this many pixels from its centre.

    Returns:
        [2*radius+1, 2*radius+1] float32, positive, sum one.
    """
    turn = np.deg2rad(angle)
    right = np.arange(-radius, radius + 1)
    down = right[:, None]
    along = (right * np.cos(turn) + down * np.sin(turn)) / max(sigma_x, _THINNEST)
    across = (down * np.cos(turn) - right * np.sin(turn)) / max(sigma_y, _THINNEST)
    power = (along * along + across * across) ** beta
    kernel = np.exp(-power / 2) if shape == "gaussian" else 1 / (1 + power)
    return (kernel / kernel.sum()).astype(np.float32)


def disk_radius(radius: float) -> int:
    """Pixels from the centre that a disk of this radius touches."""
    return max(0, int(np.ceil(radius - 0.5)))


def disk_kernel(radius: float) -> Kernel:
    """The image of a point out of focus: a disk, each pixel weighted by the area of it that the disk covers.

    Areas are exact: A(x, y), the area of the disk between the axes and the point (x, y), differenced at the pixels'
    corners. Under the arc y = sqrt(r^2 - t^2) the integral is (t y + r^2 asin(t/r)) / 2.

    Args:
        radius: of the disk, in pixels, any real number; up to 0.5 lies within one pixel.

    Returns:
        [2*R+1, 2*R+1] float32 with R = disk_radius(radius), sum one.
    """
    reach = disk_radius(radius)
    if reach == 0:
        return np.ones((1, 1), np.float32)
    corner = np.arange(-reach, reach + 2) - 0.5
    x, y = np.minimum(np.abs(corner), radius)[:, None], np.minimum(np.abs(corner), radius)
    # Below the arc out to x = level, under it from there on.
    level = np.minimum(x, np.sqrt(radius**2 - y**2))
    area = level * y + _under_arc(x, radius) - _under_arc(level, radius)
    area *= np.sign(corner)[:, None] * np.sign(corner)
    covered = np.diff(np.diff(area, axis=0), axis=1)
    return (covered / (np.pi * radius**2)).astype(np.float32)


def sinc_kernel(cutoff: float, radius: int) -> Kernel:
    """The ideal circular low-pass, w J1(w d) / (2 pi d) at distance d, cut off at a square: it rings as it should.

    The sinc filter of Real-ESRGAN (section 3.3, equation 5).

    Args:
        cutoff: w as a share of the Nyquist frequency, pi radians per pixel; in (0, 1].
        radius: the kernel reaches this many pixels from its centre; at most 16.

    Returns:
        [2*radius+1, 2*radius+1] float32, sum one, with negative lobes.
    """
    at = np.arange(-radius, radius + 1)
    squares, place = np.unique(at[:, None] ** 2 + at**2, return_inverse=True)
    omega = np.pi * cutoff
    distance = np.sqrt(squares[1:])
    profile = np.concatenate(([omega / 2], bessel_j1(omega * distance) / distance))
    kernel = profile[place.reshape(len(at), len(at))]
    return (kernel / kernel.sum()).astype(np.float32)


def bessel_j1(x: NDArray) -> NDArray[np.float64]:
    """The Bessel function J1 of [N] numbers up to 90, by Bessel's integral (Abramowitz and Stegun, 9.1.21).

    Its integrand is periodic, so equal weights at equal distances converge faster than any power.
    """
    turn = (np.arange(_BESSEL_POINTS) + 0.5) * (np.pi / _BESSEL_POINTS)
    return np.cos(turn - x[:, None] * np.sin(turn)).mean(axis=1)


def _under_arc(x: NDArray, radius: float) -> NDArray:
    """Integral of sqrt(r^2 - t^2) from 0 to x."""
    return (x * np.sqrt(radius**2 - x**2) + radius**2 * np.arcsin(x / radius)) / 2
