"""Reading single pictures out of shards, by number and by range."""

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from ipt_platform.data.index import MemberEntry, ShardIndex, load_index
from ipt_platform.errors import DataError

OPEN_FILES = 128


@dataclass(frozen=True)
class Member:
    """A picture as it lies in its shard: still encoded."""

    key: str
    data: bytes


@dataclass(frozen=True)
class Location:
    """Where a picture lies: shard, key, and byte range."""

    shard: Path
    key: str
    offset: int
    size: int


class ShardSet:
    """The pictures of several shards, numbered through from 0 in the order of the paths; of pairs, the clean halves.

    Attributes:
        pairs: how many of the pictures have a degraded half.

    Travels between processes as paths, counts and digests; every process opens files and indexes for itself, when it
    first reads from them. Reading is safe from several threads.
    """

    def __init__(self, shards: Sequence[Path], counts: Sequence[int], digest: str, pairs: int = 0):
        self.shards = tuple(shards)
        self.counts = tuple(counts)
        self.digest = digest
        self.pairs = pairs
        self._setup()

    @classmethod
    def open(cls, shards: Sequence[Path]) -> "ShardSet":
        """Read the indexes of the shards and number their pictures.

        Raises:
            NotFoundError: A shard or its index does not exist.
            DataError: An index is damaged or does not match its tar, or there is no shard.
        """
        if not shards:
            raise DataError("There are no shards to read.")
        paths = [Path(shard).absolute() for shard in shards]
        digest = hashlib.sha256()
        counts = []
        pairs = 0
        for path in paths:
            index = load_index(path)
            counts.append(len(index.members))
            for member in index.members:
                digest.update("".join(f"{part}\0" for part in (member.key, *(file.sha256 for file in member.files))).encode())
            pairs += index.pairs
        return cls(paths, counts, digest.hexdigest(), pairs)

    @property
    def images(self) -> int:
        """Number of pictures."""
        return self._ends[-1]

    def locate(self, index: int) -> Location:
        """Where picture `index` lies.

        Raises:
            IndexError: There is no such picture.
            DataError: The shard or its index has changed since the set was opened.
        """
        number, table, row = self._row(index)
        return Location(self.shards[number], bytes(table.keys[row]).decode(), int(table.offsets[row]), int(table.sizes[row]))

    def locate_degraded(self, index: int) -> Location:
        """Where the degraded half of picture `index` lies.

        Raises:
            IndexError: There is no such picture.
            DataError: It has none; or as `locate`.
        """
        number, table, row = self._row(index)
        key = bytes(table.keys[row]).decode()
        offset, size = table.degraded[row] if len(table.degraded) else (0, 0)
        if not size:
            raise DataError("has no degraded half.")
        return Location(self.shards[number], key, int(offset), int(size))

    def read(self, index: int) -> Member:
        """Read picture `index`.

        Raises:
            IndexError: There is no such picture.
            DataError: The shard is cut off there, or has changed since the set was opened.
        """
        location = self.locate(index)
        return Member(location.key, self.read_range(location))

    def read_range(self, location: Location) -> bytes:
        """Read the bytes of a location.

        Raises:
            DataError: The shard ends before the range does.
        """
        data = self._file(location.shard).read(location.size, location.offset)
        if len(data) < location.size:
            raise DataError(
                f"{location.shard}: cut off: {location.key} should have {location.size} bytes from byte "
                f"{location.offset}, {len(data)} are there."
            )
        return data

    def _row(self, index: int) -> "tuple[int, _Table, int]":
        """Number and table of the shard that holds picture `index`, and its row there."""
        if not 0 <= index < self.images:
            raise IndexError(f"picture {index} of {self.images}")
        number = bisect_right(self._ends, index)
        return number, self._table(number), index - (self._ends[number] - self.counts[number])

    def _table(self, number: int) -> "_Table":
        with self._lock:
            if number not in self._tables:
                index = load_index(self.shards[number])
                if len(index.members) != self.counts[number]:
                    raise DataError(
                        f"{self.shards[number]}: the index changed from {self.counts[number]} to {len(index.members)} "
                        "pictures while it was in use. Start again."
                    )
                self._tables[number] = _Table.of(index)
            return self._tables[number]

    def _file(self, shard: Path) -> "_File":
        with self._lock:
            file = self._files.pop(shard, None) or _File(shard)
            self._files[shard] = file
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)  # closed when its last reader lets go of it
            return file

    def _setup(self) -> None:
        self._ends = list(accumulate(self.counts))
        self._lock = threading.Lock()
        self._tables: dict[int, _Table] = {}
        self._files: OrderedDict[Path, _File] = OrderedDict()

    def __getstate__(self) -> dict:
        return {"shards": self.shards, "counts": self.counts, "digest": self.digest, "pairs": self.pairs}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._setup()


@dataclass(frozen=True)
class _Table:
    """An index in as little memory as it takes: arrays instead of an object for each picture.

    `degraded` is int64 [pictures, 2], offset and size (0: none) of each degraded half, or empty where there are no pairs.
    """

    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    degraded: np.ndarray

    @classmethod
    def of(cls, index: ShardIndex) -> "_Table":
        return cls(
            keys=np.array([member.key.encode() for member in index.members]),
            offsets=np.array([member.offset for member in index.members], np.int64),
            sizes=np.array([member.size for member in index.members], np.int64),
            degraded=np.array([_half(member) for member in index.members] if index.pairs else [], np.int64),
        )


def _half(member: MemberEntry) -> tuple[int, int]:
    return (member.degraded.offset, member.degraded.size) if member.degraded else (0, 0)


class _File:
    """An open file that closes when nobody holds it any more, so that no thread loses it to another while it reads."""

    def __init__(self, path: Path):
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of a range; fewer only where the file ends."""
        data = os.pread(self._descriptor, size, offset)
        while len(data) < size:  # a network file system may give less than was asked for
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)
