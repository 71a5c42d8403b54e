"""Shards as a job or a user names them, and whether what they hold is whole."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import HalfEntry, MemberEntry, ShardIndex, index_path, load_index
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.tar import walk_tar
from ipt_platform.errors import BadKind, BadPictureError, DataError, NotFoundError, UsageError
from ipt_platform.storage.files import find, open_file, read_range, s3
from ipt_platform.storage.listing import named
from ipt_platform.storage.paths import AnyPath, Found, S3Path, any_path
from ipt_platform.storage.ranges import Range, RangeCache

MAX_SHARDS = 1_000_000
NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")

READ_AHEAD = 64 << 20
"""Bytes of a shard on S3 that are kept while it is checked."""

AHEAD = 64
"""Files that are asked for together while it is checked."""

File = MemberEntry | HalfEntry
Checked = tuple[File, tuple[int, int]]
"""A file in a tar, and the size in pixels that its picture should have: width, height."""


@dataclass(frozen=True)
class ShardProblem:
    """Something wrong with a shard: which, which member (empty: the shard itself), what, and the kind of fault (None: of the
    index as a whole).
    """

    shard: AnyPath
    member: str
    reason: str
    kind: BadKind | None = None

    def __str__(self) -> str:
        return f"{self.shard}: {self.member}: {self.reason}" if self.member else self.reason


@dataclass(frozen=True)
class VerifyReport:
    """What was checked (`pairs` of the `images` have a degraded half) and what was found wrong."""

    shards: int
    images: int
    pairs: int
    bytes: int
    problems: list[ShardProblem]


def expand_shards(patterns: str | AnyPath | Sequence[str | AnyPath]) -> list[AnyPath]:
    """Paths of the shards that patterns name, sorted within each pattern, each path once.

    A pattern is a path, a glob (`shards/*.tar`), a numbered range (`shards/{000000..000127}.tar`), or a folder, which
    stands for the tars in it; and all of these on S3 (`s3://bucket/shards/*.tar`).

    Raises:
        NotFoundError: A pattern names nothing, or a shard named one by one is missing; all of them are named.
        UsageError: A pattern of a storage that cannot be read.
    """
    listed = [patterns] if isinstance(patterns, str | AnyPath) else list(patterns)
    found: dict[AnyPath, None] = {}
    missing: list[str] = []
    for pattern in map(str, listed):
        names = list(_numbered(pattern))
        for name, paths in zip(names, _matches([any_path(name) for name in names]), strict=True):
            found.update(dict.fromkeys(paths))
            missing += [] if paths else [name]
    if missing:
        raise NotFoundError(
            f"No shards: {', '.join(missing[:8])}{f' and {len(missing) - 8} more' if missing[8:] else ''} "
            "(paths are relative to where the command runs). `ipt-platform data pack` makes shards."
        )
    if not found:
        raise NotFoundError("No shards are named.")
    return list(found)


def _matches(paths: Sequence[AnyPath]) -> Iterable[Sequence[AnyPath]]:
    """What each of the paths that one pattern stands for names."""
    remote = [path for path in paths if isinstance(path, S3Path)]
    return named(s3(), remote, ".tar") if remote else (_on_disk(path) for path in paths if isinstance(path, Path))


def _on_disk(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    if path.is_file():
        return [path]
    if not re.search(r"[*?\[]", str(path)):
        return []
    return sorted(match for match in Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))) if match.is_file())


def _numbered(pattern: str) -> Iterator[str]:
    match = NUMBERS.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = match.groups()
    if int(last) < int(first) or int(last) - int(first) >= MAX_SHARDS:
        raise UsageError(f"{pattern}: the range {match.group()} should count up, over at most {MAX_SHARDS} shards.")
    for number in range(int(first), int(last) + 1):
        yield from _numbered(pattern[: match.start()] + f"{number:0{len(first)}d}" + pattern[match.end() :])


def verify(
    shards: Sequence[AnyPath], threads: int = 2, progress: Callable[[int, int], None] = lambda done, total: None
) -> VerifyReport:
    """Check shards wholly: index against tar, then each picture's bytes by range against its digest, and that it
    decodes.

    Every problem is reported; none ends the check.

    Args:
        shards: Paths of the tars.
        threads: How many pictures are read and decoded at a time.
        progress: Told (shards done, shards in all) after each one.
    """
    images = pairs = size = 0
    problems: list[ShardProblem] = []
    for done, shard in enumerate(shards, 1):
        tar = find(shard)
        index, wrong = _verify_index(shard, tar)
        problems += wrong
        if tar is not None and index is not None:
            problems += _verify_files(shard, tar, index, threads)
            images += len(index.members)
            pairs += index.pairs
            size += index.bytes
        progress(done, len(shards))
    return VerifyReport(len(shards), images, pairs, size, problems)


def _verify_index(shard: AnyPath, tar: Found | None) -> tuple[ShardIndex | None, list[ShardProblem]]:
    """The index where it can be used, and what is wrong with it or with the tar as a tar."""
    problems: list[ShardProblem] = []
    lying: dict[str, tuple[int, int]] = {}
    try:
        if tar is not None:
            with open_file(shard, tar) as file:
                lying = {member.name: (member.offset, member.size) for member in walk_tar(shard, file) if member.regular}
    except DataError as error:
        problems.append(_problem(shard, "", error))
    try:
        index = load_index(shard, tar)
    except (DataError, NotFoundError) as error:
        return None, [*problems, ShardProblem(shard, "", str(error))]
    if not problems:
        for file in (file for member in index.members for file in member.files):
            if lying.get(file.name) != (file.offset, file.size):
                reason = f"{index_path(shard).name} places it at bytes {file.offset}+{file.size}, the tar does not."
                problems.append(ShardProblem(shard, file.name, reason, "changed"))
    return index, problems


def _verify_files(shard: AnyPath, tar: Found, index: ShardIndex, threads: int) -> list[ShardProblem]:
    def check(file: File, pixels: tuple[int, int]) -> ShardProblem | None:
        try:
            data = reading.read(file)
        except DataError as error:
            return _problem(shard, file.name, error)
        return _verify_file(shard, file, pixels, data)

    reading = _OnS3(shard, tar) if isinstance(shard, S3Path) else _OnDisk(shard)
    files = [(file, (member.width, member.height)) for member in index.members for file in member.files]
    checks = ordered_map(lambda each: check(*each), reading.ahead(files), threads, 2 * threads)
    return [problem for problem in checks if problem]


class _OnDisk:
    """Files in a tar on a disk."""

    def __init__(self, shard: Path):
        self._shard = shard

    def ahead(self, files: list[Checked]) -> Iterable[Checked]:
        return files

    def read(self, entry: File) -> bytes:
        with self._shard.open("rb") as file:
            file.seek(entry.offset)
            return file.read(entry.size)


class _OnS3:
    """Files in a tar on S3, many fetched by one request ahead of use."""

    def __init__(self, shard: S3Path, tar: Found):
        self._shard = shard
        self._cache = RangeCache(partial(read_range, tag=tar.tag), READ_AHEAD)

    def ahead(self, files: list[Checked]) -> Iterable[Checked]:
        for start in range(0, len(files), AHEAD):
            some = files[start : start + AHEAD]
            self._cache.prefetch(self._range(file) for file, _ in some)
            yield from some

    def read(self, entry: File) -> bytes:
        return self._cache.read(self._range(entry))

    def _range(self, entry: File) -> Range:
        return Range(self._shard, entry.offset, entry.size)


def _verify_file(shard: AnyPath, entry: File, pixels: tuple[int, int], data: bytes) -> ShardProblem | None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        return ShardProblem(shard, entry.name, f"its bytes have sha256 {digest}, the index says {entry.sha256}.", "changed")
    try:
        height, width, _ = decode_rgb(data).shape
    except BadPictureError as error:
        return _problem(shard, entry.name, error)
    if (width, height) != pixels:
        reason = f"is {width}x{height} pixels, the index says {pixels[0]}x{pixels[1]}."
        return ShardProblem(shard, entry.name, reason, "changed")
    return None


def _problem(shard: AnyPath, member: str, error: DataError) -> ShardProblem:
    return ShardProblem(shard, member, str(error), error.kind if isinstance(error, BadPictureError) else None)
