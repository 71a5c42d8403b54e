"""Where a crop lies in its picture, what of it is context, and parts of it."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from numpy.typing import NDArray

Part = tuple[slice, slice]
"""Rows and columns of an array, from a first one up to a last one."""


class Context(NamedTuple):
    """Pixels along each side of an array that are there to be looked at only."""

    above: int = 0
    below: int = 0
    left: int = 0
    right: int = 0


NO_CONTEXT = Context()


@dataclass(frozen=True)
class Frame:
    """Where an array lies in the picture it was cut from, in pixels.

    Attributes:
        height: rows of the whole picture.
        width: columns of the whole picture.
        top: row of the whole picture on which the array's first row lies; negative where reflected context was added.
        left: column of the whole picture on which the array's first column lies; may be negative likewise.
        context: what of the array is there to be looked at only: a degradation gives back what it made of the rest.
    """

    height: int
    width: int
    top: int = 0
    left: int = 0
    context: Context = NO_CONTEXT

    def inner(self, height: int, width: int) -> Part:
        """The part of an array of this size that is not context."""
        above, below, left, right = self.context
        return slice(above, height - below), slice(left, width - right)

    def inside(self, height: int, width: int) -> Part:
        """The part of an array of this size that lies inside the whole picture."""
        return (
            slice(max(0, -self.top), min(height, self.height - self.top)),
            slice(max(0, -self.left), min(width, self.width - self.left)),
        )

    def of_part(self, part: Part, inner: Part) -> "Frame":
        """The frame of a part of the array, with everything in it round `inner` as its context."""
        (rows, columns), (inner_rows, inner_columns) = part, inner
        context = Context(
            above=inner_rows.start - rows.start,
            below=rows.stop - inner_rows.stop,
            left=inner_columns.start - columns.start,
            right=columns.stop - inner_columns.stop,
        )
        return replace(self, top=self.top + rows.start, left=self.left + columns.start, context=context)


def wanted(clean: NDArray, frame: Frame | None) -> Part:
    """The part of a [H, W, ...] picture whose degradation is asked for: all but the context; all where there is no frame."""
    return (frame or Frame(*clean.shape[:2])).inner(*clean.shape[:2])


def grown(part: Part, reach: int, limits: Part) -> Part:
    """A part and what lies up to `reach` pixels round it, within the limits of another part."""
    rows, columns = (
        slice(max(one.start - reach, most.start), min(one.stop + reach, most.stop))
        for one, most in zip(part, limits, strict=True)
    )
    return rows, columns


def seen_from(part: Part, other: Part) -> Part:
    """Where a part of an array lies in another part of it."""
    rows, columns = (slice(one.start - begin.start, one.stop - begin.start) for one, begin in zip(part, other, strict=True))
    return rows, columns
