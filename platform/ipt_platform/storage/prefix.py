"""The objects below a prefix on S3, by the few things that a run does with them; names are relative to it, with slashes."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ipt_platform.errors import UsageError
from ipt_platform.storage.files import s3
from ipt_platform.storage.multipart import PART, upload
from ipt_platform.storage.paths import S3Path, any_path

SMALL = 64 << 20
"""Bytes that an object may have which is read at once."""


@dataclass(frozen=True)
class Entry:
    """An object: bytes, the tag (ETag) that other bytes would not have, and when it was written."""

    size: int
    tag: str
    modified: datetime


@dataclass(frozen=True)
class Prefix:
    """Objects below a prefix.

    Every method raises UsageError where the store does not let us, NotFoundError where there is no such bucket or object, and
    InfrastructureError where it did not answer, or failed, as often as it was tried.
    """

    root: S3Path

    def at(self, name: str) -> S3Path:
        """Where an object lies."""
        return self.root / name

    def entries(self, below: str = "") -> dict[str, Entry]:
        """The objects below a name, at any depth, in the order of their names."""
        parts = [part for part in (self.root.key, below) if part]
        prefix = S3Path(self.root.bucket, f"{'/'.join(parts)}/" if parts else "")
        start = len(self.root.key) + 1 if self.root.key else 0
        found = s3().entries(prefix, deep=True)
        return {path.key[start:]: Entry(each["Size"], each["ETag"], each["LastModified"]) for path, each in found}

    def folders(self) -> list[str]:
        """The first parts of names that have more than one."""
        return list(s3().folders(S3Path(self.root.bucket, f"{self.root.key}/" if self.root.key else "")))

    def find(self, name: str) -> Entry | None:
        """What is known of an object, or None."""
        head = s3().head(self.at(name))
        return Entry(head["ContentLength"], head["ETag"], head["LastModified"]) if head else None

    def read(self, name: str, limit: int = SMALL) -> bytes:
        """All bytes of a small object.

        Raises:
            DataError: it has more than `limit` bytes.
        """
        return s3().read_whole(self.at(name), limit)

    def put(self, name: str, data: bytes) -> None:
        """Write an object, or write it anew; no reader ever sees half of one."""
        s3().put(self.at(name), data, new=False)

    def create(self, name: str, data: bytes) -> bool:
        """Write a new object; False where there is one of other bytes already. Of those who try at once, one creates it."""
        # When the answer to a request got lost and it was sent again, the object in the way is our own.
        return s3().put(self.at(name), data, new=True) or self.read(name, max(SMALL, len(data))) == data

    def send(self, name: str, file: Path, there: bool = True) -> None:
        """Upload a file of any size under a new name; one of the same bytes that is there already is left as it is.

        Args:
            name: the object.
            file: what to upload.
            there: False where the name was free just now; this is then not asked again.

        Raises:
            RefusedError: one of other bytes is there.
        """
        upload(s3(), file, self.at(name), there=there)

    def fetch(self, name: str, to: Path) -> tuple[str, int]:
        """Copy an object to a new file of this machine; its folder is made.

        Returns:
            sha256 in hexadecimal, and bytes, of what came.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        with to.open("wb") as out:
            while data := s3().read(self.at(name), size, PART):
                out.write(data)
                digest.update(data)
                size += len(data)
                if len(data) < PART:
                    break
        return digest.hexdigest(), size

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, one after the other; they need not be there."""
        for name in names:
            s3().delete(self.at(name))


def prefix_at(url: str) -> Prefix:
    """The objects below a URL `s3://bucket/prefix`.

    Raises:
        UsageError: it is none.
    """
    path = any_path(url)
    if not isinstance(path, S3Path):
        raise UsageError(f"{url}: expected s3://BUCKET/PREFIX")
    return Prefix(path)
