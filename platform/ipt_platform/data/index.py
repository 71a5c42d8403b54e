"""The index beside a shard: where each picture lies in the tar, so that any one can be read by range.

`<shard>.index.json`:

    {"format": "ipt-index/1", "shard": "000000.tar", "bytes": 10240,
     "members": [{"key", "name", "offset", "size", "width", "height", "sha256"}, ...]}

In a paired shard, whose members are `key.clean.png` and `key.degraded.png`, a member of the index is the clean half and
carries its degraded one: `"degraded": {"name", "offset", "size", "sha256"}`, of the same size in pixels. So whoever wants clean
pictures reads a paired shard as any other.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ipt_platform.data.ordered import ordered_map
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.storage.files import find, read_bytes, write_bytes
from ipt_platform.storage.paths import AnyPath, Found, S3Path

FORMAT = "ipt-index/1"
SUFFIX = ".index.json"
MAX_MEMBER_BYTES = 1 << 30
MAX_INDEX_BYTES = 1 << 30
MAX_NAME = 1024  # characters

OPENERS = 8
"""Indexes on S3 that are read at a time: each waits for the network far longer than it takes to parse."""

Count = Annotated[int, Field(ge=0)]


def plain_name(name: str) -> str:
    """The name of a member; it becomes part of file names and of what a terminal shows, so it must be harmless there."""
    if not name.isprintable() or name.startswith("/") or ".." in name.split("/") or len(name) > MAX_NAME:
        rule = f"it must be printable, relative, without '..', of at most {MAX_NAME} characters"
        raise ValueError(f"a name such as {name[:80]!r} is not allowed: {rule}")
    return name


Name = Annotated[str, AfterValidator(plain_name)]


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


def refuse_shared_keys(shard: AnyPath, named: Iterator[tuple[str, str]]) -> None:
    """Raise DataError where two names of a shard have one key; it names each such pair."""
    by_key: dict[str, list[str]] = {}
    for key, name in named:
        by_key.setdefault(key, []).append(name)
    shared = [f"{' and '.join(names)} (key {key})" for key, names in by_key.items() if len(names) > 1]
    if shared:
        raise DataError(f"{shard}: two pictures of one key: " + "; ".join(shared) + ". Keys must be unique in a shard.")
