"""Haze by the scattering model over a plausible depth, the damage of the dehaze task."""

from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, draw_key, uniform, within
from ipt_platform.data.degradations.depth import REACH, DepthLayout, depth_map
from ipt_platform.data.degradations.fractal import Map
from ipt_platform.data.degradations.frame import Frame, wanted


class Haze(Degradation):
    """y = x t + A (1 - t), t = exp(-beta far d): light lost on the way, and airlight scattered into it.

    The model of Koschmieder (1924) as RESIDE uses it (Li et al., TIP 2019). There depth comes from a net; here d is laid
    out by `depth_map`, in [0, 1]. A share of the pairs has one depth everywhere, as the patches of DehazeNet have (Cai
    et al., TIP 2016). The ranges of RESIDE are

    - indoor (ITS): `beta: {min: 0.6, max: 1.8}`, `airlight: {min: 0.7, max: 1.0}`;
    - outdoor (OTS): `beta: {choices: [0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.2]}`,
      `airlight: {choices: [0.8, 0.85, 0.9, 0.95, 1.0]}`, with `far: 10`: its depths are about ten times as large.
    """

    name: ClassVar[str] = "haze"

    beta: Annotated[Draw, within(0, 10)] = uniform(0.4, 2.2)
    """Scattering coefficient per unit of depth; the horizon keeps exp(-beta far) of its light. 0 is no haze."""
    airlight: Annotated[Draw, within(0, 1)] = uniform(0.7, 1.0)
    """Brightness A of the haze itself, the same in all channels."""
    far: Annotated[Draw, within(0, 100)] = constant(1.0)
    """Depth of the horizon, in the unit that beta is given for."""
    flat: float = Field(0.1, ge=0, le=1)
    """Probability that the depth is one number, uniform in [0.2, 1] of the horizon's, everywhere."""
    slope: Annotated[Draw, within(0, 1)] = uniform(0.0, 0.3)
    """Weight of a slanted plane in the depth."""
    clouds: Annotated[Draw, within(0, 1)] = uniform(0.1, 0.4)
    """Weight of fractal noise in the depth; what slope and clouds leave belongs to the height in the picture."""
    objects: Annotated[Draw, within(-1, 1)] = uniform(-0.2, 0.4)
    """How much farther a white surface stands than a black one; bright skies are far, so mostly positive."""

    @property
    def margin(self) -> int:
        """Context of the edge-preserving filter that finds the objects, where there is anything to find."""
        looks = self.flat < 1 and (self.objects.low, self.objects.high) != (0, 0)
        return REACH if looks else 0

    def reach(self, params: Params) -> int:
        """That of the filter, where the draw looks for objects."""
        return REACH if params.get("objects") else 0

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw beta, the airlight, the horizon and a layout of the depth (or the one depth of a flat pair)."""
        air = {field: getattr(self, field).sample(rng) for field in ("beta", "airlight", "far")}
        if rng.random() < self.flat:
            return {**air, "depth": float(rng.uniform(0.2, 1.0))}
        slope, clouds = self.slope.sample(rng), self.clouds.sample(rng)
        weight = max(1.0, slope + clouds)
        return {
            **air,
            "vertical": max(0.0, 1 - slope - clouds),
            "slope": slope / weight,
            "angle": float(rng.uniform(0, 2 * np.pi)),
            "clouds": clouds / weight,
            "objects": self.objects.sample(rng),
            "key": draw_key(rng),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Scatter light over the drawn depth."""
        inner = clean[wanted(clean, frame)]
        if "depth" in params:
            depth = np.full(inner.shape[:2], params["depth"], np.float32)
        else:
            layout = DepthLayout(**{key: params[key] for key in DepthLayout.__dataclass_fields__})
            depth = depth_map(clean, layout, frame or Frame(*clean.shape[:2]))
        return scatter(inner, depth, params["beta"] * params["far"], params["airlight"])


def scatter(clean: Picture, depth: Map, beta: float, airlight: float) -> Picture:
    """The scattering model, y = x t + A (1 - t) with t = exp(-beta d).

    Args:
        clean: [H, W, 3] float32 in [0, 1].
        depth: [H, W] float32.
        beta: scattering coefficient per unit of depth.
        airlight: A, in [0, 1].

    Returns:
        [H, W, 3] float32, a new array.
    """
    transmission = depth * np.float32(-beta)
    cv2.exp(transmission, dst=transmission)
    # Spreading a map over three channels by OpenCV takes a tenth of the time of numpy's broadcasting.
    hazy = np.asarray(cv2.cvtColor(transmission, cv2.COLOR_GRAY2RGB), np.float32)
    hazy *= clean
    veil = np.subtract(1, transmission, out=transmission)
    veil *= np.float32(airlight)
    hazy += cv2.cvtColor(veil, cv2.COLOR_GRAY2RGB)
    return hazy
