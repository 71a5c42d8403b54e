"""Points to pixels: each point shares its weight bilinearly between its four neighbours, so its exact place is kept."""

import numpy as np
from numpy.typing import NDArray


def splat(rows: NDArray, columns: NDArray, weights: NDArray, height: int, width: int) -> NDArray[np.float64]:
    """Sum weighted points into an image; what falls outside is dropped.

    A point at (r, c) gives pixel (i, j) the share max(0, 1-|r-i|) * max(0, 1-|c-j|): weight and first moment are kept
    exactly, so a set of points moved by any fraction of a pixel moves the centroid of the image by that fraction.

    Args:
        rows: [N] float, in pixels; 0 is the centre of the first row.
        columns: [N] float, likewise.
        weights: [N] float.
        height: rows of the image.
        width: columns of the image.

    Returns:
        [height, width] float64.
    """
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    # Two spare pixels on each side take the neighbours of border points and, clipped, everything farther out.
    first_row = np.clip(top.astype(np.int64) + 1, -1, height + 1)
    first_column = np.clip(left.astype(np.int64) + 1, -1, width + 1)
    stride = width + 4
    corner = (first_row + 1) * stride + first_column + 1
    index = np.concatenate((corner, corner + 1, corner + stride, corner + stride + 1))
    upper, lower = weights * (1 - down), weights * down
    share = np.concatenate((upper * (1 - right), upper * right, lower * (1 - right), lower * right))
    sums = np.asarray(np.bincount(index, weights=share, minlength=(height + 4) * stride), np.float64)
    return sums.reshape(height + 4, stride)[2 : 2 + height, 2 : 2 + width]
