"""Rain streaks at four distances from the camera, the damage of the derain task: light, heavy, and behind a veil."""

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
    whole,
    within,
)

_STEEPEST = 80.0
"""Largest angle of fall from the vertical in degrees."""

_SHORTEST = 2.0
"""Shortest streak in pixels: one drawn by its rows needs some."""

_SHARPEST = 0.35
"""Smallest standard deviation in pixels of the blur over a layer: no lens draws a finer line."""

_POINTS_AT_ONCE = 1 << 20
"""Points drawn in one go: bounds memory where a picture is large or the rain is heavy."""


class _Layer(NamedTuple):
    """How the streaks at one distance differ from the drawn length, width, opacity and density."""

    length: float
    width: float
    opacity: float
    share: float


_LAYERS = (
    _Layer(length=0.5, width=0.6, opacity=0.5, share=0.60),
    _Layer(length=0.8, width=0.85, opacity=0.8, share=0.26),
    _Layer(length=1.2, width=1.2, opacity=1.0, share=0.11),
    _Layer(length=2.2, width=2.6, opacity=0.5, share=0.03),
)
"""Far drops draw short, thin, frequent streaks; near ones long, wide, rare and, being out of focus, faint ones."""


class Rain(Degradation):
    """y = clip((1-v) (x + S) + v A): streaks S add light, and heavy rain adds a veil v of airlight A.

    A streak is the path of a falling drop during the exposure, brighter than what it covers (Garg and Nayar, "Vision
    and Rain", IJCV 2007). With veil 0 this is the additive model, and rain only brightens: from one direction as in
    Rain100L, dense and from up to five as in Rain100H. With a veil it is the heavy-rain model, all of it from Yang et
    al., "Joint Rain Detection and Removal" (CVPR 2017), whose alpha is 1-v.
    """

    name: ClassVar[str] = "rain"

    density: Annotated[Draw, within(0, 0.1)] = uniform(0.001, 0.02)
    """Streaks per pixel, of all directions together; 0 is no rain."""
    angle: Annotated[Draw, within(-_STEEPEST, _STEEPEST)] = uniform(-40, 40)
    """Direction of fall in degrees from the vertical."""
    directions: Annotated[Draw, whole, within(1, 5)] = constant(1)
    """Number of directions that streaks have; they share the density evenly."""
    spread: Annotated[Draw, within(0, 90)] = constant(40)
    """How far in degrees the other directions lie from `angle` at most."""
    length: Annotated[Draw, within(1, 200)] = uniform(16, 50)
    """Typical length in pixels of a streak that is in focus."""
    width: Annotated[Draw, within(0.5, 10)] = uniform(1.0, 2.2)
    """Width in pixels of a streak that is in focus, between the points of half its brightness."""
    opacity: Annotated[Draw, within(0, 1)] = uniform(0.2, 0.7)
    """Light that the brightest streaks add."""
    veil: Annotated[Draw, within(0, 1)] = constant(0.0)
    """Share v of the picture's light that distant rain replaces by airlight."""
    airlight: Annotated[Draw, within(0, 1)] = uniform(0.6, 0.9)
    """Brightness A of the veil."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the weather and the key of the drops; `crossing` holds the directions besides `angle`, in degrees."""
        fields = ("density", "angle", "length", "width", "opacity", "veil", "airlight")
        weather = {field: getattr(self, field).sample(rng) for field in fields}
        spread, others = self.spread.sample(rng), int(self.directions.sample(rng)) - 1
        crossing = np.clip(weather["angle"] + rng.uniform(-spread, spread, others), -_STEEPEST, _STEEPEST)
        return {**weather, "crossing": crossing.tolist(), "key": draw_key(rng)}

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
    angles = [params["angle"], *params["crossing"]]
    streaks = np.zeros((height, width), np.float32)
    for layer in _LAYERS:
        # Width between half maxima of a Gaussian is 2.355 sigma; sharing points between pixels adds a variance of 1/6.
        sigma = max(_SHARPEST, float(np.sqrt(max(0.0, (params["width"] * layer.width / 2.355) ** 2 - 1 / 6))))
        pad = int(np.ceil(3 * sigma))
        canvas = np.zeros((height + 2 * pad, width + 2 * pad))
        for angle in angles:
            density = params["density"] * layer.share / len(angles)
            # What falls more across than down is drawn by its columns: on a canvas turned over.
            flat = abs(angle) > 45
            turned = np.copysign(90, angle) - angle if flat else angle
            fall = _Fall(density, turned, params["length"] * layer.length, params["opacity"] * layer.opacity, sigma)
            _draw_streaks(canvas.T if flat else canvas, fall, rng)
        soft = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), sigma)
        streaks += soft[pad : pad + height, pad : pad + width]
    return streaks


