"""Falling snow in three layers of distance under a thin veil, the damage of the desnow task."""

from typing import Annotated, ClassVar, NamedTuple

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
from ipt_platform.data.degradations.boxes import box_pixels

_LARGEST = 1.7
"""Radius of the largest flake of a layer over the typical one."""

_LOBE = 0.2
"""Largest share by which a lobe lifts or sinks the outline of a flake."""

_FINE_ENOUGH = 5.0
"""Typical radius in pixels that a flake has to be drawn with; larger ones are drawn smaller, and enlarged."""

_PIXELS_AT_ONCE = 1 << 18
"""Pixels round flakes drawn in one go: bounds memory where a picture is large or the snow is heavy."""

_OPAQUE = 0.999
"""No flake hides everything: layers are joined by the logarithm of what they let through."""


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

    density: Annotated[Draw, within(0, 0.05)] = uniform(0.001, 0.012)
    """Flakes per pixel; 0 is none."""
    size: Annotated[Draw, within(0.3, 20)] = uniform(1.4, 5.0)
    """Typical radius in pixels, to where it fades out, of a flake in the middle layer."""
    motion: Annotated[Draw, within(0, 60)] = uniform(0, 8)
    """Distance in pixels that a flake of the middle layer falls during the exposure."""
    angle: Annotated[Draw, within(-90, 90)] = uniform(-50, 50)
    """Direction of fall in degrees from the vertical."""
    opacity: Annotated[Draw, within(0, 1)] = uniform(0.7, 1.0)
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
        cover = snow_mask(clean.shape[0], clean.shape[1], params) * np.float32(params["opacity"])
        through = np.float32(1 - params["veil"])
        # y = x (1 - ZR) T  +  C ZR T + A (1-T): one map to multiply by, one to add.
        snowy = np.asarray(cv2.cvtColor((1 - cover) * through, cv2.COLOR_GRAY2RGB), np.float32)
        added = cover * (np.float32(params["brightness"]) * through) + np.float32(params["airlight"]) * (1 - through)
        snowy *= clean
        snowy += cv2.cvtColor(added, cv2.COLOR_GRAY2RGB)
        return snowy


def snow_mask(height: int, width: int, params: Params) -> NDArray[np.float32]:
    """Draw the mask Z of the flakes.

    Args:
        height: rows.
        width: columns.
        params: what `Snow.draw` returned.

    Returns:
        [height, width] float32 in [0, 1), 0 where there is no flake.
    """
    rng = keyed(params["key"])
    through = np.zeros((height, width), np.float32)
    for layer in _LAYERS:
        through += _draw_layer(height, width, layer, params, rng)
    return 1 - np.exp(through)


class _Flakes(NamedTuple):
    """N flakes: where, how large, how long their fall, how dense; all [N] but `lobes`, [2, N]."""

    top: NDArray
    left: NDArray
    radius: NDArray
    tilt: NDArray
    fall: NDArray
    peak: NDArray
    lobes: NDArray


def _draw_layer(height: int, width: int, layer: _Layer, params: Params, rng: np.random.Generator) -> NDArray[np.float32]:
    """[height, width] the logarithm of what one layer lets through.

    Large flakes are soft, and are drawn on fewer pixels.
    """
    size, motion = params["size"] * layer.size, params["motion"] * layer.size
    coarse = max(1, int(size / _FINE_ENOUGH))
    rows, columns = -(-height // coarse), -(-width // coarse)
    size, motion = size / coarse, motion / coarse
    reach = _LARGEST * (1 + 2 * _LOBE) * size + 0.65 * motion + 1
    count = int(rng.poisson(params["density"] * coarse**2 * layer.share * (rows + 2 * reach) * (columns + 2 * reach)))
    radius = size * (0.5 + (_LARGEST - 0.5) * rng.random(count) ** 2)
    fall = motion * rng.uniform(0.7, 1.3, count)
    flakes = _Flakes(
        top=rng.uniform(-reach, rows + reach, count),
        left=rng.uniform(-reach, columns + reach, count),
        radius=radius,
        tilt=np.deg2rad(params["angle"] + rng.normal(0, 10.0, count)),
        fall=fall,
        # A flake that moves covers each point for a part of the exposure only.
        peak=layer.opacity * rng.uniform(0.6, 1.0, count) / (1 + 0.4 * fall / (2 * radius + 1)),
        lobes=rng.uniform(-_LOBE, _LOBE, (2, count)),
    )
    through = np.zeros(rows * columns)
    at_once = max(1, int(_PIXELS_AT_ONCE / (2 * reach + 1) ** 2))
    for start in range(0, count, at_once):
        part = _Flakes(*(values[..., start : start + at_once] for values in flakes))
        index, cover = _cover(part, layer.softness, rows, columns)
        through += np.bincount(index, np.log1p(-np.minimum(cover, np.float32(_OPAQUE))), rows * columns)
    drawn = through.reshape(rows, columns).astype(np.float32)
    if coarse == 1:
        return drawn
    finer = cv2.resize(drawn, (columns * coarse, rows * coarse), interpolation=cv2.INTER_LINEAR)
    return np.asarray(finer, np.float32)[:height, :width]


def _cover(flakes: _Flakes, softness: float, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Numbers of all pixels under some flakes, and their cover: soft discs with uneven lobes, drawn out along their fall."""
    tilt, half = flakes.tilt.astype(np.float32), flakes.fall.astype(np.float32) / 2
    cosine, sine = np.cos(tilt), np.sin(tilt)
    outline = (1 + 2 * _LOBE) * flakes.radius.astype(np.float32)
    high, wide = outline + half * abs(cosine), outline + half * abs(sine)
    row, column, of = box_pixels(flakes.top, flakes.left, high, wide, height, width)
    down, right = (row - flakes.top[of]).astype(np.float32), (column - flakes.left[of]).astype(np.float32)
    cosine, sine, half = cosine[of], sine[of], half[of]
    along, across = down * cosine + right * sine, right * cosine - down * sine
    along -= np.clip(along, -half, half)
    square = along * along + across * across
    near = np.flatnonzero(square < (outline * outline)[of])
    of, index = of[near], row[near] * width + column[near]
    distance = np.sqrt(square[near]) + np.float32(1e-6)
    # cos 2b and cos 3b of the bearing b, from its cosine along/distance.
    once = along[near] / distance
    twice = 2 * once * once - 1
    thrice = once * (2 * twice - 1)
    two, three = flakes.lobes.astype(np.float32)
    radius = flakes.radius.astype(np.float32)
    distance /= radius[of] * (1 + two[of] * twice + three[of] * thrice)
    # The edge is never sharper than a pixel; a flake smaller than that stays faint.
    slope = 1 / np.maximum(np.float32(softness), np.float32(1.2) / radius)
    rise = np.clip((1 - distance) * slope[of], 0, 1)
    return index, rise * rise * (3 - 2 * rise) * flakes.peak.astype(np.float32)[of]
