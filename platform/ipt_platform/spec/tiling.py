"""Which tiles a picture can be restored by: their side, and what neighbours share."""

import math

ALIGN = 128
"""Tiles start at multiples of so many pixels, so that a model with downsampling steps or windows sees each in the same phase as
in the whole picture."""

DEFAULT_TILE = 704
DEFAULT_OVERLAP = 192


def tiling_problem(tile: int, overlap: int) -> tuple[str, str] | None:
    """What is wrong with tiles of this side and overlap (pixels): which of the two, and a sentence; None: nothing."""
    if overlap < 16 or overlap % 16:
        return "overlap", f"overlap is {overlap} pixels: expected a multiple of 16, at least 16"
    if (tile - overlap) % ALIGN or 2 * overlap > tile:
        steps = max(math.ceil(overlap / ALIGN), round((tile - overlap) / ALIGN), 1)
        return "tile", (
            f"tile is {tile} pixels with an overlap of {overlap}: expected tile - overlap to be a multiple of {ALIGN} "
            f"and at least the overlap; the nearest tile is {overlap + steps * ALIGN}"
        )
    return None
