"""Shards as a job or a user names them, and whether what they hold is whole."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import HalfEntry, MemberEntry, ShardIndex, index_path, load_index, walk_tar
from ipt_platform.data.ordered import ordered_map
from ipt_platform.errors import DataError, IptError, NotFoundError, UsageError

MAX_SHARDS = 1_000_000
NUMBERS = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class ShardProblem:
    """Something wrong with a shard: which, which member (empty: the shard itself), and what."""

    shard: Path
    member: str
    reason: str

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


def expand_shards(patterns: str | Path | Sequence[str | Path]) -> list[Path]:
    """Paths of the shards that patterns name, sorted within each pattern, each path once.

    A pattern is a path, a glob (`shards/*.tar`), a numbered range (`shards/{000000..000127}.tar`), or a folder, which
    stands for the tars in it.

    Raises:
        NotFoundError: A pattern names nothing, or a shard named one by one is missing; all of them are named.
        UsageError: A pattern of a storage that cannot be read.
    """
    listed = [patterns] if isinstance(patterns, str | Path) else list(patterns)
    found: dict[Path, None] = {}
    missing: list[str] = []
    for pattern in map(str, listed):
        if "://" in pattern:
            raise UsageError(f"{pattern}: shards are read from local or mounted folders; name a path.")
        for name in _numbered(pattern):
            paths = _matches(Path(name))
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


def _matches(path: Path) -> list[Path]:
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
    shards: Sequence[Path], threads: int = 2, progress: Callable[[int, int], None] = lambda done, total: None
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
        index, found = _verify_index(shard)
        problems += found
        if index is not None:
            files = [(file, (member.width, member.height)) for member in index.members for file in member.files]
            checks = ordered_map(lambda each, at=shard: _verify_file(at, *each), files, threads, 2 * threads)
            problems += [problem for problem in checks if problem]
            images += len(index.members)
            pairs += index.pairs
            size += index.bytes
        progress(done, len(shards))
    return VerifyReport(len(shards), images, pairs, size, problems)


def _verify_index(shard: Path) -> tuple[ShardIndex | None, list[ShardProblem]]:
    """The index where it can be used, and what is wrong with it or with the tar as a tar."""
    problems: list[ShardProblem] = []
    lying: dict[str, tuple[int, int]] = {}
    try:
        if shard.is_file():
            lying = {info.name: (info.offset_data, info.size) for info in walk_tar(shard) if info.isreg()}
    except DataError as error:
        problems.append(ShardProblem(shard, "", str(error)))
    try:
        index = load_index(shard)
    except IptError as error:
        return None, [*problems, ShardProblem(shard, "", str(error))]
    if not problems:
        for file in (file for member in index.members for file in member.files):
            if lying.get(file.name) != (file.offset, file.size):
                reason = f"{index_path(shard).name} places it at bytes {file.offset}+{file.size}, the tar does not."
                problems.append(ShardProblem(shard, file.name, reason))
    return index, problems


def _verify_file(shard: Path, entry: MemberEntry | HalfEntry, pixels: tuple[int, int]) -> ShardProblem | None:
    with shard.open("rb") as file:
        file.seek(entry.offset)
        data = file.read(entry.size)
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        return ShardProblem(shard, entry.name, f"its bytes have sha256 {digest}, the index says {entry.sha256}.")
    try:
        height, width, _ = decode_rgb(data).shape
    except DataError as error:
        return ShardProblem(shard, entry.name, str(error))
    if (width, height) != pixels:
        return ShardProblem(shard, entry.name, f"is {width}x{height} pixels, the index says {pixels[0]}x{pixels[1]}.")
    return None
