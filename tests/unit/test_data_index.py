"""Indexes: what lies where in a tar made by anyone, and every way in which a tar or an index can be wrong."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.index import index_path, load_index, write_index
from ipt_platform.data.scan import ensure_index, index_tar, key_of
from ipt_platform.errors import DataError, NotFoundError


def png(value=0, size=(6, 4)):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            info.size = 0 if isinstance(data, tarfile.TarInfo) else len(data)
            tar.addfile(info, None if isinstance(data, tarfile.TarInfo) else io.BytesIO(data))
    return path


def special(kind, target=""):
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def shard(tmp_path):
    members = [("a/one.png", png(1)), ("a/one.json", b"{}"), ("two.jpg.png", png(2, (9, 5))), ("readme.txt", b"hello")]
    return make_tar(tmp_path / "some.tar", members)


def test_pictures_of_a_plain_tar_are_found_where_they_lie(shard):
    index = index_tar(shard)
    whole = shard.read_bytes()

    assert [(entry.key, entry.width, entry.height) for entry in index.members] == [("a/one", 6, 4), ("two", 9, 5)]
    assert whole[index.members[0].offset :][: index.members[0].size] == png(1)
    assert index.members[1].sha256 == hashlib.sha256(png(2, (9, 5))).hexdigest()
    assert index.bytes == len(whole)


def test_an_index_reads_back_as_it_was_written_and_leaves_nothing_beside_it(shard):
    assert ensure_index(shard)
    assert load_index(shard) == index_tar(shard)
    assert not ensure_index(shard)
    assert sorted(path.name for path in shard.parent.iterdir()) == ["some.tar", "some.tar.index.json"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.png", "a"),
        ("d/a.b.png", "d/a"),
        ("./a.png", "./a"),
        ("d.e/a.png", "d.e/a"),
    ],
)
def test_keys_end_at_the_first_dot_as_in_webdataset(name, key):
    from webdataset.tariterators import base_plus_ext

    assert key_of(name) == key
    assert base_plus_ext(name)[0] == key


def test_hidden_files_have_no_key():
    assert key_of(".a.png") is None
    assert key_of("d/._a.png") is None
    assert key_of("d/nosuffix") is None


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.2, 0.02])
def test_a_tar_that_is_cut_off_is_refused(tmp_path, kept):
    shard = make_tar(tmp_path / "cut.tar", [(f"{i}.png", np.random.default_rng(i).bytes(3000)) for i in range(9)])
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(len(whole.rstrip(b"\0")) * kept) - 1])

    with pytest.raises(DataError, match=r"cut\.tar"):
        index_tar(shard)


def test_a_tar_cut_exactly_between_two_members_is_refused(shard):
    second = index_tar(shard).members[1].offset - 512
    shard.write_bytes(shard.read_bytes()[:second])

    with pytest.raises(DataError, match=f"cut off or damaged at byte {second}"):
        index_tar(shard)


def test_a_damaged_member_header_is_refused(shard):
    whole = bytearray(shard.read_bytes())
    at = index_tar(shard).members[1].offset - 512
    whole[at + 5] ^= 0xFF
    shard.write_bytes(whole)

    with pytest.raises(DataError, match=f"the tar is damaged at byte {at}: its checksum is wrong"):
        index_tar(shard)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_compressed_tar_is_refused_because_it_cannot_be_read_by_range(tmp_path, mode):
    shard = make_tar(tmp_path / "packed.tar", [("a.png", png())], mode)

    with pytest.raises(DataError, match="uncompressed tar"):
        index_tar(shard)


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "good.png"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")],
)
def test_links_and_devices_are_named_and_never_followed(tmp_path, kind, target):
    shard = make_tar(tmp_path / "odd.tar", [("good.png", png()), ("bad.png", special(kind, target))])

    with pytest.raises(DataError, match=r"1 members cannot be used:\nbad\.png: a link, device or sparse file"):
        index_tar(shard)


def test_every_bad_picture_of_a_tar_is_named(tmp_path):
    shard = make_tar(tmp_path / "bad.tar", [("a.png", b"nothing"), ("b.png", png()), ("c.jpg", b"")])

    with pytest.raises(DataError, match=r"2 members.*\na\.png: Not a PNG.*\nc\.jpg: The file is empty"):
        index_tar(shard)


@pytest.mark.parametrize("name", ["../up.png", "/etc/a.png", "line\nbreak.png", "esc\x1b[2J.png", "byte\udcff.png"])
def test_names_that_could_do_harm_elsewhere_are_refused(tmp_path, name):
    shard = make_tar(tmp_path / "names.tar", [(name, png())])

    with pytest.raises(DataError, match="is not allowed"):
        index_tar(shard)


def test_two_pictures_of_one_key_are_both_named(tmp_path):
    shard = make_tar(tmp_path / "twice.tar", [("d/a.png", png(1)), ("d/a.jpg", png(2)), ("b.png", png(3))])

    with pytest.raises(DataError, match=r"d/a\.png and d/a\.jpg \(key d/a\)"):
        index_tar(shard)


def test_one_name_twice_is_refused_too(tmp_path):
    shard = make_tar(tmp_path / "again.tar", [("a.png", png(1)), ("a.png", png(2))])

    with pytest.raises(DataError, match=r"a\.png and a\.png"):
        index_tar(shard)


def test_a_tar_without_pictures_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        index_tar(make_tar(tmp_path / "none.tar", [("a.txt", b"x")]))


def test_an_index_of_another_tar_no_longer_matches(shard):
    ensure_index(shard)
    make_tar(shard, [(f"{i}.png", png(i)) for i in range(12)])

    with pytest.raises(DataError, match=r"no longer matches: the tar has \d+ bytes, the index was made for \d+.*--force"):
        ensure_index(shard)
    assert ensure_index(shard, force=True)
    assert len(load_index(shard).members) == 12


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index.update(format="ipt-index/9"), "format: "),
        (lambda index: index.pop("members"), "members: "),
        (lambda index: index["members"][1].update(offset=-5), r"members\.1\.offset: "),
        (lambda index: index["members"][1].update(offset=10**7), "two.* is said to end at byte"),
        (lambda index: index["members"][1].update(key="../../x"), r"members\.1\.key: .*not allowed"),
        (lambda index: index["members"][1].update(sha256="abc"), r"members\.1\.sha256"),
        (lambda index: index["members"][1].update(key="a/one"), r"two pictures of one key: a/one\.png and two\.jpg\.png"),
        (lambda index: index["members"][1].update(extra=1), r"members\.1\.extra"),
        (lambda index: index["members"][1].update(size="7"), r"members\.1\.size"),
    ],
)
def test_an_index_that_is_wrong_says_where(shard, change, says):
    path = write_index(shard, index_tar(shard))
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))

    with pytest.raises(DataError, match=says):
        load_index(shard)


def test_half_an_index_and_none_at_all_are_told_apart(shard):
    with pytest.raises(NotFoundError, match="data index"):
        load_index(shard)
    path = write_index(shard, index_tar(shard))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not an index"):
        load_index(shard)
    shard.unlink()
    with pytest.raises(NotFoundError, match="no such shard"):
        load_index(shard)
    assert index_path(shard).name == "some.tar.index.json"
