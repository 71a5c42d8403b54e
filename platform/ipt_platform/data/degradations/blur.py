"""Motion blur by camera shake, the damage of the deblur task: a random path of the camera, splatted into a kernel."""

from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import (
    Degradation,
    Draw,
    Frame,
    Params,
    Picture,
    draw_key,
    keyed,
    uniform,
    within,
)
from ipt_platform.data.degradations.splat import splat

GAMMA = 2.2
"""The camera curve that the GoPro set is made with (Nah et al., CVPR 2017): light = value ** 2.2."""

_STEP = 0.125
"""Distance between samples of a path in pixels: far below one, so that the sum is the line integral."""

_LONGEST = 128.0


class MotionBlur(Degradation):
    """y = k * x (convolution per channel), k the time that a shaking camera's path spends over each pixel.

    The path runs at constant speed with a wandering heading and sudden reversals, after Boracchi and Foi, "Modeling
    the performance of image restoration from motion blur" (TIP 2012); it is centred on its own mean, so blur never
    shifts the picture. With `linear_light` the mean is taken of light instead of grey values,
    y = (k * x^2.2)^(1/2.2), as a sensor does (GoPro's `blur_gamma`; its `blur`, which most methods train on, does
    without).
    """

    name: ClassVar[str] = "motion-blur"

    length: Annotated[Draw, within(0, _LONGEST)] = uniform(4, 28)
    """Length of the path in pixels; 0 is no blur."""
    wander: Annotated[Draw, within(0, 10)] = uniform(0.2, 2.0)
    """Standard deviation of the heading gathered over the path, in radians; 0 is a straight line."""
    shakes: Annotated[Draw, within(0, 10)] = uniform(0.0, 1.0)
    """Expected number of sudden reversals along the path."""
    linear_light: bool = False
    """Blur light (x^2.2) instead of grey values."""

    @property
    def margin(self) -> int:
        """Radius of the largest kernel that can be drawn."""
        return kernel_radius(self.length.high)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the length, the unrest and the key of the path."""
        return {
            "length": self.length.sample(rng),
            "wander": self.wander.sample(rng),
            "shakes": self.shakes.sample(rng),
            "key": draw_key(rng),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Convolve with the kernel of the drawn path; borders are reflected (without repeating the edge)."""
        path = shake_path(params["length"], params["wander"], params["shakes"], keyed(params["key"]))
        kernel = path_kernel(path, kernel_radius(params["length"]))
        if not self.linear_light:
            return convolve(clean, kernel)
        light = np.asarray(cv2.pow(np.maximum(clean, 0), GAMMA), np.float32)
        # Fourier convolution may leave zeros a rounding error below zero, which has no root.
        return np.asarray(cv2.pow(np.maximum(convolve(light, kernel), 0), 1 / GAMMA), np.float32)


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
    jolts = rng.poisson(shakes)
    at = rng.integers(steps, size=jolts)
    np.add.at(turns, at, np.pi + rng.uniform(-0.5, 0.5, size=jolts))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    pace = np.stack((np.sin(heading), np.cos(heading)), axis=1) * (length / steps)
    # Each sample stands in the middle of its step, where it represents the step best.
    path = np.cumsum(pace, axis=0) - pace / 2
    return path - path.mean(axis=0)


def path_kernel(path: NDArray, radius: int) -> NDArray[np.float32]:
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


def convolve(picture: Picture, kernel: NDArray[np.float32]) -> Picture:
    """Convolve each channel, y[p] = sum_u k[u] x[p-u], reflecting borders without repeating the edge.

    Args:
        picture: [H, W, 3] float32.
        kernel: [2R+1, 2R+1] float32.

    Returns:
        [H, W, 3] float32, a new array.
    """
    if kernel.size == 1:
        return picture * kernel[0, 0]
    # OpenCV correlates; convolution turns the kernel by 180 degrees.
    turned = np.ascontiguousarray(kernel[::-1, ::-1])
    return np.asarray(cv2.filter2D(picture, -1, turned, borderType=cv2.BORDER_REFLECT_101), np.float32)
