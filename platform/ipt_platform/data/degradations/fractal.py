"""Smooth noise over a picture, the same for a crop as for the whole: fog is not even, and no screen is quite flat.

The noise at the places `rows` and `columns` of a picture is `spline(rows) @ lattice(key) @ spline(columns).T`.
"""

import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import keyed

Map = NDArray[np.float32]
"""float32 [H, W]."""

CELLS = 12
"""Cells of the finest lattice along either side of the whole picture."""

POINTS = CELLS + 3
"""Lattice points along a side: a cubic spline needs one more before the picture and two behind it."""

_OCTAVES = ((3, 4 / 7), (6, 2 / 7), (CELLS, 1 / 7))
"""Cells and amplitude of the octaves, each of half the amplitude and twice the frequency of the one before."""

_NUMBERS = sum((cells + 3) ** 2 for cells, _ in _OCTAVES)
"""Lattice points of all octaves."""

_BASIS = np.array(((1, 4, 1, 0), (-3, 0, 3, 0), (3, -6, 3, 0), (-1, 3, -3, 1)), np.float32) / 6
"""Uniform cubic B-spline: shares of four lattice points (columns) by powers of the place between them (rows)."""


def unit_places(size: int, whole: int, start: int) -> NDArray[np.float32]:
    """Where pixels lie along one side of the whole picture.

    Reflected context lies outside the picture; its places are folded back, so it gets what belongs to what it reflects.

    Args:
        size: pixels of the array along that side.
        whole: pixels of the whole picture along it.
        start: place of the array's first pixel in the whole picture.

    Returns:
        [size] float32 in [0, 1]; a pixel's place is its middle.
    """
    at = (np.arange(size) + (start + 0.5)) / whole
    if start < 0 or start + size > whole:
        at %= 2
        at = np.minimum(at, 2 - at)
    return at.astype(np.float32)


def lattice(key: int) -> Map:
    """Draw three octaves of noise as one lattice of spline points.

    The coarse octaves are laid out on the lattice of the finest, so that spreading over the pixels is done once.

    Args:
        key: of the generator that fills them.

    Returns:
        [POINTS, POINTS] float32 in [0, 1].
    """
    numbers = keyed(key).random(_NUMBERS, dtype=np.float32)
    points, begin = np.zeros((POINTS, POINTS), np.float32), 0
    for (cells, amplitude), spread in zip(_OCTAVES, _SPREADS, strict=True):
        end = begin + (cells + 3) ** 2
        octave = numbers[begin:end].reshape(cells + 3, cells + 3) * np.float32(amplitude)
        points += octave if spread is None else spread @ octave @ spread.T
        begin = end
    return points


def spline(at: NDArray, cells: int = CELLS) -> Map:
    """Shares of the lattice points in each place, by the uniform cubic B-spline.

    Args:
        at: [N] places in [0, 1].
        cells: of the lattice along that side.

    Returns:
        [N, cells+3] float32; rows sum to one.
    """
    place = at.astype(np.float32) * np.float32(cells)
    cell = np.minimum(place.astype(np.int64), cells - 1)
    x = place - cell
    powers = np.empty((4, len(at)), np.float32)
    powers[0] = 1
    powers[1] = x
    np.multiply(powers[1], powers[1], out=powers[2])
    np.multiply(powers[2], powers[1], out=powers[3])
    weights = np.zeros((len(at), cells + 3), np.float32)
    first = np.arange(0, weights.size, cells + 3) + cell
    weights.ravel()[first[:, None] + np.arange(4)] = powers.T @ _BASIS
    return weights


_SPREADS = [None if cells == CELLS else spline(np.clip(np.arange(-1, CELLS + 2) / CELLS, 0, 1), cells) for cells, _ in _OCTAVES]
"""For each coarser octave the shares of its lattice points in the points of the finest lattice."""