class _Fall(NamedTuple):
    """Streaks of one layer and one direction, at most 45 degrees from the vertical."""

    density: float
    angle: float
    length: float
    opacity: float
    sigma: float


def _draw_streaks(canvas: NDArray[np.float64], fall: _Fall, rng: np.random.Generator) -> None:
    """Add streaks to a canvas that is blurred by `sigma` afterwards."""
    longest = max(_SHORTEST, 1.6 * fall.length)
    steepest = np.deg2rad(abs(fall.angle) + 9)
    # Streaks may start outside, and reach in.
    over, beside = longest / 2 + 1, longest / 2 * np.sin(steepest) + 1
    height, width = canvas.shape
    count = int(rng.poisson(fall.density * (height + 2 * over) * (width + 2 * beside)))
    if count == 0:
        return
    lengths = np.maximum(_SHORTEST, fall.length * rng.uniform(0.4, 1.6, count))
    tilt = np.deg2rad(fall.angle + np.clip(rng.normal(0, 2.5, count), -9, 9))
    top, left = rng.uniform(-over, height + over, count), rng.uniform(-beside, width + beside, count)
    # Most drops are faint, few are bright.
    bright = fall.opacity * (0.12 + 0.88 * rng.random(count) ** 2)
    fade = rng.uniform(0, 0.7, count)

    rows = int(np.ceil(longest)) + 1
    cosine, sine = np.cos(tilt), np.sin(tilt)
    # The crest of a blurred line is its light per length over sqrt(2 pi) times its deviation across.
    light = bright * np.sqrt(2 * np.pi * (fall.sigma**2 + cosine**2 / 6)) / cosine
    at_once = max(1, _POINTS_AT_ONCE // rows)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        down = lengths[part] * cosine[part]
        first = np.ceil(top[part] - down / 2)
        step = (first - top[part])[:, None] + np.arange(rows)
        along = step / down[:, None] + 0.5
        # The sides rise within the first and last quarter, and the trail behind a drop fades.
        shape = np.clip(4 * np.minimum(along, 1 - along), 0, 1) * (1 - fade[part, None] * (1 - along))
        across = left[part, None] + step * (sine / cosine)[part, None]
        _splat_rows(canvas, first.astype(np.int64)[:, None] + np.arange(rows), across, light[part, None] * shape)


def _splat_rows(canvas: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray, weights: NDArray) -> None:
    """Add points that lie on rows, each shared between its two neighbours; what falls outside is dropped."""
    height, width = canvas.shape
    inside = (weights > 0) & (rows >= 0) & (rows < height) & (columns > -1) & (columns < width)
    rows, columns, weights = rows[inside], columns[inside], weights[inside]
    left = np.floor(columns)
    right = columns - left
    # One spare column on either side takes what is shared with it.
    index = rows * (width + 2) + left.astype(np.int64) + 1
    index, share = np.concatenate((index, index + 1)), np.concatenate((weights * (1 - right), weights * right))
    sums = np.bincount(index, share, height * (width + 2))
    canvas += sums.reshape(height, width + 2)[:, 1:-1]
