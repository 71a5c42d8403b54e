"""Tars: read as `tarfile` and GNU tar read them where they are whole, and never worse than refused where they are not."""

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.index import load_index, write_index
from ipt_platform.data.scan import index_tar, index_usable
from ipt_platform.data.tar import MAX_EXTENDED_BYTES, TarMember, walk_tar
from ipt_platform.errors import BadPictureError, DataError

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
SPECIAL = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"V"]
SHARD = Path("some.tar")

characters = st.characters(codec="utf-8", exclude_characters="\0/")
parts = st.text(characters, min_size=1, max_size=80).filter(lambda part: part not in (".", ".."))
names = st.lists(parts, min_size=1, max_size=4).map("/".join)


class Watched(io.BytesIO):
    """A file that remembers how much was asked of it."""

    reads = 0
    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self.reads += 1
        self.largest = max(self.largest, size)
        return super().read(size)


def walk(data: bytes) -> Iterator[TarMember]:
    return walk_tar(SHARD, io.BytesIO(data))


def make(members: list[tuple[str, bytes, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of (name, type, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, kind, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), "elsewhere" if kind in SPECIAL[:2] else ""
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def by_tarfile(data: bytes) -> list[TarMember]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        infos = [info for info in tar if not info.isdir()]
    return [TarMember(info.name, info.offset_data, info.size, info.isreg() and not info.issparse()) for info in infos]


@given(
    st.lists(st.tuples(names, st.sampled_from([tarfile.REGTYPE] * 6 + SPECIAL), st.binary(max_size=1500)), max_size=8),
    st.sampled_from(FORMATS),
)
@settings(max_examples=150)
def test_members_are_those_that_tarfile_finds(members, form):
    members = [(name, kind, data if kind in (tarfile.REGTYPE, b"V") else b"") for name, kind, data in members]
    try:
        data = make(members, form)
    except ValueError:  # a name too long for ustar
        return

    assert list(walk(data)) == by_tarfile(data)


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_members_are_where_gnu_tar_puts_them(tmp_path, form):
    folder = tmp_path / "in"
    deep = "d" * 90 + "/" + "e" * 90 if form not in ("v7", "ustar") else "d"
    for name in ("one.png", f"{deep}/{'n' * 80}.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 700)
    (folder / "link.png").symlink_to("one.png")
    with (folder / "holes.bin").open("wb") as file:
        for place in range(30):  # more stretches of data than fit into one header's map
            file.seek(place << 17)
            file.write(b"x" * 4096)
    sparse = ["--sparse"] if form not in ("v7", "ustar") else []
    tar = tmp_path / "some.tar"
    subprocess.run(["tar", f"--format={form}", *sparse, "--sort=name", "-cf", tar, "-C", folder, "."], check=True)
    data = tar.read_bytes()

    found = {member.name: member for member in walk(data)}

    assert [(each.name, each.regular) for each in found.values()] == [(each.name, each.regular) for each in by_tarfile(data)]
    assert {name.split("/")[-1][0] for name in found} >= {"o", "n", "l"}
    for name, member in found.items():
        if name.endswith(("one.png", "nn.png")):
            assert data[member.offset :][: member.size] == (folder / name).read_bytes()
            assert member.regular
        else:
            assert member.regular == (name.endswith("holes.bin") and not sparse)


def header(name: bytes = b"a.png", size: bytes = b"00000000000\0", kind: bytes = b"0", body: bytes = b"") -> bytes:
    """A header block with its checksum, and what follows it, padded."""
    block = bytearray(512)
    block[: len(name)], block[124:136], block[156:157], block[257:265] = name, size, kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + body + bytes(-len(body) % 512)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def pax(kind: bytes = b"x", **records: str) -> bytes:
    body = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        length += len(str(length + len(str(length))))
        body += f"{length} {key}={value}\n".encode()
    return header(b"pax", octal(len(body)), kind, body)


END = bytes(1024)
BIG = (10 << 30).to_bytes(12, "big")
HOSTILE = {
    "10 GB by its header": (header(size=b"\x80" + BIG[1:]) + END, "cut-off", r"a\.png should have 10737418240 bytes"),
    "10 GB by pax": (pax(size=str(10 << 30)) + header() + END, "cut-off", r"a\.png should have 10737418240 bytes"),
    "a size of 95 bits": (header(size=b"\x80" + b"\x3f" * 11) + END, "cut-off", "should have"),
    "a negative size": (header(size=b"\xff" * 12) + END, "", "a number is negative"),
    "a size that is no number": (header(size=b"00x00000000\0") + END, "", "is no octal number"),
    "a long name of 8 GB": (
        header(size=b"\x80" + (8 << 30).to_bytes(11, "big"), kind=b"L") + END,
        "",
        "8589934592 bytes; at most",
    ),
    "a long name of a negative size": (header(size=b"\xff" * 12, kind=b"L") + END, "", "a number is negative"),
    "pax records that go back": (header(b"p", octal(5), b"x", b"0 a=\n") + header() + END, "", "no record at its byte 0"),
    "pax records that go on": (header(b"p", octal(7), b"x", b"99 a=b\n") + header() + END, "", "no record at its byte 0"),
    "pax records without end": (header(b"p", octal(6), b"x", b"7 a=b\n") + header() + END, "", "no record at its byte 0"),
    "a pax size that is none": (pax(size="-512") + header() + END, "", "is no size"),
    "one name for all": (pax(b"g", path="b.png") + header() + END, "", "a global header gives every member one path"),
    "a long name of nobody": (header(size=octal(4), kind=b"L", body=b"abc\0") + END, "damaged", "checksum is wrong"),
    "a long name cut off": (header(size=octal(400), kind=b"L", body=b"abc\0")[:700], "cut-off", "no end-of-archive mark"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_headers_that_lie_are_refused_by_name_and_cost_nothing(case):
    data, kind, says = HOSTILE[case]
    file = Watched(data)

    with pytest.raises(DataError, match=says) as caught:
        list(walk_tar(SHARD, file))

    assert str(caught.value).startswith("some.tar: ")
    assert not kind or (isinstance(caught.value, BadPictureError) and caught.value.kind == kind)
    assert file.largest <= MAX_EXTENDED_BYTES


def test_a_comment_on_all_members_is_passed_over():
    assert [member.name for member in walk(pax(b"g", comment="x") + header() + END)] == ["a.png"]
    assert list(walk(pax(b"g", comment="x") + END)) == []


def test_thousands_of_extended_headers_are_no_recursion():
    long = header(size=octal(6), kind=b"L", body=b"b.png\0")

    assert [member.name for member in walk(long * 5000 + header() + END)] == ["b.png"]


def test_what_a_sparse_map_goes_on_for_is_read_once():
    block = bytearray(header(kind=b"S"))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = bytearray(512)
    more[504] = 1

    (member,) = walk(bytes(block) + bytes(more) * 3 + bytes(512) + END)
    assert (member.offset, member.regular) == (512 * 5, False)
    with pytest.raises(DataError, match="cut off"):
        list(walk(bytes(block) + bytes(more) * 300))


# Damage of every kind


def refusal(function: Callable[[], object]) -> str:
    """What a DataError says; "" where there is none."""
    try:
        function()
    except DataError as error:
        return str(error)
    return ""


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 7, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


PLAIN = [(f"{'n' * 60}/{'m' * 60}{i}.png", tarfile.REGTYPE, png(i)) for i in range(3)] + [("l.png", tarfile.SYMTYPE, b"")]
PAIRED = [(f"{i}.{half}.png", tarfile.REGTYPE, png(i)) for i in range(2) for half in ("degraded", "clean")]
SEEDS = [make(members, form) for members in (PLAIN, PAIRED) for form in FORMATS]
HEADER_FIELDS = [0, 100, 108, 124, 125, 135, 148, 155, 156, 157, 257, 263, 265, 345, 482, 483]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good tar after a few faults, many of them in headers, most with the checksum put right."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        block = 512 * draw(st.integers(0, len(data) // 512 - 1))
        match draw(st.sampled_from(["field", "field", "field", "byte", "swap", "drop", "cut"])):
            case "field":
                at = block + draw(st.sampled_from(HEADER_FIELDS))
                value = draw(st.binary(min_size=1, max_size=12) | st.sampled_from([b"\x80" + BIG[1:], b"\xff" * 12, b"7" * 11]))
                data[at : at + len(value)] = value
                data[block + 148 : block + 156] = b" " * 8
                data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
            case "byte":
                data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
            case "swap":
                other = 512 * draw(st.integers(0, len(data) // 512 - 1))
                data[block : block + 512], data[other : other + 512] = data[other : other + 512], data[block : block + 512]
            case "drop":
                del data[block : block + 512]
            case "cut":
                del data[draw(st.integers(0, len(data))) :]
        if len(data) < 512:
            break
    return bytes(data)


@given(damaged() | st.binary(max_size=3000) | st.sampled_from(SEEDS))
@settings(max_examples=500)
@example(b"")
def test_a_damaged_tar_gives_members_within_it_one_after_another_or_is_refused_by_name(data):
    file, members = Watched(data), []
    says = refusal(lambda: members.extend(walk_tar(SHARD, file)))
    places = [0, *(place for each in members for place in (each.offset, each.offset + each.size * each.regular)), len(data)]

    assert says.startswith("some.tar: ") or not says
    assert places == sorted(places)
    assert file.reads <= 2 + len(data) // 512
    assert file.largest <= MAX_EXTENDED_BYTES


@given(damaged())
@settings(max_examples=200)
def test_a_damaged_tar_is_indexed_truly_or_refused_by_name(tmp_path_factory, data):
    shard = tmp_path_factory.getbasetemp() / "damaged.tar"
    shard.write_bytes(data)
    indexes, bad = [], []
    says = [
        refusal(lambda: indexes.append(index_tar(shard))),
        refusal(lambda: [kept.append(each) for kept, each in zip((indexes, bad), index_usable(shard), strict=True)]),
    ]
    for index in indexes:
        write_index(shard, index)
        assert load_index(shard) == index

    assert all(each.startswith(f"{shard}: ") for each in says if each)
    assert all(each.reason and each.shard == "damaged.tar" for found in bad for each in found)
    if len(indexes) == 2:
        assert {entry.name for entry in indexes[1].members} <= {entry.name for entry in indexes[0].members}
