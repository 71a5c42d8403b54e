"""What software does to sharpness on the way of a picture: a low-pass that rings, and sharpening."""

from typing import Annotated, ClassVar

import cv2
import numpy as np

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, uniform, whole, within
from ipt_platform.data.degradations.convolve import convolve
from ipt_platform.data.degradations.frame import Frame, grown, seen_from, wanted
from ipt_platform.data.degradations.kernels import sinc_kernel


class SincBlur(Degradation):
    """y = k * x, k the ideal circular low-pass: soft, with ringing beside edges as resampling and codecs leave it.

    Wang et al., "Real-ESRGAN" (ICCVW 2021), section 3.3. The result is not clipped. There is no cutoff that changes
    nothing: a circle never holds the corners of the spectrum.
    """

    name: ClassVar[str] = "sinc-blur"

    cutoff: Annotated[Draw, within(0.05, 1)] = uniform(1 / 3, 1)
    """Highest frequency that passes, as a share of the Nyquist frequency (pi radians per pixel)."""
    radius: Annotated[Draw, within(1, 16), whole] = Draw(choices=(3, 4, 5, 6, 7, 8, 9, 10))
    """Whole pixels from the centre of the kernel to its side."""

    @property
    def margin(self) -> int:
        """Radius of the largest kernel that can be drawn."""
        return int(self.radius.high)

    def reach(self, params: Params) -> int:
        """Radius of the drawn kernel."""
        return params["radius"]

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the cutoff and the size of the kernel."""
        return {"cutoff": self.cutoff.sample(rng), "radius": int(self.radius.sample(rng))}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Convolve with the drawn kernel; borders are reflected (without repeating the edge)."""
        return convolve(clean, sinc_kernel(params["cutoff"], params["radius"]), frame)


class Sharpen(Degradation):
    """y = x + m (clip(x + a r) - x), r = x - g * x: unsharp masking where it finds more than noise.

    g is a Gaussian and m = g * [|r| > threshold], a soft mask of the places with detail. With its defaults this is the
    sharpening that Real-ESRGAN begins with (Wang et al., ICCVW 2021, section 3.4).
    """

    name: ClassVar[str] = "sharpen"

    amount: Annotated[Draw, within(0, 5)] = constant(0.5)
    """Strength a; 0 is none."""
    sigma: Annotated[Draw, within(0.1, 10)] = constant(8)
    """Standard deviation of the Gaussian in pixels: about the width of what is brought out."""
    threshold: Annotated[Draw, within(0, 255)] = constant(10)
    """Difference in grey levels of 255 from which on a detail is sharpened."""

    @property
    def margin(self) -> int:
        """The Gaussian's reach, twice: the mask is smoothed too."""
        return 2 * _reach(self.sigma.high)

    def reach(self, params: Params) -> int:
        """That of the drawn Gaussian, twice."""
        return 2 * _reach(params["sigma"])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the three numbers."""
        return {field: getattr(self, field).sample(rng) for field in ("amount", "sigma", "threshold")}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Sharpen by the drawn amount; borders are reflected (without repeating the edge)."""
        inner = wanted(clean, frame)
        everything = slice(0, clean.shape[0]), slice(0, clean.shape[1])
        near = grown(inner, _reach(params["sigma"]), everything)
        rest = clean[near] - _soft(clean, params["sigma"])[near]
        found = (np.abs(rest) > params["threshold"] / 255).astype(np.float32)
        mask = _soft(found, params["sigma"])[seen_from(inner, near)]
        asked = clean[inner]
        sharp = rest[seen_from(inner, near)] * np.float32(params["amount"])
        sharp += asked
        np.clip(sharp, 0, 1, out=sharp)
        sharp -= asked
        sharp *= mask
        sharp += asked
        return sharp


def _reach(sigma: float) -> int:
    return int(np.ceil(3.1 * sigma))


def _soft(picture: Picture, sigma: float) -> Picture:
    size = 2 * _reach(sigma) + 1
    return np.asarray(cv2.GaussianBlur(picture, (size, size), sigma, borderType=cv2.BORDER_REFLECT_101), np.float32)
