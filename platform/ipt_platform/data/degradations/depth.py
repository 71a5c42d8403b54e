"""A plausible depth for a photograph that comes without one: far at the top, sloped, cloudy, in steps at its edges.

Everything is a function of the place in the whole picture (`Frame`) and of the pixels within `REACH`, so a crop with
that margin gets the depth which the whole picture would have given it. Hence no normalisation by a crop's own extremes.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import Frame, Picture, keyed

Map = NDArray[np.float32]
"""float32 [H, W]."""

_RADIUS = 10
_EPSILON = 0.05
_CELLS = 12
_COARSER = (3, 6)

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
    # Reflected context lies outside the frame; folding its coordinates back gives it the depth of what it reflects.
    rows = _fold((np.arange(clean.shape[0]) + frame.top + 0.5) / frame.height)
    columns = _fold((np.arange(clean.shape[1]) + frame.left + 0.5) / frame.width)
    sine, cosine = np.sin(layout.angle), np.cos(layout.angle)
    along_rows = layout.vertical * (1 - rows) + layout.slope * (0.5 + sine * (rows - 0.5) / (abs(sine) + abs(cosine)))
    along_columns = layout.slope * cosine * (columns - 0.5) / (abs(sine) + abs(cosine))
    depth = along_rows.astype(np.float32)[:, None] + along_columns.astype(np.float32)
    if layout.clouds > 0:
        depth += np.float32(layout.clouds) * fractal(rows, columns, layout.key)
    if layout.objects != 0:
        depth += np.float32(layout.objects) * (smooth_luminance(clean) - np.float32(0.5))
    return np.clip(depth, 0, 1, out=depth)


def fractal(rows: NDArray, columns: NDArray, key: int) -> Map:
    """Smooth noise in three octaves, each of half the amplitude and twice the frequency of the one before.

    The coarse octaves are laid out on the lattice of the finest, which is then spread over the pixels once.

    Args:
        rows: [H] coordinates in [0, 1] of the whole picture.
        columns: [W] likewise.
        key: of the generator that fills the lattices.

    Returns:
        [H, W] float32 in [0, 1].
    """
    rng = keyed(key)
    lattice = rng.random((_CELLS + 3, _CELLS + 3), dtype=np.float32) * np.float32(1 / 7)
    for amplitude, (cells, spread) in zip((4 / 7, 2 / 7), _SPREADS.items(), strict=True):
        coarse = rng.random((cells + 3, cells + 3), dtype=np.float32) * np.float32(amplitude)
        lattice += spread @ coarse @ spread.T
    return np.asarray(_spline(rows, _CELLS) @ lattice @ _spline(columns, _CELLS).T, np.float32)


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
    variance = _box(values * values) - mean * mean
    gain = np.asarray(variance / (variance + np.float32(_EPSILON)), np.float32)
    rest = np.asarray(mean - gain * mean, np.float32)
    return _box(gain) * values + _box(rest)


def _fold(at: NDArray) -> NDArray:
    return 1 - np.abs(1 - np.mod(at, 2))


def _spline(at: NDArray, cells: int) -> Map:
    """[N, cells+3] shares of the lattice points in each coordinate, by the uniform cubic B-spline."""
    place = at * cells
    cell = np.clip(place.astype(np.int64), 0, cells - 1)
    x = place - cell
    square, cube = x * x, x * x * x
    weights = np.zeros((len(at), cells + 3), np.float32)
    point = np.arange(len(at))
    weights[point, cell] = (1 - 3 * x + 3 * square - cube) / 6
    weights[point, cell + 1] = (4 - 6 * square + 3 * cube) / 6
    weights[point, cell + 2] = (1 + 3 * x + 3 * square - 3 * cube) / 6
    weights[point, cell + 3] = cube / 6
    return weights


def _box(values: Map) -> Map:
    size = (2 * _RADIUS + 1, 2 * _RADIUS + 1)
    return np.asarray(cv2.blur(values, size, borderType=cv2.BORDER_REFLECT_101), np.float32)


_SPREADS = {cells: _spline(np.clip(np.arange(-1, _CELLS + 2) / _CELLS, 0, 1), cells) for cells in _COARSER}
"""For each coarser octave the shares of its lattice points in the points of the finest lattice."""
