"""The index beside a shard: where each picture lies in the tar, so that any one can be read by range.

`<shard>.index.json`:

    {"format": "ipt-index/1", "shard": "000000.tar", "bytes": 10240,
     "members": [{"key", "name", "offset", "size", "width", "height", "sha256"}, ...]}

In a paired shard, whose members are `key.clean.png` and `key.degraded.png`, a member of the index is the clean half and
carries its degraded one: `"degraded": {"name", "offset", "size", "sha256"}`, of the same size in pixels. So whoever wants clean
pictures reads a paired shard as any other.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated, BinaryIO, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ipt_platform.data.header import probe
from ipt_platform.data.ordered import ordered_map
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.storage.files import find, open_file, read_bytes, write_bytes
from ipt_platform.storage.paths import AnyPath, Found, S3Path

FORMAT = "ipt-index/1"
SUFFIX = ".index.json"
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
HALVES = ("clean", "degraded")
MAX_MEMBER_BYTES = 1 << 30
MAX_INDEX_BYTES = 1 << 30

OPENERS = 8
"""Indexes on S3 that are read at a time: each waits for the network far longer than it takes to parse."""

Count = Annotated[int, Field(ge=0)]


def _plain_name(name: str) -> str:
    """The name of a member; it becomes part of file names and of what a terminal shows, so it must be harmless there."""
    if not name.isprintable() or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"a name such as {name!r} is not allowed: it must be printable, relative, without '..'")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]


class HalfEntry(BaseModel):
    """The degraded half of a pair: name in the tar, byte range and digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Name
    offset: Count
    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class MemberEntry(BaseModel):
    """One picture of a shard: its key, name in the tar, byte range, size in pixels and digest; and its degraded half, if it
    has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: Name
    name: Name
    offset: Count
    size: Count
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    degraded: HalfEntry | None = None

    @property
    def files(self) -> "tuple[MemberEntry | HalfEntry, ...]":
        """What lies in the tar of it: the picture, and its degraded half."""
        return (self, self.degraded) if self.degraded else (self,)


class ShardIndex(BaseModel):
    """The pictures of one shard in the order of the tar; `bytes` is the tar's size when the index was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal["ipt-index/1"] = FORMAT
    shard: str
    bytes: Count
    members: list[MemberEntry]

    @property
    def pairs(self) -> int:
        """How many of the pictures have a degraded half."""
        return sum(member.degraded is not None for member in self.members)


def index_path(shard: AnyPath) -> AnyPath:
    """Where the index of a shard lies."""
    return shard.with_name(shard.name + SUFFIX)


def write_index(shard: AnyPath, index: ShardIndex) -> AnyPath:
    """Write the index beside its shard; no reader ever sees half of one."""
    path = index_path(shard)
    write_bytes(path, index.model_dump_json(indent=1, exclude_none=True).encode() + b"\n")
    return path


def load_indexes(shards: Sequence[AnyPath]) -> Iterator[tuple[Found, ShardIndex]]:
    """The indexes of shards in order, as `load_index` reads them, and what each of them was found to be.

    Raises:
        NotFoundError, DataError: As `load_index`.
    """

    def load(shard: AnyPath) -> tuple[Found, ShardIndex]:
        found = find_shard(shard)
        return found, load_index(shard, found)

    threads = OPENERS if any(isinstance(shard, S3Path) for shard in shards) else 1
    return ordered_map(load, shards, threads=threads, ahead=threads)


def find_shard(shard: AnyPath) -> Found:
    """What a shard is found to be.

    Raises:
        NotFoundError: It does not exist.
    """
    found = find(shard)
    if found is None:
        raise NotFoundError(f"{shard}: there is no such shard.")
    return found


def load_index(shard: AnyPath, found: Found | None = None) -> ShardIndex:
    """Read the index of a shard and check that it still belongs to the tar as it is now.

    Args:
        shard: The tar.
        found: What it was found to be, where that was looked up just now.

    Raises:
        NotFoundError: The shard or its index does not exist.
        DataError: The index is damaged, or does not match the tar.
    """
    path = index_path(shard)
    size = (found or find_shard(shard)).size
    try:
        data = read_bytes(path, MAX_INDEX_BYTES)
    except NotFoundError as error:
        raise NotFoundError(f"{shard}: has no index. Make one with `ipt-platform data index {shard}`.") from error
    try:
        index = ShardIndex.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(f"{path}: not an index of format {FORMAT}: {where}: {first['msg']}.") from error
    _check(shard, index, size)
    return index


def _check(shard: AnyPath, index: ShardIndex, size: int) -> None:
    remedy = f"Restore the shard, or index it anew with `ipt-platform data index --force {shard}`."
    if size != index.bytes:
        raise DataError(
            f"{shard}: the index no longer matches: the tar has {size} bytes, the index was made for {index.bytes}. {remedy}"
        )
    for file in (file for member in index.members for file in member.files):
        if file.offset + file.size > size or file.size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{shard}: the index no longer matches: {file.name} is said to end at byte "
                f"{file.offset + file.size} of {size}. {remedy}"
            )
    refuse_shared_keys(shard, ((member.key, member.name) for member in index.members))


