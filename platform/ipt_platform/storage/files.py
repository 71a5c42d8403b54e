"""What the platform does with files, wherever they lie.

Paths on a disk need nothing of S3's: it is imported where a path on S3 is met.
"""

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.storage.paths import AnyPath, Found, S3Path
from ipt_platform.storage.ranges import Range

if TYPE_CHECKING:
    from ipt_platform.storage.s3 import S3

BUFFER = 8 << 20
"""A file on S3 that is read through is fetched in pieces of so many bytes."""


def s3() -> "S3":
    """S3 as the environment names it."""
    from ipt_platform.storage.s3 import connect

    return connect()


def find(path: AnyPath) -> Found | None:
    """What is there, or None."""
    if isinstance(path, S3Path):
        return s3().find(path)
    return Found(path.stat().st_size) if path.is_file() else None


def read_bytes(path: AnyPath, limit: int) -> bytes:
    """All bytes of a small file.

    Raises:
        NotFoundError: There is no such file.
        DataError: It has more than `limit` bytes.
    """
    if isinstance(path, S3Path):
        return s3().read_whole(path, limit)
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file.")
    size = path.stat().st_size
    if size > limit:
        raise DataError(f"{path}: has {size} bytes; at most {limit} are allowed.")
    return path.read_bytes()


def write_bytes(path: AnyPath, data: bytes) -> None:
    """Write a small file, or write it anew; no reader ever sees half of one."""
    if isinstance(path, S3Path):
        s3().put(path, data, new=False)
        return
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def read_range(wanted: Range, tag: str = "") -> bytes:
    """Bytes of a range of a file on S3; fewer only where the file ends.

    Raises:
        DataError: The file is no longer the one with this tag.
    """
    return s3().read(wanted.file, wanted.start, wanted.size, tag)


def open_file(path: AnyPath, found: Found) -> BinaryIO:
    """Open a file to read it through; seeking is cheap near the place. What is on S3 is fetched piece by piece."""
    if isinstance(path, S3Path):
        return cast(BinaryIO, io.BufferedReader(_ObjectFile(path, found), BUFFER))
    return path.open("rb")


class _ObjectFile(io.RawIOBase):
    """An object on S3 as a file."""

    def __init__(self, path: S3Path, found: Found):
        self._path, self._found, self._place = path, found, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._found.size}[whence] + offset
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = min(len(buffer), max(0, self._found.size - self._place))
        data = read_range(Range(self._path, self._place, size), self._found.tag)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
