"""Packing clean photographs into shards: bytes as they are, an index beside each shard, all or nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from ipt_platform.data.atomic import new_folder, refuse_full
from ipt_platform.data.bad import Bad, names_in_lines
from ipt_platform.data.folder import Source, list_pictures
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import MAX_MEMBER_BYTES, write_index
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.scan import index_tar
from ipt_platform.errors import BadPictureError, DataError

SHARD_SIZE = 256_000_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PackReport:
    """What was packed: shard paths, number of pictures or pairs, their bytes, bad pictures, files left alone."""

    shards: list[Path]
    images: int
    bytes: int
    bad: list[Bad]
    ignored: list[str]


def pack(
    folder: Path,
    out: Path,
    shard_size: int = SHARD_SIZE,
    skip_bad: bool = False,
    threads: int = 2,
    progress: Progress = lambda done, total: None,
) -> PackReport:
    """Pack the pictures below `folder` into `out/000000.tar` and on, in the order of their keys.

    Every picture is decoded once to prove that it can be; its bytes are then written as they are. `out` appears when
    all is done. The same pictures give the same bytes.

    Args:
        folder: Where the photographs are.
        out: Folder to make; must not exist, or be empty.
        shard_size: A shard is closed once it holds this many bytes.
        skip_bad: Leave out pictures that cannot be used instead of refusing to pack.
        threads: How many pictures are read and decoded at a time.
        progress: Told (pictures done, pictures in all) after each one.

    Raises:
        NotFoundError: There is no such folder.
        DataError: No picture, two files of one key, or pictures that cannot be used; all of them are named.
        RefusedError: `out` exists and is not empty.
    """
    if shard_size < 1:
        raise DataError(f"A shard of {shard_size} bytes holds nothing; give it at least 1.")
    refuse_full(out)
    listing = list_pictures(folder)
    with new_folder(out) as temporary, PictureWriter(temporary, "", shard_size) as writer:
        bad = list(listing.refused)
        checked = ordered_map(_checked, listing.pictures, threads=threads, ahead=2 * threads)
        for done, (source, outcome) in enumerate(zip(listing.pictures, checked, strict=True), 1):
            if isinstance(outcome, BadPictureError):
                bad.append(Bad.of(outcome, source.path.relative_to(folder).as_posix()))
            elif skip_bad or not bad:
                writer.write(source, outcome)
            progress(done, len(listing.pictures))
        if bad and not skip_bad:
            raise DataError(_bad_pictures(folder, bad, len(listing.pictures) + len(listing.refused)))
        if not writer.images:
            raise DataError(f"{folder}: none of its {len(bad)} pictures can be used:\n" + names_in_lines(bad))
    return PackReport([out / name for name in writer.names], writer.images, writer.bytes, bad, listing.ignored)


class PictureWriter:
    """Writes pictures into `<folder>/<prefix>000000.tar` and on, and an index beside each shard as it is closed.

    A context manager: the last shard is closed at its end, and without an index where the block did not end well.

    Attributes:
        names: the shards begun.
        images: pictures written.
        bytes: their size.
    """

    def __init__(self, folder: Path, prefix: str, shard_size: int):
        # imported here because it brings torch along, which neither the stream nor the other commands should wait for
        from webdataset.writer import ShardWriter

        self.names: list[str] = []
        self.images = 0
        self.bytes = 0
        self._folder = folder
        self._failed = False
        self._file: IO[bytes] | None = None
        self._writer = ShardWriter(
            f"{prefix.replace('%', '%%')}%06d.tar",
            maxsize=shard_size,
            verbose=0,
            opener=self._open,  # its own opener would take a name such as "pipe:..." for a command
            post=self._finish,
            encoder=False,
            mtime=0,
            user="",
            format="PAX_FORMAT",  # names of any length and alphabet
        )

    def write(self, source: Source, data: bytes) -> None:
        """Add a picture."""
        self._add(source.key, {source.suffix: data})

    def write_pair(self, degraded: Source, clean: Source, data: tuple[bytes, bytes]) -> None:
        """Add a pair under the key of its degraded half, the bytes of that half first; it counts as one picture."""
        names = f"degraded.{degraded.suffix}", f"clean.{clean.suffix}"
        self._add(degraded.key, dict(zip(names, data, strict=True)))

    def _add(self, key: str, files: dict[str, bytes]) -> None:
        self._writer.write({"__key__": key} | files)
        self.images += 1
        self.bytes += sum(map(len, files.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed = kind is not None
        self._writer.close()

    def _open(self, name: str) -> IO[bytes]:
        self.names.append(name)
        self._file = (self._folder / name).open("xb")
        return self._file

    def _finish(self, name: str) -> None:
        assert self._file is not None
        self._file.close()
        if not self._failed:
            write_index(self._folder / name, index_tar(self._folder / name))


def read_picture_file(path: Path) -> bytes:
    """Bytes of a picture file that decodes.

    Raises:
        BadPictureError: It cannot be read, is too large, or does not decode.
    """
    return read_picture(path)[0]


def read_picture(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Bytes of a picture file that decodes, and its width and height in pixels.

    Raises:
        BadPictureError: As `read_picture_file`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MEMBER_BYTES:
            raise BadPictureError("too-large", f"has {size} bytes; at most {MAX_MEMBER_BYTES} are allowed.")
        data = path.read_bytes()
    except OSError as error:
        raise BadPictureError("unreadable", f"cannot be read: {error.strerror}.") from error
    height, width, _ = decode_rgb(data).shape
    return data, (width, height)


def _checked(source: Source) -> bytes | BadPictureError:
    try:
        return read_picture_file(source.path)
    except BadPictureError as error:
        return error


def _bad_pictures(folder: Path, bad: Sequence[Bad], total: int) -> str:
    return (
        f"{folder}: {len(bad)} of {total} pictures cannot be used, nothing was written:\n{names_in_lines(bad)}\n"
        "Mend or remove them, or leave them out with --skip-bad."
    )
