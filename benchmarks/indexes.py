"""Shards without contents, and what their indexes cost in a process that opens them."""

import hashlib
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import note
from ipt_platform.data.index import SUFFIX, MemberEntry, ShardIndex, write_index
from ipt_platform.data.reader import ShardSet

PER_SHARD = 10_000
MIB = 1 << 20


@contextmanager
def empty_shard() -> Iterator[Path]:
    """A shard without contents: a tar with holes only, and its index."""
    with tempfile.TemporaryDirectory() as folder:
        shard, size = Path(folder, "shard.tar"), 200_704
        with shard.open("wb") as file:
            file.truncate(PER_SHARD * size)
        members = [
            MemberEntry(
                key=f"{i:09d}",
                name=f"{i:09d}.jpg",
                offset=i * size + 512,
                size=150_000,
                width=1920,
                height=1080,
                sha256=hashlib.sha256(str(i).encode()).hexdigest(),
            )
            for i in range(PER_SHARD)
        ]
        write_index(shard, ShardIndex(shard=shard.name, bytes=PER_SHARD * size, members=members))
        yield shard


def opened(shard: Path, number: int) -> dict[str, Any]:
    """Open so many shards of one index in a fresh process, and locate a picture of each."""
    note(f"opening {number} shards of {PER_SHARD:,} pictures")
    folder = shard.parent / str(number)
    folder.mkdir()
    paths = [folder / f"{i:06d}.tar" for i in range(number)]
    for path in paths:
        path.symlink_to(shard)
        Path(f"{path}{SUFFIX}").symlink_to(f"{shard}{SUFFIX}")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_open, paths).result()


def _open(paths: list[Path]) -> dict[str, Any]:
    before, began = _resident(), time.process_time()
    shards = ShardSet.open(paths)
    seconds, highest, between = time.process_time() - began, peak(), _resident()
    began = time.process_time()
    for first in range(0, shards.images, PER_SHARD):
        shards.locate(first)
    located, grown = time.process_time() - began, _resident() - between
    return {
        "pictures": shards.images,
        "open": seconds,
        "peak while opened": highest,
        "kept of it": (between - before) / MIB,
        "locate": located,
        "bytes each": grown / shards.images,
    }


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> float:
    """Largest resident size of this process so far, GiB; the kernel counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
