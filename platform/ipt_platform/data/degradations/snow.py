"""Falling snow in three layers of distance under a thin veil, the damage of the desnow task."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import cv2
import numpy as np

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, draw_key, keyed, uniform, within
from ipt_platform.data.degradations.flakes import LOBE, Flakes, let_through
from ipt_platform.data.degradations.fractal import Map
from ipt_platform.data.degradations.frame import Frame

_LARGEST = 1.7
"""Radius of the largest flake of a layer over the typical one."""

_FINE_ENOUGH = 8.0
"""Typical radius in pixels that a flake has to be drawn with; larger ones are drawn smaller, and enlarged."""


class _Layer(NamedTuple):
    """How the flakes at one distance differ from the drawn size, motion, opacity and density."""

    size: float
    softness: float
    opacity: float
    share: float


_LAYERS = (
    _Layer(size=0.5, softness=0.9, opacity=0.9, share=0.74),
    _Layer(size=1.0, softness=0.8, opacity=1.0, share=0.24),
    _Layer(size=3.2, softness=0.8, opacity=0.5, share=0.02),
)
"""Far flakes are specks; near ones large, rare and, being out of focus, soft and half transparent."""


class Snow(Degradation):
    """y = K T + A (1-T), K = x (1 - Z R) + C Z R: flakes of mask Z, opacity R and colour C behind a veil T of airlight A.

    The model of JSTASR (Chen et al., ECCV 2020) and of CSD (Chen et al., ICCV 2021); with veil 0 it is that of Snow100K
    (Liu et al., DesnowNet, TIP 2018).
    """

    name: ClassVar[str] = "snow"

    density: Annotated[Draw, within(0, 0.05)] = uniform(0.002, 0.013)
    """Flakes per pixel; 0 is none."""
    size: Annotated[Draw, within(0.3, 20)] = uniform(1.4, 5.0)
    """Typical radius in pixels, to where it fades out, of a flake in the middle layer."""
    motion: Annotated[Draw, within(0, 60)] = uniform(0, 8)
    """Distance in pixels that a flake of the middle layer falls during the exposure."""
    angle: Annotated[Draw, within(-90, 90)] = uniform(-50, 50)
    """Direction of fall in degrees from the vertical."""
    opacity: Annotated[Draw, within(0, 1)] = uniform(0.8, 1.0)
    """Opacity R of the flakes."""
    brightness: Annotated[Draw, within(0, 1)] = uniform(0.85, 1.0)
    """Colour C of the flakes, the same in all channels."""
    veil: Annotated[Draw, within(0, 1)] = uniform(0.0, 0.35)
    """Share 1-T of the light that the veil replaces by airlight; 0 is no veil."""
    airlight: Annotated[Draw, within(0, 1)] = uniform(0.7, 0.95)
    """Brightness A of the veil."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the weather and the key of the flakes."""
        fields = ("density", "size", "motion", "angle", "opacity", "brightness", "veil", "airlight")
        return {**{field: getattr(self, field).sample(rng) for field in fields}, "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Let the drawn snow fall before the picture."""
        cover = snow_mask(clean.shape[0], clean.shape[1], params)
        cover *= np.float32(params["opacity"])
        through = np.float32(1 - params["veil"])
        # y = x (1 - ZR) T  +  C ZR T + A (1-T): one map to multiply by, one to add.
        kept = np.multiply(cover, -through)
        kept += through
        snowy = np.asarray(cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB), np.float32)
        snowy *= clean
        cover *= np.float32(params["brightness"]) * through
        cover += np.float32(params["airlight"]) * (1 - through)
        snowy += cv2.cvtColor(cover, cv2.COLOR_GRAY2RGB)
        return snowy


def snow_mask(height: int, width: int, params: Params) -> Map:
    """Draw the mask Z of the flakes.

    Args:
        height: rows.
        width: columns.
        params: what `Snow.draw` returned.

    Returns:
        [height, width] float32 in [0, 1), 0 where there is no flake.
    """
    rng = keyed(params["key"])
    mask = np.ones((height, width), np.float32)
    shrinks = [max(1, int(params["size"] * layer.size / _FINE_ENOUGH)) for layer in _LAYERS]
    for shrink in sorted({*shrinks}):
        layers = [layer for layer, own in zip(_LAYERS, shrinks, strict=True) if own == shrink]
        mask *= layers_through(height, width, layers, shrink, params, rng)
    return np.subtract(1, mask, out=mask)


def layers_through(
    height: int, width: int, layers: Sequence[_Layer], shrink: int, params: Params, rng: np.random.Generator
) -> Map:
    """What some layers let through: [height, width] float32. Large flakes are soft, and are drawn `shrink` times smaller."""
    rows, columns = -(-height // shrink), -(-width // shrink)
    size, motion = (np.array([each.size for each in layers]) * params[field] / shrink for field in ("size", "motion"))
    reach = _LARGEST * (1 + 2 * LOBE) * size + 0.65 * motion + 1
    share = np.array([each.share for each in layers]) * (params["density"] * shrink**2)
    count = rng.poisson(share * (rows + 2 * reach) * (columns + 2 * reach))
    table = np.array((size, motion, reach, *zip(*((each.opacity, each.softness) for each in layers), strict=True)))
    size, motion, reach, opacity, softness = table.repeat(count, axis=1)
    lots = rng.random((7, len(size)))
    radius = size * (0.5 + (_LARGEST - 0.5) * lots[0] ** 2)
    fall = motion * (0.7 + 0.6 * lots[1])
    flakes = Flakes(
        top=(rows + 2 * reach) * lots[2] - reach,
        left=(columns + 2 * reach) * lots[3] - reach,
        radius=radius,
        tilt=np.deg2rad(params["angle"] + 10.0 * rng.standard_normal(len(size))),
        fall=fall,
        # A flake that moves covers each point for a part of the exposure only.
        peak=opacity * (0.6 + 0.4 * lots[4]) / (1 + 0.4 * fall / (2 * radius + 1)),
        softness=softness,
        lobes=LOBE * (2 * lots[5:] - 1),
    )
    drawn = let_through(flakes, rows, columns)
    if shrink == 1:
        return drawn
    finer = cv2.resize(drawn, (columns * shrink, rows * shrink), interpolation=cv2.INTER_LINEAR)
    return np.asarray(finer, np.float32)[:height, :width]
