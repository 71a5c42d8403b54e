"""Rain streaks at four distances from the camera, the damage of the derain task: light, heavy, and behind a veil."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import (
    Degradation,
    Draw,
    Params,
    Picture,
    constant,
    cut_at_white,
    draw_key,
    keyed,
    uniform,
    whole,
    within,
)
from ipt_platform.data.degradations.frame import Frame
from ipt_platform.data.degradations.streaks import Streaks, draw_streaks

_STEEPEST = 80.0
"""Largest angle of fall from the vertical in degrees."""

_SHORTEST = 2.0
"""Shortest streak in pixels: one drawn by its rows needs some."""

_SHARPEST = 0.35
"""Smallest standard deviation in pixels of the blur over a layer: no lens draws a finer line."""

_LEAST, _LONGEST = 0.4, 1.6
"""Lengths of the shortest and of the longest streak of a layer over the typical one."""

_SWAY, _WAVERING = 2.5, 9.0
"""Standard deviation and largest part of what a streak leaves its direction by, in degrees."""


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

    density: Annotated[Draw, within(0, 0.1)] = uniform(0.002, 0.02)
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
    opacity: Annotated[Draw, within(0, 1)] = uniform(0.35, 0.85)
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
        return cut_at_white(rainy, clean)


def rain_streaks(height: int, width: int, params: Params) -> NDArray[np.float32]:
    """Draw the layer S of streaks.

    Args:
        height: rows.
        width: columns.
        params: what `Rain.draw` returned.

    Returns:
        [height, width] float32, the light that streaks add, 0 where there are none.
    """
    # Width between half maxima of a Gaussian is 2.355 sigma; sharing points between pixels adds a variance of 1/6.
    sigmas = [max(_SHARPEST, math.sqrt(max(0.0, (params["width"] * each.width / 2.355) ** 2 - 1 / 6))) for each in _LAYERS]
    pad = math.ceil(3 * max(sigmas))
    streaks = _draw(height + 2 * pad, width + 2 * pad, sigmas, params)
    rain = np.zeros((height, width), np.float32)
    for layer, sigma in zip(draw_streaks(streaks, len(_LAYERS), height + 2 * pad, width + 2 * pad), sigmas, strict=True):
        size = 2 * math.ceil(3 * sigma) + 1
        rain += cv2.GaussianBlur(layer, (size, size), sigma)[pad : pad + height, pad : pad + width]
    return rain


def _draw(height: int, width: int, sigmas: Sequence[float], params: Params) -> Streaks:
    """Draw the streaks of all layers and directions that reach into an array, each as bright as it will be when its layer is
    blurred by its sigma.
    """
    rng = keyed(params["key"])
    angles = [params["angle"], *params["crossing"]]
    falls = np.array(
        [
            _fall(height, width, {**params, "angle": angle}, layer, sigma)
            for layer, sigma in zip(_LAYERS, sigmas, strict=True)
            for angle in angles
        ]
    )
    number = np.arange(len(falls)).repeat(rng.poisson(falls[:, 0] / len(angles)))
    _, angle, flat, length, opacity, sigma, over, beside, tall, wide = falls.T.take(number, axis=1)
    lots = rng.random((5, len(number)))
    tilt = np.deg2rad(angle + np.clip(_SWAY * rng.standard_normal(len(number)), -_WAVERING, _WAVERING))
    cosine = np.cos(tilt)
    # Most drops are faint, few are bright. The crest of a blurred line is its light per length over sqrt(2 pi) times its
    # deviation across.
    light = opacity * (0.12 + 0.88 * lots[3] ** 2) * np.sqrt(2 * np.pi * (sigma**2 + cosine**2 / 6)) / cosine
    return Streaks(
        layer=number // len(angles),
        flat=flat != 0,
        row=tall * lots[0] - over,
        column=wide * lots[1] - beside,
        length=np.maximum(_SHORTEST, length * (_LEAST + (_LONGEST - _LEAST) * lots[2])),
        tilt=tilt,
        light=light,
        fade=0.7 * lots[4],
    )


class _Fall(NamedTuple):
    """Streaks of one layer and one direction: how many are expected, what they are like, and where their middles lie.

    Those lie in an area of `tall` times `wide` pixels, which begins `over` pixels above and `beside` pixels left of the array;
    where they are `flat`, of the array turned over.
    """

    expected: float
    angle: float
    flat: bool
    length: float
    opacity: float
    sigma: float
    over: float
    beside: float
    tall: float
    wide: float


def _fall(height: int, width: int, params: Params, layer: _Layer, sigma: float) -> _Fall:
    """What falls in a layer, were it all to fall in one direction."""
    angle = params["angle"]
    flat = abs(angle) > 45
    if flat:
        # What falls more across than down is drawn by its columns: on an array turned over.
        height, width, angle = width, height, math.copysign(90, angle) - angle
    length = params["length"] * layer.length
    # Streaks may start outside, and reach in.
    over = max(_SHORTEST, _LONGEST * length) / 2 + 1
    beside = (over - 1) * math.sin(math.radians(abs(angle) + _WAVERING)) + 1
    tall, wide = height + 2 * over, width + 2 * beside
    return _Fall(
        expected=params["density"] * layer.share * tall * wide,
        angle=angle,
        flat=flat,
        length=length,
        opacity=params["opacity"] * layer.opacity,
        sigma=sigma,
        over=over,
        beside=beside,
        tall=tall,
        wide=wide,
    )
