"""Additive white Gaussian noise, the damage of the denoise task."""

from typing import Annotated, ClassVar

import numpy as np

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


class GaussianNoise(Degradation):
    """y = x + n, n ~ N(0, (sigma/255)^2) independent for every pixel and channel; y is not clipped.

    The standard test bed of denoising since Zhang et al., "Beyond a Gaussian Denoiser" (TIP 2017): sigma 15, 25 and
    50, or blind with sigma uniform in [0, 50]. Clipping and rounding are the task's business (`quantize`), because
    they change the statistics.
    """

    name: ClassVar[str] = "gaussian-noise"

    sigma: Annotated[Draw, within(0, 255)] = uniform(0, 50)
    """Standard deviation in grey levels of 255."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw sigma and the key of the noise field."""
        return {"sigma": self.sigma.sample(rng), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Add the noise field of the drawn key."""
        noisy = keyed(params["key"]).standard_normal(clean.shape, dtype=np.float32)
        noisy *= np.float32(params["sigma"] / 255)
        noisy += clean
        return noisy
