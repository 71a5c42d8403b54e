"""Noise of the sensor and of the line: Gaussian (the damage of the denoise task), Poisson, speckle, impulses."""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import cv2
import numpy as np
from pydantic import AfterValidator, Field, model_serializer, model_validator

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, draw_key, keyed, uniform, within
from ipt_platform.data.degradations.fields import normal_field, uniform_field
from ipt_platform.data.degradations.frame import Frame

_FAINTEST = 1e-6
"""Smallest shot noise that is not none: a million photons at white."""

_MANY = 10
"""Mean count from which on photons are counted by way of normal numbers."""


def _photons(draw: Draw) -> Draw:
    ends = draw.choices if draw.choices is not None else (draw.low, draw.high)
    if draw.choices is None and draw.low == 0:
        raise ValueError(f"a range is drawn evenly on a logarithmic scale and cannot begin at 0; begin at {_FAINTEST:g}")
    for value in ends:
        if value != 0 and not _FAINTEST <= value <= 1:
            raise ValueError(f"expected 0, or numbers between {_FAINTEST:g} and 1, found {value:g}")
    return draw


Shot = Annotated[Draw, AfterValidator(_photons)]
"""Strength of shot noise: the light of one photon, white being 1, so the variance of light x is shot x."""


def draw_shot(shot: Draw, rng: np.random.Generator) -> float:
    """Draw a strength of shot noise, from a range evenly on a logarithmic scale, as sensitivities of cameras are set."""
    if shot.choices is not None:
        return shot.sample(rng)
    return math.exp(rng.uniform(math.log(shot.low), math.log(shot.high)))


