"""Where the members of a tar lie, told from their headers; nothing is extracted.

Formats: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), GNU. Written here rather than taken from `tarfile`, because a tar comes from
anywhere: there, damaged headers end in errors of many kinds, each long name costs a level of recursion, and an extended header
is read whole whatever size it claims. Here every header leads forward, so that no two members overlap and every tar ends.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ipt_platform.errors import BadPictureError, DataError
from ipt_platform.storage.paths import AnyPath

BLOCK = 512
MAX_EXTENDED_BYTES = 1 << 20  # a name and some attributes; more is an attack on our memory

FILES = (b"0", b"\0", b"7")
WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
"""Links, devices, folders and pipes: nothing follows their headers, whatever size they state."""


@dataclass(frozen=True)
class TarMember:
    """A member: its name, where its data lies (bytes), and whether it is a regular file, all of whose data lies there."""

    name: str
    offset: int
    size: int
    regular: bool


class _HeaderError(Exception):
    """What is wrong with a header; whoever reads it knows where it stands."""


def walk_tar(shard: AnyPath, file: BinaryIO) -> Iterator[TarMember]:
    """Members of a tar in order, folders left out.

    Args:
        shard: The tar, for errors.
        file: It, opened; may be read elsewhere between two members.

    Raises:
        DataError: Not an uncompressed tar at all.
        BadPictureError: It is cut off ("cut-off"; also between two members, which only the missing end-of-archive mark
            betrays) or damaged ("damaged"): what comes from there on cannot be found.
    """
    end = file.seek(0, os.SEEK_END)
    at, extended = 0, _Extended()
    while True:
        block = _read(file, at, BLOCK)
        if block == bytes(BLOCK) and not extended.said:
            return
        if len(block) < BLOCK and at:
            raise _cut_off(shard, at, "no end-of-archive mark")
        try:
            header = _header(block)
            data, size = at + BLOCK, header.size
            if header.kind in _Extended.KINDS:
                if size > MAX_EXTENDED_BYTES:
                    raise _HeaderError(f"an extended header of {size} bytes; at most {MAX_EXTENDED_BYTES} are allowed")
                body = _read(file, data, size)
                if len(body) == size:
                    extended.read(header.kind, body)
                at = data + _blocks(size)
                continue
            name, size = extended.name or header.name, size if extended.size is None else extended.size
        except _HeaderError as error:
            raise _damaged(shard, at, str(error)) from error
        if header.kind == b"S":
            data = _after_sparse_map(file, data, block[482])
        held = 0 if header.kind in WITHOUT_DATA else size
        if data + held > end:
            raise _cut_off(shard, end, f"{name} should have {size} bytes from byte {data}")
        if not (header.kind == b"5" or (header.kind == b"\0" and name.endswith("/"))):
            yield TarMember(name, data, size, header.kind in FILES and not extended.sparse)
        at, extended = data + _blocks(held), _Extended()


@dataclass(frozen=True)
class _Header:
    name: str
    size: int
    kind: bytes


def _header(block: bytes) -> _Header:
    """POSIX.1-1988, "ustar interchange format"; numbers also as GNU writes large ones."""
    if len(block) < BLOCK:
        raise _HeaderError(f"it has {len(block)} bytes")
    stated = _number(block[148:156])
    blank = block[:148] + b" " * 8 + block[156:]
    if stated != sum(blank) and stated != sum(blank) - 256 * sum(byte > 127 for byte in blank):  # as some old machines sum up
        raise _HeaderError("its checksum is wrong")
    name = block[:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return _Header(_text(name), _number(block[124:136]), block[156:157])


def _number(field: bytes) -> int:
    """Octal digits, or (the highest bit set) a binary number: GNU tar manual, "Basic Tar Format"."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise _HeaderError("a number is negative")
        return int.from_bytes(bytes([field[0] & 0x3F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise _HeaderError(f"{digits!r} is no octal number")
    return int(digits or b"0", 8)


class _Extended:
    """What extended headers say of the member that follows them."""

    KINDS = (b"x", b"X", b"g", b"L", b"K")

    def __init__(self):
        self.said = False
        self.name = ""
        self.size: int | None = None
        self.sparse = False

    def read(self, kind: bytes, body: bytes) -> None:
        """Take in an extended header: pax records, or GNU's long name (a long link says nothing that matters here)."""
        self.said = True
        if kind == b"L":
            self.name = _text(body.partition(b"\0")[0])
        elif kind != b"K":
            self._take(dict(_records(body)), kind == b"g")

    def _take(self, records: dict[bytes, bytes], every_member: bool) -> None:
        if every_member:
            self.said = False  # it may stand alone: `git archive` notes the commit in one
            if given := records.keys() & {b"path", b"size"}:
                raise _HeaderError(f"a global header gives every member one {_text(min(given))}")
        self.name = _text(records.get(b"GNU.sparse.name") or records.get(b"path") or b"") or self.name
        self.sparse = self.sparse or any(key.startswith(b"GNU.sparse.") for key in records)
        if size := records.get(b"size"):
            if not size.isdigit() or len(size) > 19:
                raise _HeaderError(f"{size[:40]!r} is no size")
            self.size = int(size)


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    r"""Records `LENGTH KEY=VALUE\n` of a pax header; the length counts all of its record (POSIX.1-2001, "pax Header Block")."""
    at = 0
    while at < len(body) and body[at]:
        digits = body[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = body[at + len(digits) + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if length > len(body) - at or record[-1:] != b"\n" or not equals:
            raise _HeaderError(f"an extended header has no record at its byte {at}")
        yield key, value
        at += length


def _after_sparse_map(file: BinaryIO, at: int, more: int) -> int:
    """Where the data of GNU's old kind of sparse file begins: its map may go on for blocks after the header."""
    while more:
        block = _read(file, at, BLOCK)
        more = block[504] if len(block) == BLOCK else 0
        at += BLOCK
    return at


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _blocks(size: int) -> int:
    """Bytes of the blocks that hold so many bytes."""
    return -(-size // BLOCK) * BLOCK


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _cut_off(shard: AnyPath, at: int, what: str) -> DataError:
    return BadPictureError("cut-off", f"{shard}: the tar is cut off or damaged at byte {at}: {what}. Copy it again.")


def _damaged(shard: AnyPath, at: int, what: str) -> DataError:
    if at == 0:
        return DataError(f"{shard}: not a whole, uncompressed tar: {what}. Copy or pack it again.")
    return BadPictureError("damaged", f"{shard}: the tar is damaged at byte {at}: {what}. Copy it again.")
