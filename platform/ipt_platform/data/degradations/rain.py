"""Rain streaks in three layers of distance, the damage of the derain task."""

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
    constant,
    draw_key,
    keyed,
    uniform,
    within,
)
from ipt_platform.data.degradations.splat import splat

_SPACING = 0.6
"""Distance in pixels between the points that draw a streak; below one, or streaks would show as beads."""

_POINTS_AT_ONCE = 1 << 21
"""Points drawn in one go: bounds memory where a picture is large or the rain is heavy."""


class _Layer(NamedTuple):
    """How the streaks at one distance differ from the drawn length, width, opacity and density."""

    length: float
    width: float
    opacity: float
    share: float


_LAYERS = (
    _Layer(length=0.6, width=0.65, opacity=0.65, share=0.66),
    _Layer(length=1.0, width=1.0, opacity=1.0, share=0.30),
    _Layer(length=1.8, width=2.2, opacity=0.6, share=0.04),
)
"""Far drops draw short, thin, frequent streaks; near ones long, wide, rare and, being out of focus, faint ones."""


class Rain(Degradation):
    """y = clip((1-v) (x + S) + v A): streaks S add light, and heavy rain adds a veil v of airlight A.

    A streak is the path of a falling drop during the exposure, brighter than what it covers (Garg and Nayar, "Vision
    and Rain", IJCV 2007). With veil 0 this is the additive model of Rain100L and Rain100H, and rain only brightens;
    with it, the heavy-rain model of Yang et al., "Joint Rain Detection and Removal" (CVPR 2017).
    """

    name: ClassVar[str] = "rain"

    density: Annotated[Draw, within(0, 0.1)] = uniform(0.001, 0.012)
    """Streaks per pixel; 0 is no rain."""
    angle: Annotated[Draw, within(-80, 80)] = uniform(-35, 35)
    """Direction of fall in degrees from the vertical."""
    length: Annotated[Draw, within(1, 200)] = uniform(18, 48)
    """Median length in pixels of a streak in the middle layer."""
    width: Annotated[Draw, within(0.5, 10)] = uniform(1.0, 2.2)
    """Width in pixels of a streak in the middle layer, between the points of half its brightness."""
    opacity: Annotated[Draw, within(0, 1)] = uniform(0.2, 0.7)
    """Light that the brightest streaks of the middle layer add."""
    veil: Annotated[Draw, within(0, 1)] = constant(0.0)
    """Share of the picture's light that distant rain replaces by airlight."""
    airlight: Annotated[Draw, within(0, 1)] = uniform(0.6, 0.9)
    """Brightness A of the veil."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the weather and the key of the drops."""
        fields = ("density", "angle", "length", "width", "opacity", "veil", "airlight")
        return {**{field: getattr(self, field).sample(rng) for field in fields}, "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Let the drawn rain fall over the picture."""
        streaks = rain_streaks(clean.shape[0], clean.shape[1], params)
        veil = np.float32(params["veil"])
        rainy = np.asarray(cv2.cvtColor(streaks, cv2.COLOR_GRAY2RGB), np.float32)
        rainy += clean
        if veil > 0:
            rainy *= 1 - veil
            rainy += veil * np.float32(params["airlight"])
        # What was above white before the rain (noise under it) is not the rain's to clip.
        return np.minimum(rainy, np.maximum(clean, 1), out=rainy)


def rain_streaks(height: int, width: int, params: Params) -> NDArray[np.float32]:
    """Draw the layer S of streaks.

    Args:
        height: rows.
        width: columns.
        params: what `Rain.draw` returned.

    Returns:
        [height, width] float32, the light that streaks add, 0 where there are none.
    """
    rng = keyed(params["key"])
    streaks = np.zeros((height, width), np.float32)
    for layer in _LAYERS:
        streaks += _draw_layer(height, width, layer, params, rng)
    return streaks


def _draw_layer(height: int, width: int, layer: _Layer, params: Params, rng: np.random.Generator) -> NDArray[np.float32]:
    median = params["length"] * layer.length
    # Width between half maxima of a Gaussian is 2.355 sigma; splatting already spreads a line by a variance of 1/6.
    sigma = max(0.3, np.sqrt(max(0.0, (params["width"] * layer.width / 2.355) ** 2 - 1 / 6)))
    reach = int(np.ceil(median + 3 * sigma))
    rows, columns = height + 2 * reach, width + 2 * reach
    count = int(rng.poisson(params["density"] * layer.share * rows * columns))
    lengths = median * rng.uniform(0.5, 1.5, count)
    tilt = np.deg2rad(params["angle"] + rng.normal(0, 2.0, count))
    top, left = rng.uniform(0, rows, count), rng.uniform(0, columns, count)
    # Most drops are faint: brightness falls off towards the brightest ones.
    opacity = params["opacity"] * layer.opacity * (0.15 + 0.85 * rng.random(count) ** 2)

    points = max(2, int(np.ceil(1.5 * median / _SPACING)))
    along = (np.arange(points) + 0.5) / points
    # Sides of a streak rise within its first and last fifth.
    profile = np.clip(5 * np.minimum(along, 1 - along), 0, 1)
    light = opacity * lengths / points * np.sqrt(2 * np.pi * (sigma**2 + 1 / 6))
    pad = int(np.ceil(3 * sigma))
    canvas = np.zeros((height + 2 * pad, width + 2 * pad))
    at_once = max(1, _POINTS_AT_ONCE // points)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        distance = lengths[part, None] * (along - 0.5)
        canvas += splat(
            (top[part, None] + distance * np.cos(tilt[part, None]) - reach + pad).ravel(),
            (left[part, None] + distance * np.sin(tilt[part, None]) - reach + pad).ravel(),
            (light[part, None] * profile).ravel(),
            *canvas.shape,
        )
    soft = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), sigma)
    return np.asarray(soft[pad : pad + height, pad : pad + width], np.float32)
