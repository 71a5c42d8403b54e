"""Low light, the damage of the lowlight task: a picture darkened by a curve or by its illumination, and its noise."""

from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, draw_key, keyed, uniform, within
from ipt_platform.data.degradations.depth import REACH, Map, self_guided
from ipt_platform.data.degradations.frame import Frame, Part, wanted
from ipt_platform.data.degradations.noise import Shot, draw_shot, light_noise


class LowLight(Degradation):
    """y = d + n, n ~ N(0, shot d + (sigma/255)^2), d the darkened picture; y is not clipped.

    By the curve of Lv et al., "Attention Guided Low-Light Image Enhancement with a Large Scale Low-Light Simulation
    Dataset" (IJCV 2021), d = beta (alpha x)^gamma; or, for a share of the pairs (`retinex`), by the illumination L of
    Retinex, d = dim (x / L) L^power, with dim 1 as Guo et al., "OneRestore" (ECCV 2024), have it, which leaves white as it
    is: L is the brightest channel under an edge-preserving filter. Lv et al. draw beta from 0.5 and gamma to 5, which loses
    shadows in black beyond saving; here gamma ends at 3 and beta goes further down, as too short an exposure does. The noise
    is that of a sensor in few photons, in the normal limit (Foi et al., TIP 2008). Without noise nothing gets brighter.
    """

    name: ClassVar[str] = "lowlight"

    alpha: Annotated[Draw, within(0, 1)] = uniform(0.9, 1.0)
    """Factor before the curve."""
    beta: Annotated[Draw, within(0, 1)] = uniform(0.2, 0.8)
    """Factor after the curve."""
    gamma: Annotated[Draw, within(1, 10)] = uniform(1.2, 3.0)
    """Exponent of the curve; with alpha, beta and gamma all 1 the curve changes nothing."""
    retinex: float = Field(0.5, ge=0, le=1)
    """Probability that the illumination is darkened instead."""
    power: Annotated[Draw, within(1, 10)] = uniform(2.0, 3.0)
    """Exponent of the illumination; 1 changes nothing."""
    dim: Annotated[Draw, within(0, 1)] = constant(1)
    """Factor after the exponent; with power and dim both 1 nothing changes."""
    shot: Shot = uniform(1e-4, 2e-3)
    """Variance of the noise per light, white being 1. A range is drawn log-uniformly."""
    sigma: Annotated[Draw, within(0, 255)] = uniform(0, 4)
    """Standard deviation of the noise in the dark, in grey levels of 255."""

    @property
    def margin(self) -> int:
        """Context of the filter that finds the illumination, where it is looked for."""
        return REACH if self.retinex > 0 else 0

    def reach(self, params: Params) -> int:
        """That of the filter, where the draw looks for the illumination."""
        return REACH if "power" in params else 0

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the form and its numbers, the strength of the noise and its key."""
        if rng.random() < self.retinex:
            params: Params = {"power": self.power.sample(rng), "dim": self.dim.sample(rng)}
        else:
            params = {field: getattr(self, field).sample(rng) for field in ("alpha", "beta", "gamma")}
        return {**params, "shot": draw_shot(self.shot, rng), "sigma": self.sigma.sample(rng), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Darken, then add the noise of the drawn key."""
        inner = wanted(clean, frame)
        if "power" in params:
            gain = _power(illumination(clean, inner), params["power"] - 1)
            gain *= np.float32(params["dim"])
            dark = np.asarray(cv2.cvtColor(gain, cv2.COLOR_GRAY2RGB), np.float32)
        else:
            # x times a gain, which also says what becomes of values that noise had carried out of [0, 1].
            dark = _power(clean[inner], params["gamma"] - 1)
            dark *= np.float32(params["beta"] * params["alpha"] ** params["gamma"])
        dark *= clean[inner]
        if params["shot"] > 0 or params["sigma"] > 0:
            dark += light_noise(dark, params["shot"], (params["sigma"] / 255) ** 2, keyed(params["key"]))
        return dark


def illumination(picture: Picture, inner: Part) -> Map:
    """How brightly each place is lit: the brightest channel, smooth within objects, stepped at their outlines.

    Args:
        picture: [H, W, 3] float32 in [0, 1].
        inner: the part of it that is asked for.

    Returns:
        [h, w] float32 in [0, 1], of that part.
    """
    # A tenth of the time of numpy's maximum over the last axis.
    red, green, blue = cv2.split(picture)
    light = self_guided(np.maximum(np.maximum(red, green, out=red), blue, out=red), inner)
    return np.clip(light, 0, 1, out=light)


def _power(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.asarray(cv2.pow(np.clip(values, 0, 1), exponent), np.float32)
