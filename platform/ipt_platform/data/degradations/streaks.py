"""Straight soft streaks by the hundred, drawn in one go: what drops of rain leave on a picture while it is exposed.

A streak is drawn line by line along its fall, at its exact place: each line's light is shared between the two pixels next
to it.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_LINES_AT_ONCE = 1 << 18
"""Lines of streaks drawn in one go: bounds memory where a picture is large or the rain is heavy."""

_SPARE = 2
"""Lines beyond each side of a layer: they take what falls outside."""


class Streaks(NamedTuple):
    """N streaks; all [N].

    Attributes:
        layer: int, the layer that each is drawn on.
        flat: bool, whether it falls more across than down: then it is drawn by columns, and rows and columns below change
            places.
        row: of its middle, in pixels; 0 is the centre of the first row.
        column: of its middle, likewise.
        length: in pixels.
        tilt: radians by which its direction leaves the way down the rows; between -pi/4 and pi/4, or little more.
        light: of each of its lines, where it is brightest.
        fade: share of its light that it loses towards its upper end.
    """

    layer: NDArray
    flat: NDArray
    row: NDArray
    column: NDArray
    length: NDArray
    tilt: NDArray
    light: NDArray
    fade: NDArray

    def take(self, which: slice | NDArray[np.bool_]) -> Self:
        """Some of the streaks."""
        return type(self)(*(values[which] for values in self))


def draw_streaks(streaks: Streaks, layers: int, height: int, width: int) -> NDArray[np.float32]:
    """Sum streaks into layers of a picture; what falls outside is dropped.

    Light rises within the first and the last quarter of a streak, and the trail behind the drop fades.

    Args:
        streaks: what to draw.
        layers: how many layers there are.
        height: rows of each.
        width: columns of each.

    Returns:
        [layers, height, width] float32.
    """
    canvas = np.zeros((layers, height + 2 * _SPARE, width + 2 * _SPARE), np.float32)
    for flat in (False, True):
        which = streaks.flat == flat
        some = streaks if which.all() else streaks.take(which)
        rows = width if flat else height
        half = some.length * np.cos(some.tilt) / 2
        first = np.maximum(0, np.ceil(some.row - half)).astype(np.int64)
        lines = np.maximum(0, np.minimum(rows, np.floor(some.row + half) + 1) - first).astype(np.int64)
        chunk = np.cumsum(lines) // _LINES_AT_ONCE
        for number in range(chunk[-1] + 1 if len(chunk) else 0):
            part = slice(*np.searchsorted(chunk, (number, number + 1)))
            _add(canvas, flat, some.take(part), first[part], lines[part])
    return canvas[:, _SPARE:-_SPARE, _SPARE:-_SPARE]


def _add(canvas: NDArray[np.float32], flat: bool, streaks: Streaks, first: NDArray[np.int64], lines: NDArray[np.int64]) -> None:
    """Draw on layers with spare lines, from line `first` on so many `lines` of each streak."""
    _, height, width = canvas.shape
    row_step, column_step, columns = (1, width, height) if flat else (width, 1, width)
    of = np.arange(len(lines)).repeat(lines)
    row = np.arange(len(of)) + (first - np.cumsum(lines) + lines).take(of)
    # One table, for many small ones would cost more to look things up in.
    table = np.empty((6, len(lines)), np.float32)
    table[0], table[1], table[2] = streaks.row, streaks.column, 1 / (streaks.length * np.cos(streaks.tilt))
    table[3], table[4] = np.tan(streaks.tilt), streaks.light * streaks.fade
    table[5] = streaks.light - table[4] / 2
    middle, column, slow, slope, trail, light = table.take(of, axis=1)
    step = np.subtract(row, middle, dtype=np.float32)
    # From -1/2 at the upper to 1/2 at the lower end.
    along = slow * step
    trail *= along
    light += trail
    rise = np.abs(along)
    rise *= -4
    rise += 2
    light *= np.clip(rise, 0, 1, out=rise)
    column += slope * step
    left = np.floor(column)
    right = light * (column - left)
    light -= right
    # What falls outside falls on spare lines.
    place = np.clip(left, -_SPARE, columns - 2 * _SPARE).astype(np.int64)
    place *= column_step
    row *= row_step
    place += row
    place += (streaks.layer * (height * width) + _SPARE * (row_step + column_step)).take(of)
    np.add.at(canvas.reshape(-1), place, light)
    place += column_step
    np.add.at(canvas.reshape(-1), place, right)
