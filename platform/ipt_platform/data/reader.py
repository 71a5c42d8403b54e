"""Reading single pictures out of shards, by number and by range."""

import hashlib
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from ipt_platform.data.index import OPENERS, MemberEntry, ShardIndex, find_shard, load_index, load_indexes
from ipt_platform.data.ordered import ordered_map
from ipt_platform.errors import BadPictureError, DataError, InfrastructureError
from ipt_platform.storage.files import read_range
from ipt_platform.storage.paths import AnyPath, S3Path
from ipt_platform.storage.ranges import Range, RangeCache

OPEN_FILES = 128
CACHE_BYTES = 128_000_000


@dataclass(frozen=True)
class Member:
    """A picture as it lies in its shard: still encoded."""

    key: str
    data: bytes


@dataclass(frozen=True)
class Location:
    """Where a picture lies: shard, key, and byte range."""

    shard: AnyPath
    key: str
    offset: int
    size: int

    @property
    def range(self) -> Range | None:
        """Its bytes, where the shard is on S3."""
        return Range(self.shard, self.offset, self.size) if isinstance(self.shard, S3Path) else None


class ShardSet:
    """The pictures of several shards, numbered through from 0 in the order of the paths; of pairs, the clean halves.

    Attributes:
        pairs: how many of the pictures have a degraded half.

    Travels between processes as paths, counts and digests; every process opens files and indexes for itself, when it
    first reads from them. Reading is safe from several threads. A shard on S3 is pinned by the tag it had when the set was
    opened: one that has changed since is never read as if it had not.
    """

    def __init__(
        self,
        shards: Sequence[AnyPath],
        counts: Sequence[int],
        digest: str,
        pairs: int = 0,
        tags: Sequence[str] = (),
        cache_bytes: int = CACHE_BYTES,
    ):
        self.shards = tuple(shards)
        self.counts = tuple(counts)
        self.digest = digest
        self.pairs = pairs
        self.tags = tuple(tags)
        self.cache_bytes = cache_bytes
        self._setup()

    @classmethod
    def open(cls, shards: Sequence[AnyPath], cache_bytes: int = CACHE_BYTES) -> "ShardSet":
        """Read the indexes of the shards and number their pictures.

        Args:
            shards: Paths of the tars.
            cache_bytes: Bytes of what was read from S3 that each process keeps, those fetched ahead of use included; 0:
                none are kept, and none fetched ahead.

        Raises:
            NotFoundError: A shard or its index does not exist.
            DataError: An index is damaged or does not match its tar, or there is no shard or no picture.
        """
        if not shards:
            raise DataError("There are no shards to read.")
        paths = [shard if isinstance(shard, S3Path) else Path(shard).absolute() for shard in shards]
        digest = hashlib.sha256()
        counts = []
        tags = []
        pairs = 0
        tables = {}
        for number, (found, index) in enumerate(load_indexes(paths)):
            counts.append(len(index.members))
            tags.append(found.tag)
            if found.tag:  # it took a while to fetch
                tables[number] = _Table.of(index)
            for member in index.members:
                digest.update("".join(f"{part}\0" for part in (member.key, *(file.sha256 for file in member.files))).encode())
            pairs += index.pairs
        if not any(counts):
            others = f" and {len(paths) - 1} more shards" if len(paths) > 1 else ""
            raise DataError(
                f"There is no picture in {paths[0]}{others}. Pack a folder that holds some with `ipt-platform data pack`."
            )
        opened = cls(paths, counts, digest.hexdigest(), pairs, tags if any(tags) else (), cache_bytes)
        opened._tables = tables
        return opened

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
        return Location(self.shards[number], table.key(row), int(table.offsets[row]), int(table.sizes[row]))

    def locate_degraded(self, index: int) -> Location:
        """Where the degraded half of picture `index` lies.

        Raises:
            IndexError: There is no such picture.
            BadPictureError: It has none.
            DataError: As `locate`.
        """
        number, table, row = self._row(index)
        offset, size = table.degraded[row] if len(table.degraded) else (0, 0)
        if not size:
            raise BadPictureError("half-missing", "has no degraded half.")
        return Location(self.shards[number], table.key(row), int(offset), int(size))

    def read(self, index: int) -> Member:
        """Read picture `index`.

        Raises:
            IndexError: There is no such picture.
            DataError: The shard is cut off there, or has changed since the set was opened.
        """
        location = self.locate(index)
        return Member(location.key, self.read_range(location))

    def read_degraded(self, index: int) -> Member:
        """Read the degraded half of picture `index`.

        Raises:
            IndexError, DataError: As `locate_degraded` and `read`.
        """
        location = self.locate_degraded(index)
        return Member(location.key, self.read_range(location))

    def prefetch(self, indices: Iterable[int], degraded: bool = False) -> None:
        """Begin to fetch pictures that will be read soon, those that lie near each other by one request.

        For what is on S3; does nothing where all shards are on disks.

        Args:
            indices: Numbers of the pictures.
            degraded: Also their degraded halves.

        Raises:
            IndexError, DataError: As `locate`.
        """
        if not self._tags:
            return
        wanted = list(indices)
        missing = sorted({bisect_right(self._ends, index) for index in wanted} - self._tables.keys())
        for number, table in zip(missing, ordered_map(self._load_table, missing, OPENERS, OPENERS), strict=True):
            self._tables[number] = table
        locations = [self.locate(index) for index in wanted]
        for index in wanted if degraded else ():
            with suppress(BadPictureError):  # a half that is missing will be missed when it is read
                locations.append(self.locate_degraded(index))
        self._ranges.prefetch(location.range for location in locations if location.range)

    def read_range(self, location: Location) -> bytes:
        """Read the bytes of a location.

        Raises:
            BadPictureError: The shard ends before the range does.
            DataError: It has changed on S3 since the set was opened.
            InfrastructureError: The store failed as often as it was tried, or the disk did.
        """
        try:
            data = self._ranges.read(location.range) if location.range else self._read_file(location)
        except InfrastructureError as error:
            raise InfrastructureError(f"picture {location.key}: {error}") from error
        if len(data) < location.size:
            raise BadPictureError(
                "cut-off",
                f"{location.shard}: cut off: {location.key} should have {location.size} bytes from byte "
                f"{location.offset}, {len(data)} are there.",
            )
        return data

    def _row(self, index: int) -> "tuple[int, _Table, int]":
        """Number and table of the shard that holds picture `index`, and its row there."""
        if not 0 <= index < self.images:
            raise IndexError(f"picture {index} of {self.images}")
        number = bisect_right(self._ends, index)
        return number, self._table(number), index - (self._ends[number] - self.counts[number])

    def _table(self, number: int) -> "_Table":
        if number not in self._tables:
            with self._loading:
                if number not in self._tables:
                    self._tables[number] = self._load_table(number)
        return self._tables[number]

    def _load_table(self, number: int) -> "_Table":
        shard = self.shards[number]
        found = find_shard(shard)
        if isinstance(shard, S3Path) and found.tag != self._tags[shard]:
            raise DataError(f"{shard}: changed while it was in use; it is not what it was when it was opened. Start again.")
        index = load_index(shard, found)
        if len(index.members) != self.counts[number]:
            raise DataError(
                f"{self.shards[number]}: the index changed from {self.counts[number]} to {len(index.members)} "
                "pictures while it was in use. Start again."
            )
        return _Table.of(index)

    def _read_file(self, location: Location) -> bytes:
        assert isinstance(location.shard, Path)
        try:
            return self._file(location.shard).read(location.size, location.offset)
        except OSError as error:  # the disk's, or the network's to it: no picture's fault, and no reason to pass it over
            raise InfrastructureError(f"{location.shard}: cannot be read: {error.strerror or error}.") from error

    def _file(self, shard: Path) -> "_File":
        with self._lock:
            file = self._files.pop(shard, None) or _File(shard)
            self._files[shard] = file
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)  # closed when its last reader lets go of it
            return file

    def _fetch(self, wanted: Range) -> bytes:
        return read_range(wanted, self._tags[wanted.file])

    def _setup(self) -> None:
        self._ends = list(accumulate(self.counts))
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._tables: dict[int, _Table] = {}
        tagged = zip(self.shards, self.tags, strict=True) if self.tags else ()
        self._tags = {shard: tag for shard, tag in tagged if isinstance(shard, S3Path)}
        self._ranges = RangeCache(self._fetch, self.cache_bytes)
        self._files: OrderedDict[Path, _File] = OrderedDict()

    def __getstate__(self) -> dict:
        own = ("shards", "counts", "digest", "pairs", "tags", "cache_bytes")
        return {name: getattr(self, name) for name in own}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._setup()


@dataclass(frozen=True)
class _Table:
    """An index in as little memory as it takes: arrays instead of an object for each picture.

    `keys` are those of all pictures, one after another, and `ends` where each of them ends. `degraded` is int64 [pictures, 2],
    offset and size (0: none) of each degraded half, or empty where there are no pairs. 32 bits hold `ends` and `sizes`: neither
    an index nor a picture may have more than 2^30 bytes.
    """

    keys: bytes
    ends: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    degraded: np.ndarray

    @classmethod
    def of(cls, index: ShardIndex) -> "_Table":
        keys = [member.key.encode() for member in index.members]
        return cls(
            keys=b"".join(keys),
            ends=np.cumsum([len(key) for key in keys], dtype=np.uint32),
            offsets=np.array([member.offset for member in index.members], np.int64),
            sizes=np.array([member.size for member in index.members], np.uint32),
            degraded=np.array([_half(member) for member in index.members] if index.pairs else [], np.int64),
        )

    def key(self, row: int) -> str:
        return self.keys[self.ends[row - 1] if row else 0 : self.ends[row]].decode()


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
