"""A plausible depth for a photograph that comes without one: far at the top, sloped, cloudy, in steps at its edges.

Everything is a function of the place in the whole picture (`Frame`) and of the pixels within `REACH`, so a crop with
that margin gets the depth which the whole picture would have given it. Hence no normalisation by a crop's own extremes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from ipt_platform.data.degradations.base import Frame, Picture
from ipt_platform.data.degradations.fractal import POINTS, Map, lattice, spline, unit_places

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
        [H, W] float32 in [0, 1].
    """
    depth = _lie_of_the_land(clean.shape[0], clean.shape[1], layout, frame)
    if layout.objects != 0:
        objects = smooth_luminance(clean)
        objects *= np.float32(layout.objects)
        depth += objects
    return np.clip(depth, 0, 1, out=depth)


def smooth_luminance(picture: Picture) -> Map:
    """Luminance after a self-guided filter: flat within objects, stepped at their outlines.

    Args:
        picture: [H, W, 3] float32 in [0, 1].

    Returns:
        [H, W] float32 in [0, 1].
    """
    return self_guided(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.float32))


def self_guided(values: Map) -> Map:
    """The guided filter with a map as its own guide: texture goes, steps stay; looks `REACH` far.

    Args:
        values: [H, W] float32, of about unit range.

    Returns:
        [H, W] float32.
    """
    mean = _box(values)
    gain = np.asarray(cv2.sqrBoxFilter(values, -1, _WINDOW, borderType=cv2.BORDER_REFLECT_101), np.float32)
    gain -= mean * mean
    gain /= gain + _EPSILON
    mean -= gain * mean
    smooth = _box(gain)
    smooth *= values
    smooth += _box(mean)
    return smooth


def _lie_of_the_land(height: int, width: int, layout: DepthLayout, frame: Frame) -> Map:
    """[height, width] all of the depth that does not depend on what the picture shows, less half of `objects`.

    Each part is a sum of products of something of the row and something of the column; so one product of matrices is all.
    """
    rows, columns = unit_places(height, frame.height, frame.top), unit_places(width, frame.width, frame.left)
    sine, cosine = np.sin(layout.angle), np.cos(layout.angle)
    plane = layout.slope / (abs(sine) + abs(cosine))
    of_rows, of_columns = np.ones((height, POINTS + 2), np.float32), np.ones((POINTS + 2, width), np.float32)
    of_rows[:, -2] = layout.vertical * (1 - rows) + plane * sine * (rows - 0.5) + (layout.slope - layout.objects) / 2
    of_columns[-1] = plane * cosine * (columns - 0.5)
    if layout.clouds > 0:
        of_rows[:, :POINTS] = spline(rows)
        of_columns[:POINTS] = (np.float32(layout.clouds) * lattice(layout.key)) @ spline(columns).T
        return of_rows @ of_columns
    return of_rows[:, -2:] @ of_columns[-2:]


def _box(values: Map) -> Map:
    return np.asarray(cv2.blur(values, _WINDOW, borderType=cv2.BORDER_REFLECT_101), np.float32)


_WINDOW = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
