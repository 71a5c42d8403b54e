"""Blur: camera shake and motion, the damage of the deblur task; soft lenses and lenses out of focus."""

from typing import Annotated, ClassVar

import cv2
import numpy as np

from ipt_platform.data.degradations.base import (
    Degradation,
    Draw,
    Params,
    Picture,
    constant,
    draw_key,
    keyed,
    uniform,
    whole,
    within,
)
from ipt_platform.data.degradations.convolve import Kernel, convolve
from ipt_platform.data.degradations.frame import Frame
from ipt_platform.data.degradations.kernels import (
    Shape,
    disk_kernel,
    disk_radius,
    gaussian_kernel,
    gaussian_reach,
    kernel_radius,
    line_path,
    path_kernel,
    shake_path,
)

GAMMA = 2.2
"""The camera curve that the GoPro set is made with (Nah et al., CVPR 2017): light = value ** 2.2."""

_LONGEST = 128.0
_LARGEST_KERNEL = 32


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

    def reach(self, params: Params) -> int:
        """Radius of the drawn kernel."""
        return kernel_radius(params["length"])

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
        return _blur(clean, path_kernel(path, self.reach(params)), self.linear_light, frame)


class LinearMotionBlur(Degradation):
    """y = k * x, k a straight line of equal weights: a camera or an object that moves at constant speed.

    The line is splatted sub-pixel, so that its length and direction are any real numbers.
    """

    name: ClassVar[str] = "linear-motion-blur"

    length: Annotated[Draw, within(0, _LONGEST)] = uniform(5, 31)
    """Length of the line in pixels; 0 is no blur."""
    angle: Annotated[Draw, within(-180, 180)] = uniform(-90, 90)
    """Direction in degrees from the horizontal; positive leads down to the right."""
    linear_light: bool = False
    """Blur light (x^2.2) instead of grey values."""

    @property
    def margin(self) -> int:
        """Radius of the largest kernel that can be drawn."""
        return kernel_radius(self.length.high)

    def reach(self, params: Params) -> int:
        """Radius of the drawn kernel."""
        return kernel_radius(params["length"])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the length and the direction."""
        return {"length": self.length.sample(rng), "angle": self.angle.sample(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Convolve with the drawn line; borders are reflected (without repeating the edge)."""
        path = line_path(params["length"], params["angle"])
        return _blur(clean, path_kernel(path, self.reach(params)), self.linear_light, frame)


class GaussianBlur(Degradation):
    """y = k * x, k a Gaussian of one or two widths, a generalized one, or a plateau (`gaussian_kernel`).

    Together, drawn one of them at a time, these are the soft lenses of Real-ESRGAN (Wang et al., ICCVW 2021):
    isotropic with `sigma_x` alone, anisotropic with `sigma_y` too; generalized where `beta` is not 1.
    """

    name: ClassVar[str] = "gaussian-blur"

    shape: Shape = "gaussian"
    """Profile over q, the squared distance in sigmas: gaussian, exp(-q^beta / 2), or plateau, 1 / (1 + q^beta)."""
    sigma_x: Annotated[Draw, within(0, 10)] = uniform(0.2, 3.0)
    """Width in pixels; 0 is no blur."""
    sigma_y: Annotated[Draw, within(0, 10)] | None = None
    """Width in pixels across `angle`, drawn on its own; null: round, as wide as `sigma_x`."""
    angle: Annotated[Draw, within(-180, 180)] = uniform(-90, 90)
    """Direction of `sigma_x` in degrees from the horizontal; positive leads down to the right."""
    beta: Annotated[Draw, within(0.25, 8)] = constant(1)
    """Exponent of the profile: 1 is the plain one, more has a flatter middle and steeper sides."""
    radius: Annotated[Draw, within(1, _LARGEST_KERNEL), whole] = constant(_LARGEST_KERNEL)
    """Whole pixels from the centre of the kernel to its side, at most; it ends earlier where it has faded out."""

    @property
    def margin(self) -> int:
        """Radius of the largest kernel that can be drawn."""
        widest = max(self.sigma_x.high, self.sigma_y.high if self.sigma_y else 0)
        return self._radius(self.radius.high, widest, self.beta.low)

    def reach(self, params: Params) -> int:
        """Radius of the drawn kernel."""
        return self._radius(params["radius"], max(params["sigma_x"], params["sigma_y"]), params["beta"])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw widths, direction, exponent and size of the kernel."""
        sigma = self.sigma_x.sample(rng)
        return {
            "sigma_x": sigma,
            "sigma_y": self.sigma_y.sample(rng) if self.sigma_y else sigma,
            "angle": self.angle.sample(rng) if self.sigma_y else 0.0,
            "beta": self.beta.sample(rng),
            "radius": int(self.radius.sample(rng)),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Convolve with the drawn kernel; borders are reflected (without repeating the edge)."""
        widths = params["sigma_x"], params["sigma_y"]
        kernel = gaussian_kernel(self.shape, *widths, params["angle"], params["beta"], self.reach(params))
        return convolve(clean, kernel, frame)

    def _radius(self, most: float, sigma: float, beta: float) -> int:
        return min(int(most), gaussian_reach(self.shape, sigma, beta))


class DefocusBlur(Degradation):
    """y = k * x, k a disk: what an open lens makes of a plane out of focus."""

    name: ClassVar[str] = "defocus-blur"

    radius: Annotated[Draw, within(0, _LARGEST_KERNEL)] = uniform(1.0, 8.0)
    """Radius of the disk in pixels, any real number; up to 0.5 is no blur."""
    linear_light: bool = False
    """Blur light (x^2.2) instead of grey values: bright points become bright disks."""

    @property
    def margin(self) -> int:
        """Radius of the largest kernel that can be drawn."""
        return disk_radius(self.radius.high)

    def reach(self, params: Params) -> int:
        """Radius of the drawn kernel."""
        return disk_radius(params["radius"])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the radius."""
        return {"radius": self.radius.sample(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Convolve with the drawn disk; borders are reflected (without repeating the edge)."""
        return _blur(clean, disk_kernel(params["radius"]), self.linear_light, frame)


def _blur(clean: Picture, kernel: Kernel, linear_light: bool, frame: Frame | None) -> Picture:
    """Convolve grey values, or the light that they stand for."""
    if not linear_light:
        return convolve(clean, kernel, frame)
    light = convolve(np.asarray(cv2.pow(np.maximum(clean, 0), GAMMA), np.float32), kernel, frame)
    # Fourier convolution may leave zeros a rounding error below zero, which has no root.
    return np.asarray(cv2.pow(np.maximum(light, 0), 1 / GAMMA), np.float32)
