"""Damage to clean photographs, drawn on the fly: one file per family, numpy and OpenCV only."""

from typing import Any

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture
from ipt_platform.data.degradations.blur import DefocusBlur, GaussianBlur, LinearMotionBlur, MotionBlur
from ipt_platform.data.degradations.camera import CameraNoise
from ipt_platform.data.degradations.compose import build
from ipt_platform.data.degradations.frame import Frame
from ipt_platform.data.degradations.haze import Haze
from ipt_platform.data.degradations.jpeg import Jpeg
from ipt_platform.data.degradations.lowlight import LowLight
from ipt_platform.data.degradations.mask import Inpaint, Outpaint
from ipt_platform.data.degradations.moire import Moire
from ipt_platform.data.degradations.noise import GaussianNoise, ImpulseNoise, PoissonNoise, SpeckleNoise
from ipt_platform.data.degradations.rain import Rain
from ipt_platform.data.degradations.raindrop import Raindrop
from ipt_platform.data.degradations.resolution import LowResolution, Resample
from ipt_platform.data.degradations.shadow import Shadow
from ipt_platform.data.degradations.sharpness import Sharpen, SincBlur
from ipt_platform.data.degradations.snow import Snow

__all__ = ["DEGRADATIONS", "Degradation", "Draw", "Frame", "Params", "Picture", "build_degradation"]

DEGRADATIONS: dict[str, type[Degradation]] = {
    "gaussian-noise": GaussianNoise,
    "poisson-noise": PoissonNoise,
    "speckle-noise": SpeckleNoise,
    "impulse-noise": ImpulseNoise,
    "camera-noise": CameraNoise,
    "motion-blur": MotionBlur,
    "linear-motion-blur": LinearMotionBlur,
    "gaussian-blur": GaussianBlur,
    "defocus-blur": DefocusBlur,
    "sinc-blur": SincBlur,
    "sharpen": Sharpen,
    "low-resolution": LowResolution,
    "resample": Resample,
    "haze": Haze,
    "rain": Rain,
    "raindrop": Raindrop,
    "snow": Snow,
    "shadow": Shadow,
    "moire": Moire,
    "lowlight": LowLight,
    "jpeg": Jpeg,
    "inpaint": Inpaint,
    "outpaint": Outpaint,
}
"""Every family by the word that task files use."""


def build_degradation(spec: Any) -> Degradation:
    """Build a degradation from `{"name": <family>, **parameters}`, from a bare name, or from a list of both: a chain.

    Raises:
        pydantic.ValidationError: A name is missing or unknown; a parameter is unknown, of the wrong type or out of its
            range. Every such problem, with its place.
    """
    return build(spec, DEGRADATIONS)
