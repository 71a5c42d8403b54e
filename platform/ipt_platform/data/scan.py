"""From a tar of pictures, made by anyone, to its index: what lies in it, and what of that cannot be used."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import BinaryIO

from ipt_platform.data.bad import Bad
from ipt_platform.data.header import probe
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import (
    MAX_MEMBER_BYTES,
    HalfEntry,
    MemberEntry,
    ShardIndex,
    find_shard,
    index_path,
    load_index,
    plain_name,
    refuse_shared_keys,
    write_index,
)
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.tar import TarMember, walk_tar
from ipt_platform.errors import BadPictureError, DataError
from ipt_platform.storage.files import find, open_file
from ipt_platform.storage.paths import AnyPath, Found

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
HALVES = ("clean", "degraded")


def ensure_index(shard: AnyPath, force: bool = False, left_out: list[Bad] | None = None, threads: int = 2) -> bool:
    """Make the index of a tar that has none; True where it was made, False where one is there and matches.

    Args:
        shard: The tar.
        force: Make it anew, whatever is there.
        left_out: Where given, pictures that cannot be used are added to it and left out (see `index_usable`).
        threads: As there.

    Raises:
        NotFoundError: There is no such tar.
        DataError: As `index_tar`, or the index that is there does not match (see `load_index`).
    """
    if not force and find(index_path(shard)):
        load_index(shard)
        return False
    index, bad = (index_tar(shard), []) if left_out is None else index_usable(shard, threads)
    write_index(shard, index)
    if left_out is not None:
        left_out += bad
    return True


def index_tar(shard: AnyPath) -> ShardIndex:
    """Index the pictures of a plain tar, made by anyone; the tar is read through and never extracted.

    Files that are not pictures (labels, captions) are left alone. A tar with a picture called `key.degraded.png` (or .jpg and
    so on) is one of pairs, and each of its pictures must be half of one.

    Raises:
        NotFoundError: There is no such file.
        DataError: Not a plain tar, cut off, a picture that is not a regular file or whose header cannot be
            read, half of a pair, or two pictures of one key; every one of them is named.
    """
    found = find_shard(shard)
    entries, bad = _scan(shard, found, probe)
    if bad and not bad[-1].name:
        raise DataError(bad[-1].reason)
    if bad:
        lines = "\n".join(f"{each.name}: {each.reason}" for each in bad)
        raise DataError(f"{shard}: {len(bad)} members cannot be used:\n{lines}")
    refuse_shared_keys(shard, ((entry.key, entry.name) for entry in entries))
    return _index(shard, found, entries, bad)


def index_usable(shard: AnyPath, threads: int = 2) -> tuple[ShardIndex, list[Bad]]:
    """Index those pictures of a plain tar that decode, and say what is wrong with the others.

    Of a tar that is cut off or damaged somewhere, what comes before that place; of pictures of one key, the first.

    Args:
        shard: The tar.
        threads: How many pictures are decoded at a time.

    Raises:
        NotFoundError: There is no such file.
        DataError: Not a plain tar, or nothing in it can be used.
    """

    def decode(data: bytes) -> None:
        decode_rgb(data)

    found = find_shard(shard)
    entries, bad = _scan(shard, found, decode, threads)
    first = {entry.key: entry for entry in reversed(entries)}
    for entry in entries:
        if entry is not first[entry.key]:
            bad.append(Bad(entry.name, "bad-name", f"has the key of {first[entry.key].name} ({entry.key}).", shard.name))
    return _index(shard, found, [entry for entry in entries if entry is first[entry.key]], bad), bad


def half_of(name: str) -> str:
    """Which half of a pair a picture is by its name: "clean", "degraded", or "" (neither)."""
    words = PurePosixPath(name).name.split(".")
    return words[1] if len(words) == 3 and words[1] in HALVES else ""


def key_of(name: str) -> str | None:
    """WebDataset's key of a member: its path up to the first dot of the file name; None for a hidden file."""
    match = re.fullmatch(r"((?:.*/)?[^./]+)\.[^/]*", name, re.DOTALL)
    return match[1] if match else None


