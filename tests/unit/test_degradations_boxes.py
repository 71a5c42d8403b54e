"""Pixels of boxes against asking every pixel about every box."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.data.degradations.boxes import box_pixels


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12), height=st.integers(1, 12), width=st.integers(1, 12))
def test_pixels_are_those_that_lie_in_a_box_in_order(seed, count, height, width):
    rng = np.random.default_rng(seed)
    top, left = rng.uniform(-8, 20, (2, count))
    high, wide = rng.uniform(0, 6, (2, count))

    row, column, of = box_pixels(top, left, high, wide, height, width)

    rows, columns = np.arange(height)[:, None], np.arange(width)
    expected = [
        (*pixel, box)
        for box in range(count)
        for pixel in np.argwhere((abs(rows - top[box]) <= high[box]) & (abs(columns - left[box]) <= wide[box]))
    ]
    assert list(zip(row, column, of, strict=True)) == expected
