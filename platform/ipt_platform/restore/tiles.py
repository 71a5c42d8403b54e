"""Pictures of any size by overlapping tiles, without seams.

Every tile is cut with more context than it contributes: of an overlap, the outer part of each tile is thrown away
(there the tile lacks the neighbourhood the whole picture has) and the two tiles are blended over the middle part by a
raised cosine. A model that looks no further than the part thrown away gives exactly the result of the whole picture.

Tiles start at multiples of `ALIGN` pixels (`spec.tiling`); sizes are left as they come (the last tile of a row is what
remains), padding is the model's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ipt_platform.errors import UsageError
from ipt_platform.spec.tiling import DEFAULT_OVERLAP, DEFAULT_TILE, tiling_problem

Restorer = Callable[[torch.Tensor], torch.Tensor]
# Of an overlap, the share thrown away on each side; the rest is blended.
DISCARD = 3 / 8


@dataclass(frozen=True)
class Span:
    """One tile along one axis: pixels `[start, stop)` and the weight of each, all spans summing to one everywhere."""

    start: int
    stop: int
    weight: np.ndarray


@torch.inference_mode()
def restore_tiled(
    model: Restorer,
    image: torch.Tensor,
    tile: int = DEFAULT_TILE,
    overlap: int = DEFAULT_OVERLAP,
    on_tile: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Restore a picture tile by tile; a picture that fits into one tile goes through the model whole.

    Args:
        model: maps `[1, 3, h, w]` to `[1, 3, h, w]` for any h, w up to `tile`.
        image: `[1, 3, H, W]` float32 in [0, 1], on any device; the model is given tiles on the same one.
        tile: longest side given to the model, pixels.
        overlap: pixels two neighbouring tiles share at least, a multiple of 16 and at most half the tile;
            `tile - overlap`, the step from tile to tile, is a multiple of 128. Three eighths of it are thrown away on
            each side: by default 72, a little more than the 64 pixels over which the small backbones attend at once.
        on_tile: called after each tile with (tiles done, tiles in all).

    Returns:
        `[1, 3, H, W]` float32, not clipped.

    Raises:
        UsageError: tile or overlap is not such a number; the message names the nearest tile that is.
    """
    check_sizes(tile, overlap)
    height, width = image.shape[-2:]
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    restored = torch.zeros_like(image, dtype=torch.float32)
    done = 0
    for row in rows:
        for column in columns:
            window = (..., slice(row.start, row.stop), slice(column.start, column.stop))
            weight = torch.from_numpy(np.outer(row.weight, column.weight)).to(image.device, torch.float32)
            restored[window] += model(image[window]).float() * weight
            done += 1
            if on_tile:
                on_tile(done, len(rows) * len(columns))
    return restored


def restore_array(
    model: Restorer,
    picture: np.ndarray,
    device: torch.device | str | None = None,
    tile: int = DEFAULT_TILE,
    overlap: int = DEFAULT_OVERLAP,
    on_tile: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """`restore_tiled` for a picture as numpy holds it: float32 `[H, W, 3]` to float32 `[H, W, 3]`.

    Args:
        model: as in `restore_tiled`, on `device`; only tiles are moved there, the picture stays where it is.
        picture: any size.
        device: where the tiles are computed; the CPU by default.
        tile: as in `restore_tiled`.
        overlap: as in `restore_tiled`.
        on_tile: as in `restore_tiled`.

    Raises:
        UsageError: impossible sizes, or a tile does not fit into the device's memory.
    """
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].contiguous()
    try:
        restored = restore_tiled(lambda part: model(part.to(device)).cpu(), image, tile, overlap, on_tile)
    except torch.OutOfMemoryError as error:
        raise UsageError(f"a tile of {tile} pixels does not fit into the memory of {device}; make tiles smaller") from error
    return restored[0].permute(1, 2, 0).numpy()


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Where the tiles of one axis lie and how much each pixel of each counts (a partition of unity)."""
    steps = max(0, math.ceil((length - tile) / (tile - overlap)))
    # The last tile is what remains, longer than the overlap: moving it back to full length would cost and bring nothing.
    starts = [k * (tile - overlap) for k in range(steps + 1)]
    pieces = [(start, min(start + tile, length)) for start in starts]
    raw = [_weight(start, stop, length, overlap) for start, stop in pieces]
    total = np.zeros(length)
    for (start, stop), weight in zip(pieces, raw, strict=True):
        total[start:stop] += weight
    return [Span(start, stop, weight / total[start:stop]) for (start, stop), weight in zip(pieces, raw, strict=True)]


def _weight(start: int, stop: int, length: int, overlap: int) -> np.ndarray:
    """One inside; at an edge that is not the picture's own: zero, then a raised cosine, over the overlap."""
    discarded = int(overlap * DISCARD)
    blended = overlap - 2 * discarded
    ramp = np.sin((np.arange(blended) + 0.5) / blended * math.pi / 2) ** 2
    edge = np.concatenate([np.zeros(discarded), ramp])
    weight = np.ones(stop - start)
    if start > 0:
        weight[: len(edge)] = edge
    if stop < length:
        weight[-len(edge) :] = edge[::-1]
    return weight


def check_sizes(tile: int, overlap: int) -> None:
    """Raise UsageError unless tiles of this size and overlap can be laid (see `restore_tiled`)."""
    if problem := tiling_problem(tile, overlap):
        raise UsageError(problem[1])
