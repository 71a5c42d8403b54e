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
    row, box = places(top, high, height)
    # Boxes to rows of boxes, and those to pixels.
    column, of = places(left.take(box), wide.take(box), width)
    return row.take(of), column, box.take(of)


def places(middle: NDArray, reach: NDArray, size: int) -> tuple[Numbers, Numbers]:
    """All whole places within reach of N middles on a line, middle by middle.

    Args:
        middle: [N]; 0 is the first place of the line.
        reach: [N] how far each reaches to either side.
        size: places of the line.

    Returns:
        place and number of the middle, int64 [M] each.
    """
    first = np.clip(np.ceil(middle - reach), 0, size)
    counts = np.maximum(0, np.clip(np.floor(middle + reach) + 1, 0, size) - first).astype(np.int64)
    of = np.arange(len(counts)).repeat(counts)
    before = np.cumsum(counts) - counts
    return np.arange(len(of)) + (first.astype(np.int64) - before).take(of), of
