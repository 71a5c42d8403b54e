"""A cast shadow, the damage of the deshadow task: something outside the picture keeps the sun from a part of it."""

from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from ipt_platform.data.degradations.base import (
    Degradation,
    Draw,
    Params,
    Picture,
    constant,
    draw_key,
    keyed,
    uniform,
    whole,
    within,
)
from ipt_platform.data.degradations.fractal import Map
from ipt_platform.data.degradations.frame import Frame

_SHIFT = 4
"""Corners are given to OpenCV in parts of 2^-4 pixel."""

_BLOB_CORNERS = 48
"""Corners of a smooth outline: enough that none shows."""


class Shadow(Degradation):
    """y_c = x_c (1 - M (1 - gamma_c)): where the mask M is one, the share gamma_c of channel c's light is left.

    The illumination model of shadow removal (Le and Samaras, "Shadow Removal via Shadow Image Decomposition", ICCV 2019,
    without its offset). In the shade of the sun there is light of the sky only, so blue keeps more than red. M is one or
    more polygons or smooth blobs, laid out over the array it is applied to, with an edge (penumbra) that grows softer with
    the distance from what casts the shadow.
    """

    name: ClassVar[str] = "shadow"

    gamma: Annotated[Draw, within(0, 1)] = uniform(0.3, 0.7)
    """Share of its light that green keeps in full shade; 1 is no shadow."""
    tint: Annotated[Draw, within(0, 0.5)] = uniform(0.0, 0.15)
    """How much more of it blue keeps, and how much less red: gamma (1 +/- tint)."""
    count: Annotated[Draw, whole, within(1, 8)] = constant(1)
    """Number of shadows; where they cross, shade is shade."""
    size: Annotated[Draw, within(0.05, 2)] = uniform(0.3, 0.7)
    """Radius of a shadow in sides (the shorter one) of the array."""
    straight: float = Field(0.5, ge=0, le=1)
    """Probability that an outline is a polygon, as of a house or a post, and not a smooth blob."""
    softness: Annotated[Draw, within(0.5, 100)] = uniform(1, 8)
    """Width in pixels of the penumbra where it is sharpest, between a quarter and three quarters of the shade."""
    growth: Annotated[Draw, within(0, 200)] = uniform(0, 20)
    """How much wider, in pixels, the penumbra is at the far end of the array."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw what is left of the light (red, green, blue), the edge, its direction in radians, and the outlines' key."""
        gamma, tint = self.gamma.sample(rng), self.tint.sample(rng)
        return {
            "gamma": [gamma * (1 - tint), gamma, min(1.0, gamma * (1 + tint))],
            **{field: getattr(self, field).sample(rng) for field in ("count", "size", "softness", "growth")},
            "straight": self.straight,
            "away": float(rng.uniform(0, 2 * np.pi)),
            "key": draw_key(rng),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Cast the drawn shadow over the picture."""
        mask = shadow_mask(clean.shape[0], clean.shape[1], params)
        # Each channel's factor from the one mask: by -(1 - gamma) M + 1.
        channels = np.array([(gamma - 1, 1) for gamma in params["gamma"]])
        shaded = np.asarray(cv2.transform(mask[..., None], channels), np.float32)
        shaded *= clean
        return shaded


def shadow_mask(height: int, width: int, params: Params) -> Map:
    """The mask M of full shade, half shade and light.

    M = (1-w) near + w far: the outlines under a narrow and a wide blur, mixed by a ramp w from one end of the array to
    the other.

    Args:
        height: rows.
        width: columns.
        params: what `Shadow.draw` returned.

    Returns:
        [height, width] float32 in [0, 1].
    """
    rng = keyed(params["key"])
    shade = np.zeros((height, width), np.uint8)
    for _ in range(int(params["count"])):
        radius = params["size"] * min(height, width) * rng.uniform(0.7, 1.3)
        middle = rng.random(2) * (width, height)
        corners = np.rint((middle + radius * _outline(params["straight"], rng)) * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(shade, [corners], (255,), cv2.LINE_AA, _SHIFT)
    sharp = np.divide(shade, 255, dtype=np.float32)
    mask = _soften(sharp, params["softness"])
    if params["growth"] > 0:
        far = _soften(sharp, params["softness"] + params["growth"])
        far -= mask
        far *= _ramp(height, width, params["away"])
        mask += far
    return np.clip(mask, 0, 1, out=mask)


def _outline(straight: float, rng: np.random.Generator) -> np.ndarray:
    """[N, 2] corners (column, row) round the middle, in radii: drawn out and turned at random."""
    if rng.random() < straight:
        count = int(rng.integers(3, 8))
        angles = (np.arange(count) + rng.uniform(-0.35, 0.35, count)) * (2 * np.pi / count)
        reach = rng.uniform(0.6, 1.2, count)
    else:
        angles = np.arange(_BLOB_CORNERS) * (2 * np.pi / _BLOB_CORNERS)
        waves = np.arange(2, 7)[:, None]
        swell = rng.uniform(-0.5, 0.5, (5, 1)) / waves**0.7
        reach = np.maximum(0.2, 1 + (swell * np.cos(waves * angles + rng.uniform(0, 2 * np.pi, (5, 1)))).sum(axis=0))
    slim, turn = rng.uniform(0.35, 1.0), rng.uniform(0, 2 * np.pi)
    along, across = reach * np.cos(angles), slim * reach * np.sin(angles)
    cosine, sine = np.cos(turn), np.sin(turn)
    return np.stack((along * cosine - across * sine, along * sine + across * cosine), axis=1)


def _soften(sharp: Map, width: float) -> Map:
    """Blur by about a Gaussian whose blurred step has the width between its quarters; wide ones by boxes, thrice."""
    # A blurred step goes from a quarter to three quarters within 1.349 standard deviations.
    sigma = width / 1.349
    if sigma < 4:
        return np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    # Three boxes of n pixels have the variance (n^2 - 1) / 4.
    side = 2 * round((np.sqrt(4 * sigma**2 + 1) - 1) / 2) + 1
    for _ in range(3):
        sharp = np.asarray(cv2.blur(sharp, (side, side), borderType=cv2.BORDER_REPLICATE), np.float32)
    return sharp


def _ramp(height: int, width: int, away: float) -> Map:
    """[height, width] from 0 at one end of the array to 1 at the other, along a direction in radians."""
    rows, columns = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    sine, cosine = np.sin(away), np.cos(away)
    norm = abs(sine) + abs(cosine)
    return (0.5 + sine / norm * rows).astype(np.float32)[:, None] + (cosine / norm * columns).astype(np.float32)
