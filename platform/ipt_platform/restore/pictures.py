"""The pictures that a job restores, by name: those of a folder, of a prefix on S3, or of shards.

A picture's name is its place below the input; of one in a shard, the name of the tar and its own in it. It is also the place of
the restored picture below the output, so it must be one that is harmless there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ipt_platform.data.bad import Bad
from ipt_platform.data.index import MAX_MEMBER_BYTES, load_indexes, plain_name
from ipt_platform.data.scan import PICTURE_SUFFIXES
from ipt_platform.errors import BadPictureError, DataError, InfrastructureError, NotFoundError
from ipt_platform.spec.dataset import find_shards
from ipt_platform.spec.restore_checks import names_shards
from ipt_platform.storage.files import read_bytes, read_range, s3
from ipt_platform.storage.paths import AnyPath, S3Path, any_path
from ipt_platform.storage.ranges import Range


@dataclass(frozen=True)
class Picture:
    """A picture by its name, and where its bytes are.

    Attributes:
        name: see the module.
        file: a file or object of its own, or the shard that it lies in.
        offset: its first byte.
        size: its bytes; 0: all of the file.
        tag: what the shard is known by, where it is on S3.
    """

    name: str
    file: AnyPath
    offset: int = 0
    size: int = 0
    tag: str = ""

    def read(self) -> bytes:
        """Its bytes, still encoded.

        Raises:
            BadPictureError: it is gone, too large, cut off, or nobody may read it.
            DataError: the shard has changed since it was listed.
            InfrastructureError: the store failed as often as it was tried, or the disk did.
        """
        try:
            data = self._read_range() if self.size else self._read_whole()
        except (NotFoundError, FileNotFoundError) as error:
            raise BadPictureError("unreadable", "It is gone.") from error
        except PermissionError as error:
            raise BadPictureError("unreadable", "It may not be read.") from error
        except OSError as error:  # the disk's, or the network's to it: no picture's fault, and no reason to pass it over
            raise InfrastructureError(f"{self.file}: cannot be read: {error.strerror or error}") from error
        if len(data) < self.size:
            raise BadPictureError("cut-off", f"The shard is cut off: {len(data)} of {self.size} bytes are there.")
        return data

    def _read_whole(self) -> bytes:
        try:
            return read_bytes(self.file, MAX_MEMBER_BYTES)
        except DataError as error:
            raise BadPictureError("too-large", str(error)) from error

    def _read_range(self) -> bytes:
        if isinstance(self.file, S3Path):
            return read_range(Range(self.file, self.offset, self.size), self.tag)
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass
class Listing:
    """What an input holds.

    Attributes:
        pictures: in the order of their names.
        ignored: how many other files there are, which are left alone.
        refused: pictures that no output can be named after.
    """

    pictures: list[Picture] = field(default_factory=list)
    ignored: int = 0
    refused: list[Bad] = field(default_factory=list)

    def add(self, picture: Picture) -> None:
        """Add a file that was found."""
        if Path(picture.name).suffix.lower() not in PICTURE_SUFFIXES:
            self.ignored += 1
            return
        try:
            plain_name(picture.name)
            if {"", "."} & {*picture.name.split("/")}:
                raise ValueError(f"{picture.name!r:.80} is no plain path")
        except ValueError as error:
            self.refused.append(Bad(ascii(picture.name)[1:-1], "bad-name", str(error)))
        else:
            self.pictures.append(picture)


def list_input(given: str, output: str, base: Path) -> Listing:
    """The pictures of an input. Hidden files, and what is in an output below the input, are passed over.

    Args:
        given: the input of a job.
        output: its output.
        base: what relative paths are relative to.

    Raises:
        NotFoundError: there is no such folder, bucket, shard or index.
        DataError: two pictures would have one output, or an index cannot be used.
        InfrastructureError: the store failed as often as it was tried.
    """
    listing = Listing()
    target = any_path(output)
    for picture in _found(given, target if isinstance(target, S3Path) else base / target, base):
        listing.add(picture)
    listing.pictures.sort(key=lambda picture: picture.name)
    _refuse_shared_names(given, listing.pictures)
    return listing


def _found(given: str, target: AnyPath, base: Path) -> Iterator[Picture]:
    if names_shards(given):
        return _in_shards(find_shards((given,), base))
    source = any_path(given)
    return _on_s3(source, target) if isinstance(source, S3Path) else _on_disk(base / source, target)


def _on_disk(folder: Path, target: AnyPath) -> Iterator[Picture]:
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no such folder.")
    results = target.resolve() if isinstance(target, Path) else None
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not (results and Path(parent, name).resolve() == results)
        ]
        for name in names:
            path = Path(parent, name)
            if not name.startswith("."):
                yield Picture(path.relative_to(folder).as_posix(), path.absolute())


def _on_s3(prefix: S3Path, target: AnyPath) -> Iterator[Picture]:
    below = f"{prefix.key}/" if prefix.key else ""
    results = f"{target.key}/" if isinstance(target, S3Path) and target.bucket == prefix.bucket else None
    for path, _ in s3().list(S3Path(prefix.bucket, below), deep=True):
        name = path.key.removeprefix(below)
        hidden = any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
        if name and not name.endswith("/") and not hidden and not (results and path.key.startswith(results)):
            yield Picture(name, path)


def _in_shards(shards: list[AnyPath]) -> Iterator[Picture]:
    for shard, (found, index) in zip(shards, load_indexes(shards), strict=True):
        place = shard if isinstance(shard, S3Path) else shard.absolute()
        for member in index.members:
            file = member.degraded or member
            yield Picture(f"{shard.name.removesuffix('.tar')}/{file.name}", place, file.offset, file.size, found.tag)


def _refuse_shared_names(given: str, pictures: list[Picture]) -> None:
    """Two shards of one name, in different folders, would give outputs of one name; `pictures` are in the order of names."""
    shared = [one for one, other in pairwise(pictures) if one.name == other.name]
    if shared:
        raise DataError(
            f"{given}: {len(shared)} outputs would belong to two pictures, the first of them {shared[0].name}: are there "
            "shards of one name in several folders? Restore them by jobs of their own."
        )
