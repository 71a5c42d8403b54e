"""Photographs to stream: packed from a folder, and JPEGs of 1920x1080 made from them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.measure import note
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.pack import pack

WIDTH, HEIGHT = 1920, 1080
SHARDS = 16
"""About so many shards to a set: readers that share out whole shards need more of them than they have workers."""


@dataclass(frozen=True)
class Photos:
    """A set of photographs: the files, and the same files in shards."""

    name: str
    files: tuple[Path, ...]
    shards: tuple[Path, ...]


def packed(name: str, folder: Path, cache: Path) -> Photos:
    """A folder of pictures, packed once into shards below `cache`."""
    files = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")))
    size = sum(path.stat().st_size for path in files)
    shards = cache / f"{name}-{len(files)}-{size}"
    if not shards.exists():
        note(f"{name}: packing {len(files)} pictures")
        pack(folder, shards, shard_size=-(-size // SHARDS))
    return Photos(name, files, tuple(sorted(shards.glob("*.tar"))))


def synthetic(sources: Sequence[Path], count: int, cache: Path) -> Photos:
    """`count` JPEGs made from photographs, always the same: see `_enlarge`. Made once below `cache`."""
    folder = cache / f"1080p-pictures-{count}"
    if not folder.exists():
        note(f"1080p: making {count} pictures from {len(sources)} photographs")
        folder.with_suffix(".part").mkdir(parents=True, exist_ok=True)
        jobs = [(sources[number % len(sources)], number) for number in range(count)]
        for number, jpeg in enumerate(ordered_map(lambda job: _enlarge(*job), jobs, threads=2, ahead=8)):
            (folder.with_suffix(".part") / f"{number:05d}.jpg").write_bytes(jpeg)
        folder.with_suffix(".part").rename(folder)
    return packed("1080p", folder, cache)


def _enlarge(source: Path, number: int) -> bytes:
    """A photograph laid on its side, enlarged to 1920x1080; grain of two sizes gives back what enlarging smooths away, so that
    a file is as large, and as slow to decode, as a camera's.
    """
    rng = np.random.default_rng(number)
    pixels = decode_rgb(source.read_bytes())
    if pixels.shape[0] > pixels.shape[1]:
        pixels = np.rot90(pixels)
    large = cv2.resize(np.ascontiguousarray(pixels), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    coarse = rng.standard_normal((HEIGHT // 2, WIDTH // 2, 3), dtype=np.float32) * 6
    large += cv2.resize(coarse, (WIDTH, HEIGHT)) + rng.standard_normal(large.shape, dtype=np.float32) * 3
    buffer = io.BytesIO()
    Image.fromarray(np.clip(large, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