def pair_up(entries: Sequence[MemberEntry], unusable: Sequence[str] = ()) -> tuple[list[MemberEntry], list[Bad]]:
    """The pairs of pictures called `key.clean.*` and `key.degraded.*`, in the order of their first halves; and what is
    wrong with the others.

    Args:
        entries: The pictures.
        unusable: Names of others that are there and cannot be used.
    """
    lost = {(key_of(name), half_of(name)) for name in unusable}
    by_key: dict[str, dict[str, list[MemberEntry]]] = {}
    bad = []
    for entry in entries:
        if half := half_of(entry.name):
            by_key.setdefault(entry.key, {}).setdefault(half, []).append(entry)
        else:
            told = "no half of a pair; beside pairs only key.clean.* and key.degraded.* may lie."
            bad.append(Bad(entry.name, "half-missing", told))
    pairs = []
    for key, halves in by_key.items():
        missing = [half for half in HALVES if half not in halves]
        twice = [" and ".join(each.name for each in found) for found in halves.values() if len(found) > 1]
        if missing:
            (found,) = halves.values()
            why = "cannot be used" if (key, missing[0]) in lost else "is missing"
            told = f"its other half {key}.{missing[0]}.* {why}."
            bad += [Bad(each.name, "half-missing", told) for each in found]
        elif twice:
            bad.append(Bad("; ".join(twice), "bad-name", f"two pictures for one half of the pair {key}."))
        else:
            (clean,), (degraded,) = halves["clean"], halves["degraded"]
            if (clean.width, clean.height) == (degraded.width, degraded.height):
                half = HalfEntry(name=degraded.name, offset=degraded.offset, size=degraded.size, sha256=degraded.sha256)
                pairs.append(clean.model_copy(update={"degraded": half}))
            else:
                sizes = f"{degraded.width}x{degraded.height} pixels, its clean half has {clean.width}x{clean.height}"
                bad.append(Bad(degraded.name, "sizes-differ", f"has {sizes}."))
    return pairs, bad


def _index(shard: AnyPath, found: Found, entries: list[MemberEntry], bad: Sequence[Bad]) -> ShardIndex:
    if not entries and bad:
        lines = "\n".join(f"{each.name}: {each.reason}" for each in bad)
        raise DataError(f"{shard}: none of its {len(bad)} pictures can be used:\n{lines}")
    if not entries:
        raise DataError(f"{shard}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))}).")
    return ShardIndex(shard=shard.name, bytes=found.size, members=entries)


def _scan(
    shard: AnyPath, found: Found, check: Callable[[bytes], object], threads: int = 1
) -> tuple[list[MemberEntry], list[Bad]]:
    """The pictures of a tar, in pairs where it is one of pairs, and what cannot be used; what ends the tar comes last."""

    def entry(picture: tuple[TarMember, bytes] | Bad) -> MemberEntry | Bad:
        if isinstance(picture, Bad):
            return picture
        try:
            check(picture[1])
            return _entry(*picture)
        except BadPictureError as error:
            return Bad.of(error, picture[0].name, shard.name)

    with open_file(shard, found) as file:
        outcomes = list(ordered_map(entry, _pictures(shard, file), threads, threads))
    entries = [each for each in outcomes if isinstance(each, MemberEntry)]
    bad = [each for each in outcomes if isinstance(each, Bad)]
    if any(half_of(each.name) == "degraded" for each in outcomes):
        entries, without = pair_up(entries, [each.name for each in bad])
        bad = [*(each._replace(shard=shard.name) for each in without), *bad]
    return entries, bad


def _pictures(shard: AnyPath, file: BinaryIO) -> Iterator[tuple[TarMember, bytes] | Bad]:
    """Members that are pictures by their names, with their bytes; or what is wrong with them, or (unnamed) with the tar."""
    try:
        for member in walk_tar(shard, file):
            if key_of(member.name) is None or PurePosixPath(member.name).suffix.lower() not in PICTURE_SUFFIXES:
                continue
            try:
                _refuse_unreadable(member)
            except BadPictureError as error:
                yield Bad.of(error, member.name, shard.name)
                continue
            file.seek(member.offset)
            yield member, file.read(member.size)
    except BadPictureError as error:
        yield Bad.of(error, "", shard.name)


def _refuse_unreadable(member: TarMember) -> None:
    if not member.regular:
        raise BadPictureError("not-a-file", "a link, device or sparse file; only regular files are read.")
    try:
        plain_name(member.name)
    except ValueError as error:
        raise BadPictureError("bad-name", f"{error}.") from error
    if member.size > MAX_MEMBER_BYTES:
        raise BadPictureError("too-large", f"has {member.size} bytes; at most {MAX_MEMBER_BYTES} are allowed.")


def _entry(member: TarMember, data: bytes) -> MemberEntry:
    header = probe(data)
    return MemberEntry(
        key=key_of(member.name) or "",
        name=member.name,
        offset=member.offset,
        size=member.size,
        width=header.width,
        height=header.height,
        sha256=hashlib.sha256(data).hexdigest(),
    )
