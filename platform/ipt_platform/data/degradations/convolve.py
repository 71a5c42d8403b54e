"""Convolution of pictures with blur kernels, each kind of kernel in the way that costs least.

What was measured, for 128x128 pixels of three colours: OpenCV takes 10 microseconds and 2 more for each weight that is not
zero, but takes every kernel of 130 weights and more, zeros included, through Fourier transforms that cost a millisecond. So

- few weights, as a path has them, are taken by boxes of less than 130, whose sums add up;
- a product of a column and a row takes one after the other;
- all else goes through Fourier transforms of our own, two colours at a time, in 0.3 milliseconds.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import Picture
from ipt_platform.data.degradations.frame import Frame, wanted

Kernel = NDArray[np.float32]
"""float32 [2R+1, 2R+1]."""

_FEW = 129
"""Weights up to which OpenCV adds up terms, and up to which that is the fastest."""

_TILE = 448
"""Side in pixels of what is transformed at a time: bounds memory where a picture is large."""

_SEPARABLE = 1e-6
"""Share of the largest weight by which a product of column and row may miss a kernel."""


def convolve(picture: Picture, kernel: Kernel, frame: Frame | None = None) -> Picture:
    """Convolve each channel, y[p] = sum_u k[u] x[p-u], reflecting borders without repeating the edge.

    Args:
        picture: [H, W, 3] float32.
        kernel: [2R+1, 2R+1] float32.
        frame: where the picture lies, with its context; None where it has none.

    Returns:
        [h, w, 3] float32, a new array: all but the context.
    """
    rows, columns = wanted(picture, frame)
    if kernel.size == 1:
        return picture[rows, columns] * kernel[0, 0]
    around = _surrounded(picture, rows, columns, len(kernel) // 2)
    if np.count_nonzero(kernel) <= _FEW:
        return _sum_of_boxes(around, kernel)
    sides = _sides(kernel)
    return _convolve_spectra(around, kernel) if sides is None else _convolve_sides(around, *sides)


def boxes(kernel: Kernel) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of boxes that hold each weight which is not zero once, and at most `_FEW` weights in all.

    What is too large is cut in half across its longer side, again and again; halves shrink to what they hold.
    """
    rows, columns = np.nonzero(kernel)
    left = [(rows, columns)]
    while left:
        rows, columns = left.pop()
        top, start = int(rows.min()), int(columns.min())
        high, wide = int(rows.max()) + 1 - top, int(columns.max()) + 1 - start
        if high * wide <= _FEW:
            yield slice(top, top + high), slice(start, start + wide)
            continue
        first = rows < top + high // 2 if high >= wide else columns < start + wide // 2
        left += [(rows[first], columns[first]), (rows[~first], columns[~first])]


def _surrounded(picture: Picture, rows: slice, columns: slice, radius: int) -> Picture:
    """Part of a picture and `radius` pixels round it; what lies beyond the picture is its reflection."""
    height, width = picture.shape[:2]
    above, left = max(0, radius - rows.start), max(0, radius - columns.start)
    below, right = max(0, rows.stop + radius - height), max(0, columns.stop + radius - width)
    part = picture[rows.start - radius + above : rows.stop + radius, columns.start - radius + left : columns.stop + radius]
    if not (above or left or below or right):
        return part
    return np.asarray(cv2.copyMakeBorder(part, above, below, left, right, cv2.BORDER_REFLECT_101), np.float32)


def _sum_of_boxes(around: Picture, kernel: Kernel) -> Picture:
    """The convolution where the whole kernel fits in, box by box of the kernel."""
    height, width = (side - len(kernel) + 1 for side in around.shape[:2])
    # OpenCV correlates; convolution turns the kernel by 180 degrees.
    turned = np.ascontiguousarray(kernel[::-1, ::-1])
    total = None
    for rows, columns in boxes(turned):
        part = around[rows.start : rows.stop + height - 1, columns.start : columns.stop + width - 1]
        # A sum begins at the first pixel of its box, so the last rows and columns of the part belong to no sum.
        sums = cv2.filter2D(part, -1, np.ascontiguousarray(turned[rows, columns]), anchor=(0, 0))[:height, :width]
        # OpenCV adds parts of arrays in a fifth of the time that numpy takes.
        total = np.ascontiguousarray(sums) if total is None else cv2.add(total, sums, dst=total)
    return np.asarray(total, np.float32)


def _sides(kernel: Kernel) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """The column and the row that a kernel is the product of, if it is one."""
    middle = len(kernel) // 2
    row = kernel[middle]
    if kernel[middle, middle] == 0:
        return None
    column = kernel[:, middle] / kernel[middle, middle]
    missed = np.abs(np.outer(column, row) - kernel).max()
    return (column, row) if missed <= _SEPARABLE * kernel.max() else None


def _convolve_sides(around: Picture, column: NDArray[np.float32], row: NDArray[np.float32]) -> Picture:
    radius = len(column) // 2
    turned = np.ascontiguousarray(column[::-1]), np.ascontiguousarray(row[::-1])
    return np.ascontiguousarray(cv2.sepFilter2D(around, -1, turned[1], turned[0])[radius:-radius, radius:-radius], np.float32)


def _convolve_spectra(around: Picture, kernel: Kernel) -> Picture:
    """The convolution where the whole kernel fits in, by the product of Fourier transforms, tile by tile."""
    beyond = len(kernel) - 1
    result = np.empty((around.shape[0] - beyond, around.shape[1] - beyond, 3), np.float32)
    for top in range(0, result.shape[0], _TILE):
        for left in range(0, result.shape[1], _TILE):
            here = result[top : top + _TILE, left : left + _TILE]
            part = around[top : top + here.shape[0] + beyond, left : left + here.shape[1] + beyond]
            here[...] = _convolve_tile(part, kernel)[beyond : len(part), beyond : part.shape[1]]
    return result


def _convolve_tile(part: Picture, kernel: Kernel) -> Picture:
    """The convolution of a part with nothing round it, at least as large as the part; complete from pixel 2R on."""
    height, width = (cv2.getOptimalDFTSize(side) for side in part.shape[:2])
    weights = _extended(kernel, height, width)
    spectrum = _spectrum(np.asarray(cv2.merge((weights, np.zeros_like(weights))), np.float32), len(kernel))
    # Red and green, blue and nothing, as complex numbers. The kernel is real: what it makes of the real part stays real, and of
    # the imaginary part imaginary.
    pairs = [np.empty((height, width, 2), np.float32), np.zeros((height, width, 2), np.float32)]
    cv2.mixChannels([_extended(part, height, width)], pairs, [0, 0, 1, 1, 2, 2])
    convolved = []
    for pair in pairs:
        product = (_spectrum(pair, len(part)) * spectrum).view(np.float32).reshape(height, width, 2)
        convolved.append(cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE))
    result = np.empty((height, width, 3), np.float32)
    cv2.mixChannels(convolved, [result], [0, 0, 1, 1, 2, 2])
    return result


def _extended(part: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A part with zeros below and to the right."""
    below, right = height - part.shape[0], width - part.shape[1]
    return np.asarray(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_CONSTANT), np.float32)


def _spectrum(numbers: NDArray[np.float32], rows: int) -> NDArray[np.complex64]:
    """Fourier transform of complex numbers, [H, W, 2] to [H, W]; below so many rows there are zeros."""
    return np.asarray(cv2.dft(numbers, nonzeroRows=rows), np.float32).view(np.complex64)[..., 0]
