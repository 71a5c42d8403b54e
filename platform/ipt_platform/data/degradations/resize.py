"""Resizing from its definition: every pixel of the result is a weighted sum of pixels of the source, axis by axis.

`imresize` is the resizing that super-resolution is measured with. The parts of it take any places of any pixels, so
that a crop can be resized on the grid of the whole picture.

Sums are made term by term in one order, by elementwise arithmetic: a pixel has the same bits in a crop, in the whole
picture and on every machine, so what is rounded afterwards is rounded alike.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 17
"""Terms summed at a time: few enough to stay in the cache, and memory does not grow with the picture."""


class Filter(NamedTuple):
    """How much a pixel of the source counts; `step` is the distance of the result's pixels in pixels of the source.

    Attributes:
        reach: pixels of the source to either side that count, by step.
        weight: weights [N, P] of pixels at distances [N, P], by step; those of a pixel are normalised later.
    """

    reach: Callable[[float], float]
    weight: Callable[[NDArray, float], NDArray]


class Taps(NamedTuple):
    """What makes the N pixels of the result along one axis: P places in the source each, and their weights.

    Attributes:
        place: [N, P] int64.
        weight: [N, P] float32; each row sums to one.
    """

    place: NDArray[np.int64]
    weight: NDArray[np.float32]


def cubic(x: NDArray, a: float) -> NDArray:
    """The cubic convolution kernel with slope `a` at 1 (Keys, 1981, uses -0.5): 1 at 0, 0 at 1 and from 2 on."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))


FILTERS = {
    "area": Filter(
        lambda step: (step + 1) / 2,
        # What a pixel and a cell of the result have in common.
        lambda distance, step: np.clip((step + 1) / 2 - np.abs(distance), 0, min(step, 1.0)),
    ),
    "bilinear": Filter(lambda step: 1, lambda distance, step: np.maximum(1 - np.abs(distance), 0)),
    "bicubic": Filter(lambda step: 2, lambda distance, step: cubic(distance, -0.75)),
}
"""How pictures are resized on their way through software, as OpenCV and PyTorch do it: antialiased by area alone."""

IMRESIZE = Filter(lambda step: 2 * max(1.0, step), lambda distance, step: cubic(distance / max(1.0, step), -0.5))
"""MATLAB's bicubic: Keys' kernel, stretched over more pixels where the result has fewer."""


def imresize(picture: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Resize as MATLAB's `imresize(picture, scale)` does a picture of floating-point numbers.

    The default there is bicubic with antialiasing, which super-resolution is trained and measured with. Pixel i of the
    result is centred at (i + 1/2) / scale - 1/2 of the source; borders are mirrored, the edge repeated.

    Args:
        picture: [H, W, C] float32.
        scale: below 1 makes it smaller, above 1 larger.

    Returns:
        [ceil(H * scale), ceil(W * scale), C] float32, not clipped: bicubic overshoots at edges.
    """
    rows, columns = (imresize_taps(np.arange(resized(size, scale)), size, scale) for size in picture.shape[:2])
    return resize(picture, rows, columns)


def imresize_taps(pixels: NDArray[np.int64], size: int, scale: float) -> Taps:
    """What makes these pixels of the result of `imresize` along an axis of `size` pixels."""
    return taps((pixels + 0.5) / scale - 0.5, size, IMRESIZE, 1 / scale)


def resized(size: int, scale: float) -> int:
    """Pixels of an axis after resizing: ceil(size * scale), where a rounding error makes no pixel."""
    return int(np.ceil(size * scale - 1e-9))


def taps(centres: NDArray[np.floating], size: int, kind: Filter, step: float) -> Taps:
    """Places and weights for pixels of a result, along one axis.

    Args:
        centres: [N] where they lie, in pixels of the source; 0 is the centre of its first pixel.
        size: pixels of the source; beyond its ends it is mirrored, the edge repeated.
        kind: the filter.
        step: distance of the result's pixels in pixels of the source.
    """
    reach = kind.reach(step)
    first = np.floor(centres - reach).astype(np.int64)
    place = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
    weight = kind.weight(centres[:, None] - place, step)
    weight /= weight.sum(axis=1, keepdims=True)
    used = weight.any(axis=0)
    place = place[:, used] % (2 * size)
    return Taps(np.minimum(place, 2 * size - 1 - place), weight[:, used].astype(np.float32))


def resize(picture: NDArray[np.float32], rows: Taps, columns: Taps) -> NDArray[np.float32]:
    """Resize along both axes, rows first.

    Args:
        picture: [H, W, C] float32.
        rows: what makes the rows of the result.
        columns: what makes its columns.

    Returns:
        [len(rows), len(columns), C] float32, a new array.
    """
    return turned(resize_turned(picture, rows, columns))


def resize_turned(picture: NDArray[np.float32], rows: Taps, columns: Taps) -> NDArray[np.float32]:
    """As `resize`, but the result is [len(columns), len(rows), C]: turning it back is a cost to save where another resizing
    follows.
    """
    return sum_rows(turned(sum_rows(picture, rows)), columns)


def turned(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """[H, W, C] to [W, H, C], by OpenCV in a sixth of the time of numpy."""
    return np.asarray(cv2.transpose(picture), np.float32).reshape(picture.shape[1], picture.shape[0], -1)


def sum_rows(picture: NDArray[np.float32], rows: Taps) -> NDArray[np.float32]:
    """Resize along the first axis: [H, W, C] to [len(rows), W, C]."""
    lines = picture.reshape(len(picture), -1)
    result = np.empty((len(rows.place), lines.shape[1]), np.float32)
    places, weights = rows.place.T, rows.weight.T[..., None]
    at_once = max(1, _BLOCK // max(1, lines.shape[1] * len(places)))
    for start in range(0, len(result), at_once):
        part = slice(start, start + at_once)
        terms = lines.take(places[:, part], axis=0, mode="clip")
        terms *= weights[:, part]
        np.add.reduce(terms, axis=0, out=result[part])
    return result.reshape(len(result), *picture.shape[1:])
