"""The pixels of many small boxes in one go, each box as large as it is: drops and flakes come in all sizes."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def box_pixels(
    top: NDArray, left: NDArray, high: NDArray, wide: NDArray, height: int, width: int
) -> tuple[Numbers, Numbers, Numbers]:
    """All pixels of an array that lie in N boxes, box by box and row by row; one in several boxes comes for each.

    Args:
        top: [N] middles of the boxes, in pixels; 0 is the centre of the first row.
        left: [N] likewise.
        high: [N] how far the boxes reach up and down.
        wide: [N] how far they reach to either side.
        height: rows of the array.
        width: columns of the array.

    Returns:
        row, column and number of the box, int64 [M] each.
    """
    first_row, rows = _span(top, high, height)
    first_column, columns = _span(left, wide, width)
    # Boxes to rows of boxes, and those to pixels: repeating is several times as fast as dividing.
    box = np.repeat(np.arange(len(rows)), rows)
    row = _count_up(first_row, rows)
    of = np.repeat(box, columns[box])
    return np.repeat(row, columns[box]), _count_up(first_column[box], columns[box]), of


def _span(middle: NDArray, reach: NDArray, size: int) -> tuple[Numbers, Numbers]:
    """First pixel and number of pixels within reach of the middles, inside the array."""
    first = np.clip(np.ceil(middle - reach), 0, size).astype(np.int64)
    end = np.clip(np.floor(middle + reach) + 1, 0, size).astype(np.int64)
    return first, np.maximum(0, end - first)


def _count_up(first: Numbers, counts: Numbers) -> Numbers:
    """`first[i], first[i] + 1, ...`, `counts[i]` of them, for one i after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
