"""The files of a registry, on a disk or on S3, by the few things that are done with them.

Nothing is ever written over: a file is created whole, by one of those who try at once, and the others are told. That is what
makes two people's work at the same time safe without any server; on S3 it needs conditional writes (`If-None-Match`).
"""

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ipt_platform.checkpoint.durable import sync_folder, write_durable
from ipt_platform.errors import storage_failed
from ipt_platform.storage.files import find, open_file, read_bytes, s3
from ipt_platform.storage.multipart import PART, upload
from ipt_platform.storage.paths import AnyPath, S3Path

SMALL = 1 << 20
"""Bytes that a JSON file of a registry may have."""


@dataclass(frozen=True)
class Files:
    """What lies below a folder, or below a prefix on S3; names are relative to it, with slashes.

    Every method raises InfrastructureError where the storage fails.
    """

    root: AnyPath

    def at(self, name: str) -> AnyPath:
        """Where a file lies."""
        return self.root / name

    def names(self, below: str) -> list[str]:
        """The files below a folder, at any depth, sorted; none where there is no such folder. Hidden ones, which are being
        written, are left out.
        """
        if isinstance(self.root, S3Path):
            prefix = S3Path(self.root.bucket, f"{self._key(below)}/")
            start = len(self._key("") and f"{self._key('')}/")
            return [path.key[start:] for path, _ in s3().list(prefix, deep=True)]
        with _told(self.root):
            found = [Path(folder, file) for folder, _, files in os.walk(self.root / below) for file in files]
            return sorted(path.relative_to(self.root).as_posix() for path in found if not path.name.startswith("."))

    def leavings(self, before: datetime) -> list[str]:
        """What writers that were killed have left half-written, and began before a time; S3 keeps nothing of the kind."""
        if isinstance(self.root, S3Path):
            return []
        with _told(self.root):
            hidden = [path for path in self.root.rglob(".*") if path.is_file() and path.stat().st_mtime < before.timestamp()]
            return sorted(path.relative_to(self.root).as_posix() for path in hidden)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return find(self.at(name)) is not None

    def read(self, name: str, limit: int = SMALL) -> bytes:
        """All bytes of a small file.

        Raises:
            NotFoundError: there is no such file.
            DataError: it has more than `limit` bytes.
        """
        with _told(self.root):
            return read_bytes(self.at(name), limit)

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file, whole and on the disk before this returns; False where there is one of other bytes already."""
        target = self.at(name)
        if isinstance(target, S3Path):
            # When the answer to a request got lost and it was sent again, the object in the way is our own.
            return s3().put(target, data, new=True) or s3().read_whole(target, max(SMALL, len(data))) == data
        with _told(target):
            return self._link(target, data) or target.read_bytes() == data

    def add(self, name: str, file: Path) -> None:
        """Copy a file of this machine to a new one, whole; one of the same bytes that is there already is left as it is.

        Raises:
            RefusedError: one of other bytes is there (on S3).
        """
        target = self.at(name)
        if isinstance(target, S3Path):
            upload(s3(), file, target)
        else:
            self.create(name, file.read_bytes())

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; they need not be there."""
        for name in names:
            target = self.at(name)
            if isinstance(target, S3Path):
                s3().delete(target)
                continue
            with _told(target):
                target.unlink(missing_ok=True)

    @contextmanager
    def local(self, below: str) -> Iterator[Path]:
        """A folder on this machine that holds what lies below a folder: itself, or a copy that is removed at the end."""
        if isinstance(self.root, Path):
            yield self.root / below
            return
        with tempfile.TemporaryDirectory(prefix="ipt-registry-") as folder:
            for name in self.names(below):
                self._fetch(name, Path(folder, name.removeprefix(f"{below}/")))
            yield Path(folder)

    def _fetch(self, name: str, to: Path) -> None:
        source = self.at(name)
        found = find(source)
        assert found  # it was listed, and nothing is written over
        to.parent.mkdir(parents=True, exist_ok=True)
        with open_file(source, found) as stream, to.open("wb") as out:
            while data := stream.read(PART):
                out.write(data)

    def _link(self, target: Path, data: bytes) -> bool:
        """A hard link under the final name is created whole, or not at all where the name is taken."""
        self._make_folder(target.parent)
        temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
        try:
            write_durable(temporary, data)
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
        return True

    def _make_folder(self, folder: Path) -> None:
        missing = [folder, *folder.parents]
        missing = [each for each in missing if not each.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        for each in missing:
            sync_folder(each.parent)

    def _key(self, below: str) -> str:
        assert isinstance(self.root, S3Path)
        return "/".join(part for part in (self.root.key, below) if part)


@contextmanager
def _told(where: AnyPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_failed(error, where) from error
