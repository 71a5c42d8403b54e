"""A plausible depth for a photograph that comes without one: far at the top, sloped, cloudy, in steps at its edges.

Everything is a function of the place in the whole picture (`Frame`) and of the pixels within `REACH`, so a crop with
that margin gets the depth which the whole picture would have given it. Hence no normalisation by a crop's own extremes.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ipt_platform.data.degradations.base import Picture
from ipt_platform.data.degradations.fractal import POINTS, Map, lattice, spline, unit_places
from ipt_platform.data.degradations.frame import Frame, Part, wanted

_RADIUS = 8
_EPSILON = np.float32(0.05)

REACH = 2 * _RADIUS
"""Pixels round a point that its depth depends on: the guided filter averages over `_RADIUS` twice."""


@dataclass(frozen=True)
class DepthLayout:
    """The parts of a depth; `vertical`, `slope` and `clouds` are weights of maps in [0, 1] and should sum to one.

    Attributes:
        vertical: weight of the distance from the bottom of the picture to its top.
        slope: weight of a plane that rises in a direction of its own.
        angle: that direction, in radians.
        clouds: weight of fractal noise.
        objects: how much farther (or, negative, nearer) a white surface stands than a black one.
        key: of the fractal noise.
    """

    vertical: float
    slope: float
    angle: float
    clouds: float
    objects: float
    key: int


def depth_map(clean: Picture, layout: DepthLayout, frame: Frame) -> Map:
    """Lay a depth over a picture: 0 is at the camera, 1 at the horizon.

    d = a (1 - y/H) + b plane(angle) + c fractal + o (L - 1/2), where L is the luminance under an edge-preserving filter
    (He et al., "Guided Image Filtering", TPAMI 2013, the picture guiding itself): texture goes, outlines of objects stay.

    Args:
        clean: [H, W, 3] float32 in [0, 1].
        layout: the parts and their weights.
        frame: where `clean` lies in the whole picture.

    Returns:
        [h, w] float32 in [0, 1]: of all but the frame's context.
    """
    inner = wanted(clean, frame)
    depth = _lie_of_the_land(inner, layout, frame)
    if layout.objects != 0:
        objects = smooth_luminance(clean, inner)
        objects *= np.float32(layout.objects)
        depth += objects
    return np.clip(depth, 0, 1, out=depth)


def smooth_luminance(picture: Picture, inner: Part) -> Map:
    """Luminance after a self-guided filter: flat within objects, stepped at their outlines.

    Args:
        picture: [H, W, 3] float32 in [0, 1].
        inner: the part of it that is asked for.

    Returns:
        [h, w] float32 in [0, 1], of that part.
    """
    return self_guided(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32), inner)


def self_guided(values: Map, inner: Part) -> Map:
    """The guided filter with a map as its own guide: texture goes, steps stay; looks `REACH` far.

    Args:
        values: [H, W] float32, of about unit range.
        inner: the part of it that is asked for.

    Returns:
        [h, w] float32, of that part.
    """
    mean = _box(values)
    gain = np.asarray(cv2.sqrBoxFilter(values, -1, _WINDOW, borderType=cv2.BORDER_REFLECT_101), np.float32)
    gain -= mean * mean
    gain /= gain + _EPSILON
    mean -= gain * mean
    smooth = _box(gain)[inner]
    smooth *= values[inner]
    smooth += _box(mean)[inner]
    return smooth


def _lie_of_the_land(inner: Part, layout: DepthLayout, frame: Frame) -> Map:
    """[h, w] all of the depth that does not depend on what the picture shows, less half of `objects`.

    Each part is a sum of products of something of the row and something of the column; so one product of matrices is all.
    """
    height, width = (side.stop - side.start for side in inner)
    places = np.concatenate(
        (
            unit_places(height, frame.height, frame.top + inner[0].start),
            unit_places(width, frame.width, frame.left + inner[1].start),
        )
    )
    rows, columns = places[:height], places[height:]
    sine, cosine = math.sin(layout.angle), math.cos(layout.angle)
    plane = layout.slope / (abs(sine) + abs(cosine))
    of_rows, of_columns = np.ones((height, POINTS + 2), np.float32), np.ones((POINTS + 2, width), np.float32)
    # vertical (1 - rows) + plane sine (rows - 1/2) + ...
    rise, begin = plane * sine - layout.vertical, layout.vertical + (layout.slope - layout.objects - plane * sine) / 2
    np.multiply(rows, rise, out=of_rows[:, -2])
    of_rows[:, -2] += begin
    of_columns[-1] = plane * cosine * (columns - 0.5)
    if layout.clouds == 0:
        return of_rows[:, -2:] @ of_columns[-2:]
    shares = spline(places)
    of_rows[:, :POINTS] = shares[:height]
    np.matmul(np.float32(layout.clouds) * lattice(layout.key), shares[height:].T, out=of_columns[:POINTS])
    return of_rows @ of_columns


def _box(values: Map) -> Map:
    return np.asarray(cv2.blur(values, _WINDOW, borderType=cv2.BORDER_REFLECT_101), np.float32)


_WINDOW = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