def index_tar(shard: AnyPath) -> ShardIndex:
    """Index the pictures of a plain tar, made by anyone; the tar is read through and never extracted.

    Files that are not pictures (labels, captions) are left alone. A tar with a picture called `key.degraded.png` (or .jpg and
    so on) is one of pairs, and each of its pictures must be half of one.

    Raises:
        NotFoundError: There is no such file.
        DataError: Not a plain tar, cut off, a member that is not a regular file, a picture whose header cannot be
            read, half of a pair, or two pictures of one key; every one of them is named.
    """
    found = find_shard(shard)
    entries: list[MemberEntry] = []
    problems: list[str] = []
    with open_file(shard, found) as file:
        for info in walk_tar(shard, file):
            try:
                entry = _entry(info, file)
            except DataError as error:
                problems.append(f"{info.name}: {error}")
            else:
                entries.extend([entry] if entry else [])
    if any(half_of(entry.name) == "degraded" for entry in entries):
        entries, without = pair_up(entries)
        problems += without
    if problems:
        raise DataError(f"{shard}: {len(problems)} members cannot be used:\n" + "\n".join(problems))
    if not entries:
        raise DataError(f"{shard}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))}).")
    refuse_shared_keys(shard, ((entry.key, entry.name) for entry in entries))
    return ShardIndex(shard=shard.name, bytes=found.size, members=entries)


def half_of(name: str) -> str:
    """Which half of a pair a picture is by its name: "clean", "degraded", or "" (neither)."""
    words = PurePosixPath(name).name.split(".")
    return words[1] if len(words) == 3 and words[1] in HALVES else ""


def pair_up(entries: Sequence[MemberEntry]) -> tuple[list[MemberEntry], list[str]]:
    """The pairs of pictures called `key.clean.*` and `key.degraded.*`, in the order of their first halves; and what is
    wrong with the others.
    """
    by_key: dict[str, dict[str, list[MemberEntry]]] = {}
    problems = []
    for entry in entries:
        if half := half_of(entry.name):
            by_key.setdefault(entry.key, {}).setdefault(half, []).append(entry)
        else:
            problems.append(f"{entry.name}: no half of a pair; beside pairs only key.clean.* and key.degraded.* may lie.")
    pairs = []
    for key, halves in by_key.items():
        missing = [half for half in HALVES if half not in halves]
        twice = [" and ".join(each.name for each in found) for found in halves.values() if len(found) > 1]
        if missing:
            problems.append(f"{next(iter(halves.values()))[0].name}: its other half {key}.{missing[0]}.* is missing.")
        elif twice:
            problems.append(f"{'; '.join(twice)}: two pictures for one half of the pair {key}.")
        else:
            (clean,), (degraded,) = halves["clean"], halves["degraded"]
            if (clean.width, clean.height) == (degraded.width, degraded.height):
                half = HalfEntry(name=degraded.name, offset=degraded.offset, size=degraded.size, sha256=degraded.sha256)
                pairs.append(clean.model_copy(update={"degraded": half}))
            else:
                sizes = f"{degraded.width}x{degraded.height} pixels, its clean half has {clean.width}x{clean.height}"
                problems.append(f"{degraded.name}: has {sizes}.")
    return pairs, problems


def ensure_index(shard: AnyPath, force: bool = False) -> bool:
    """Make the index of a tar that has none; True where it was made, False where one is there and matches.

    Args:
        shard: The tar.
        force: Make it anew, whatever is there.

    Raises:
        NotFoundError: There is no such tar.
        DataError: As `index_tar`, or the index that is there does not match (see `load_index`).
    """
    if not force and find(index_path(shard)):
        load_index(shard)
        return False
    write_index(shard, index_tar(shard))
    return True


def walk_tar(shard: AnyPath, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Headers of a tar's members, directories left out.

    Args:
        shard: The tar, for errors.
        file: It, opened; may be read elsewhere between two members.

    Raises:
        DataError: Not an uncompressed tar, or one that is cut off: also where it is cut between two members, which
            only the missing end-of-archive mark betrays.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            end = -1
            for info in tar:
                if info.offset <= end or info.size < 0:
                    raise tarfile.ReadError(f"{info.name!r} points backwards")
                end = info.offset
                if not info.isdir():
                    yield info
            end = tar.offset
        file.seek(end)
        mark = file.read(512)
    except tarfile.TarError as error:
        raise DataError(f"{shard}: not a whole, uncompressed tar: {error}. Copy or pack it again.") from error
    if mark != bytes(512):
        raise DataError(f"{shard}: the tar is cut off or damaged at byte {end}: no end-of-archive mark. Copy it again.")


def refuse_shared_keys(shard: AnyPath, named: Iterator[tuple[str, str]]) -> None:
    """Raise DataError where two names of a shard have one key; it names each such pair."""
    by_key: dict[str, list[str]] = {}
    for key, name in named:
        by_key.setdefault(key, []).append(name)
    shared = [f"{' and '.join(names)} (key {key})" for key, names in by_key.items() if len(names) > 1]
    if shared:
        raise DataError(f"{shard}: two pictures of one key: " + "; ".join(shared) + ". Keys must be unique in a shard.")


def _entry(info: tarfile.TarInfo, file: BinaryIO) -> MemberEntry | None:
    if not info.isreg() or info.issparse():
        raise DataError("a link, device or sparse file; only regular files are read.")
    key = key_of(info.name)
    if key is None or PurePosixPath(info.name).suffix.lower() not in PICTURE_SUFFIXES:
        return None
    try:
        _plain_name(info.name)
    except ValueError as error:
        raise DataError(f"{error}.") from error
    if info.size > MAX_MEMBER_BYTES:
        raise DataError(f"has {info.size} bytes; at most {MAX_MEMBER_BYTES} are allowed.")
    file.seek(info.offset_data)
    data = file.read(info.size)
    header = probe(data)
    return MemberEntry(
        key=key,
        name=info.name,
        offset=info.offset_data,
        size=info.size,
        width=header.width,
        height=header.height,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def key_of(name: str) -> str | None:
    """WebDataset's key of a member: its path up to the first dot of the file name; None for a hidden file."""
    match = re.fullmatch(r"((?:.*/)?[^./]+)\.[^/]*", name, re.DOTALL)
    return match[1] if match else None