class GaussianNoise(Degradation):
    """y = x + n, n ~ N(0, (sigma/255)^2) independent for every pixel and channel; y is not clipped.

    The standard test bed of denoising since Zhang et al., "Beyond a Gaussian Denoiser" (TIP 2017): sigma 15, 25 and
    50, or blind with sigma uniform in [0, 50]. Clipping and rounding are the task's business (`quantize`), because
    they change the statistics.

    A share of the pairs may get the same noise in all channels (`grey`), or noise whose channels are correlated
    (`correlated`), the three kinds of Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
    Super-Resolution" (ICCV 2021): there n ~ N(0, (sigma/255)^2 |U D U^T|), U a random rotation, D diagonal and uniform in
    (0, 1]. Here that matrix is scaled to trace 3, so that sigma is the root mean square over the channels in every kind.
    """

    name: ClassVar[str] = "gaussian-noise"

    sigma: Annotated[Draw, within(0, 255)] = uniform(0, 50)
    """Standard deviation in grey levels of 255."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability that the noise is the same in all channels."""
    correlated: float = Field(0.0, ge=0, le=1)
    """Probability that the channels are correlated; what grey and correlated leave is independent in each channel."""

    @model_validator(mode="after")
    def _kinds_fit(self) -> Self:
        if self.grey + self.correlated > 1:
            raise ValueError(f"grey {self.grey:g} and correlated {self.correlated:g} are probabilities and sum to more than 1")
        return self

    @model_serializer(mode="wrap")
    def _plain_noise_as_ever(self, to_dict: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        # The digest of a frozen test set is taken over this; equal pairs must keep equal digests.
        return {key: value for key, value in to_dict(self).items() if key == "sigma" or value != 0}

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw sigma, the key of the noise field, and its kind where there is more than one."""
        params = {"sigma": self.sigma.sample(rng), "key": draw_key(rng)}
        if self.grey + self.correlated == 0:
            return params
        kind = rng.random()
        if kind < self.grey:
            params["channels"] = "grey"
        elif kind < self.grey + self.correlated:
            params["channels"] = "correlated"
            params["mixing"] = draw_mixing(rng)
        return params

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Add the noise field of the drawn key."""
        kind = params.get("channels", "colour")
        shape = clean.shape[:2] if kind == "grey" else clean.shape
        noisy = normal_field(keyed(params["key"]), shape)
        if kind == "grey":
            noisy = _in_all_channels(noisy)
        elif kind == "correlated":
            noisy = np.asarray(cv2.transform(noisy, np.asarray(params["mixing"], np.float32)), np.float32)
        noisy *= np.float32(params["sigma"] / 255)
        noisy += clean
        return noisy


class PoissonNoise(Degradation):
    """y = shot Poisson(x / shot): the picture as a count of photons, 1/shot of them at white; mean x, variance shot x.

    y is not clipped. With `grey`, the count is that of the luminance g, and its noise is added to all channels alike,
    y = x + shot Poisson(g / shot) - g, as Wang et al., "Real-ESRGAN" (ICCVW 2021), do to a share of their pairs.
    """

    name: ClassVar[str] = "poisson-noise"

    shot: Shot = uniform(1e-4, 1e-2)
    """Light of one photon, white being 1: 1e-2 is 100 photons at white; 0 is no noise. A range is drawn log-uniformly."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability that the noise is that of the luminance, the same in all channels."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the strength, whether the noise is grey, and the key of the counts."""
        return {"shot": draw_shot(self.shot, rng), "grey": bool(rng.random() < self.grey), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Count the photons of the drawn key."""
        if params["shot"] == 0:
            return clean.copy()
        rng = keyed(params["key"])
        if not params["grey"]:
            return count_photons(clean, params["shot"], rng)
        luminance = np.asarray(cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY), np.float32)
        noise = count_photons(luminance, params["shot"], rng)
        noise -= np.maximum(luminance, 0)
        noisy = _in_all_channels(noise)
        noisy += clean
        return noisy


class SpeckleNoise(Degradation):
    """y = x (1 + c n), n ~ N(0, 1) independent for every pixel and channel: noise in proportion to the light; not clipped.

    The normal form of multiplicative noise, as in Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
    Common Corruptions and Perturbations" (ICLR 2019).
    """

    name: ClassVar[str] = "speckle-noise"

    contrast: Annotated[Draw, within(0, 1)] = uniform(0.02, 0.3)
    """Standard deviation c over mean; 0 is no noise."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the contrast and the key of the field."""
        return {"contrast": self.contrast.sample(rng), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Multiply by the field of the drawn key."""
        noisy = normal_field(keyed(params["key"]), clean.shape)
        noisy *= np.float32(params["contrast"])
        noisy += 1
        noisy *= clean
        return noisy


class ImpulseNoise(Degradation):
    """y = 1 (salt) or 0 (pepper) at a random share of the values, x at all others: dead pixels, errors of transmission.

    Salt-and-pepper noise, shares of 3 % to 27 % as in Hendrycks and Dietterich (ICLR 2019).
    """

    name: ClassVar[str] = "impulse-noise"

    share: Annotated[Draw, within(0, 1)] = uniform(0.03, 0.27)
    """Share of the values that are struck; 0 is no noise."""
    salt: Annotated[Draw, within(0, 1)] = constant(0.5)
    """Share of the struck values that turn white; the others turn black."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability that whole pixels are struck, instead of each channel on its own."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the shares, whether whole pixels are struck, and the key of the places."""
        return {
            "share": self.share.sample(rng),
            "salt": self.salt.sample(rng),
            "grey": bool(rng.random() < self.grey),
            "key": draw_key(rng),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Strike the places of the drawn key."""
        lot = uniform_field(keyed(params["key"]), clean.shape[:2] if params["grey"] else clean.shape)
        if params["grey"]:
            lot = cv2.merge([lot] * 3)
        noisy = clean.copy()
        np.putmask(noisy, lot < round(params["share"] * 65536), 0)
        np.putmask(noisy, lot < round(params["share"] * params["salt"] * 65536), 1)
        return noisy


def draw_mixing(rng: np.random.Generator) -> list[list[float]]:
    """Draw the matrix L that turns independent channels into those of covariance L L^T = |U D U^T|, of trace 3.

    The absolute value of each entry keeps a covariance of three channels a covariance: no principal minor falls, since
    that of all three gains where the product of the off-diagonal entries was negative, and the others stay.
    """
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    covariance = np.abs((turn * (1 - rng.random(3))) @ turn.T)
    return np.linalg.cholesky(covariance * (3 / np.trace(covariance))).tolist()


def count_photons(light: Picture, shot: float, rng: np.random.Generator) -> Picture:
    """Light as a count of photons, shot Poisson(light / shot); negative light counts as none.

    Few photons are counted by numpy's exact method. Of `_MANY` and more, with mean m and w ~ N(0, 1), the count is
    floor(m + sqrt(m) w + (1/3 + w^2/6) (1 - w / (12 sqrt(m)))), the normal approximation of the inverse distribution
    (Giles, "Algorithm 955: Approximation of the inverse Poisson cumulative distribution function", TOMS 2016): mean and
    variance are right to a ten-thousandth, and not one count in a thousand is another one than exact inversion gives.

    Args:
        light: float32 of any shape.
        shot: light of one photon, above 0.
        rng: of `keyed`; draws the counts.

    Returns:
        float32 of the same shape.
    """
    mean = np.maximum(light, 0)
    mean *= np.float32(1 / shot)
    w = normal_field(rng, light.shape)
    counts = np.sqrt(np.maximum(mean, 1))
    skew = w / counts
    skew *= np.float32(-1 / 12)
    skew += 1
    counts *= w
    counts += mean
    w *= w
    w *= np.float32(1 / 6)
    w += np.float32(1 / 3)
    w *= skew
    counts += w
    np.floor(counts, out=counts)
    few = np.flatnonzero(mean < _MANY)
    counts.ravel()[few] = rng.poisson(mean.ravel()[few])
    counts *= np.float32(shot)
    return counts


def light_noise(light: Picture, shot: float, read: float, rng: np.random.Generator) -> Picture:
    """Noise n ~ N(0, shot max(light, 0) + read) of a sensor: photons (in the normal limit) and reading them out.

    Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data" (TIP 2008).

    Args:
        light: float32 of any shape, white being 1.
        shot: variance per light.
        read: variance in the dark.
        rng: draws the noise.

    Returns:
        float32 of the same shape, the noise alone.
    """
    deviation = np.maximum(light, 0)
    deviation *= np.float32(shot)
    deviation += np.float32(read)
    np.sqrt(deviation, out=deviation)
    deviation *= normal_field(rng, light.shape)
    return deviation


def _in_all_channels(field: np.ndarray) -> Picture:
    """[H, W] float32 to [H, W, 3]."""
    return np.asarray(cv2.cvtColor(field, cv2.COLOR_GRAY2RGB), np.float32)
