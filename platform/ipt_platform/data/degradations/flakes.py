"""Soft uneven flakes by the hundred, drawn in one go, each drawn out along its fall."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.boxes import places
from ipt_platform.data.degradations.fractal import Map

LOBE = 0.2
"""Largest share by which a lobe lifts or sinks the outline of a flake."""

_PIXELS_AT_ONCE = 1 << 18
"""Pixels round flakes drawn in one go: bounds memory where a picture is large or the snow is heavy."""

_OPAQUE = np.float32(0.999)
"""No flake hides everything, so that what covers two flakes can still be told from what covers one."""


class Flakes(NamedTuple):
    """N flakes; all [N] but the lobes.

    Attributes:
        top: row of the middle, in pixels; 0 is the centre of the first row.
        left: column of the middle, likewise.
        radius: to where a flake fades out, in pixels.
        tilt: direction of its fall in radians from downwards.
        fall: pixels that it falls during the exposure.
        peak: its cover, where it is densest.
        softness: share of the radius over which its cover rises.
        lobes: [2, N] how far two and three bumps lift its outline, as shares of the radius.
    """

    top: NDArray[np.float64]
    left: NDArray[np.float64]
    radius: NDArray[np.float64]
    tilt: NDArray[np.float64]
    fall: NDArray[np.float64]
    peak: NDArray[np.float64]
    softness: NDArray[np.float64]
    lobes: NDArray[np.float64]

    def take(self, which: slice) -> Self:
        """Some of the flakes."""
        return type(self)(*(values[..., which] for values in self))


def let_through(flakes: Flakes, height: int, width: int) -> Map:
    """How much flakes let through, each what its own cover leaves of what the others do.

    Args:
        flakes: what to draw.
        height: rows.
        width: columns.

    Returns:
        [height, width] float32 in (0, 1], 1 where there is no flake.
    """
    through = np.ones(height * width, np.float32)
    area = np.square(2 * (1 + 2 * LOBE) * flakes.radius + flakes.fall + 1)
    chunk = (np.cumsum(area) / _PIXELS_AT_ONCE).astype(np.int64)
    for number in range(chunk[-1] + 1 if len(chunk) else 0):
        part = flakes.take(slice(*np.searchsorted(chunk, (number, number + 1))))
        index, cover = cover_of(part, height, width)
        np.multiply.at(through, index, 1 - np.minimum(cover, _OPAQUE))
    return through.reshape(height, width)


def cover_of(flakes: Flakes, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The pixels under flakes, flake by flake.

    A flake is a disc whose radius swells with the bearing b from its fall, r (1 + l2 cos 2b + l3 cos 3b), moved along the
    fall. Its cover rises smoothly, by 3 u^2 - 2 u^3, from its outline inwards.

    Args:
        flakes: which.
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        number of the pixel and cover of it, [M] each.
    """
    cosine, sine, half = np.cos(flakes.tilt), np.sin(flakes.tilt), flakes.fall / 2
    outline = flakes.radius * (1 + np.abs(flakes.lobes).sum(axis=0))
    high = np.abs(half * cosine)
    # Row by row of each flake, which spans no more than a disc does that lies between the ends of the fall.
    row, flake = places(flakes.top, outline + high, height)
    down = row - flakes.top.take(flake)
    beyond = np.maximum(0, np.abs(down) - high.take(flake))
    span = np.sqrt(np.maximum(0, np.square(outline).take(flake) - beyond * beyond)) + np.abs(half * sine).take(flake)
    column, of = places(flakes.left.take(flake), span, width)
    table = np.empty((10, len(cosine)), np.float32)
    table[0], table[1], table[2], table[3], table[4] = flakes.left, cosine, sine, half, 1 / flakes.radius
    table[5:7] = flakes.lobes
    # The edge is never sharper than a pixel; a flake smaller than that stays faint.
    table[7] = 1 / np.maximum(flakes.softness, 1.2 / flakes.radius)
    table[8] = flakes.peak
    rows = table.take(flake, axis=1)
    rows[9] = down
    left, cosine, sine, half, inverse, two, three, slope, peak, down = rows.take(of, axis=1)
    right = np.subtract(column, left, dtype=np.float32)
    along = down * cosine
    along += right * sine
    right *= cosine
    right -= down * sine
    along -= np.minimum(np.maximum(along, -half), half)
    distance = np.sqrt(along * along + right * right)
    distance += np.float32(1e-6)
    # cos 2b and cos 3b from cos b, which is along / distance.
    along /= distance
    twice = 2 * along * along - 1
    three *= along * (2 * twice - 1)
    three += two * twice
    three += 1
    distance *= inverse
    distance /= three
    rise = np.subtract(1, distance, out=distance)
    rise *= slope
    np.clip(rise, 0, 1, out=rise)
    return row.take(of) * width + column, peak * (rise * rise * (3 - 2 * rise))
