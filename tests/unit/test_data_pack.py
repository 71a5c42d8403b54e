"""Packing and verifying: bytes as they are, all or nothing, and every fault named."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.folder import key_of_file
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import index_path, load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.shards import expand_shards, verify
from ipt_platform.errors import DataError, NotFoundError, RefusedError, UsageError


def picture(seed=0, form="PNG", mode="RGB", size=(40, 30)):
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    files = {
        "zebra.JPG": picture(1, "JPEG"),
        "alps/a.b.png": picture(2),
        "alps/é ü.webp": picture(3, "WEBP"),
        "grey.png": picture(4, mode="L"),
        "alpha.png": picture(5, mode="RGBA"),
        "cmyk.jpg": picture(6, "JPEG", mode="CMYK"),
        "alps/notes.txt": b"not a picture",
        ".hidden.png": b"not looked at",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pictures_are_packed_as_they_are_in_the_order_of_their_keys(photos, tmp_path):
    report = pack(photos, tmp_path / "out")
    shards = ShardSet.open(report.shards)
    members = [shards.read(i) for i in range(shards.images)]

    assert [member.key for member in members] == ["alpha", "alps_a_b", "alps_é ü", "cmyk", "grey", "zebra"]
    assert members[1].data == (photos / "alps/a.b.png").read_bytes()
    assert members[5].data == (photos / "zebra.JPG").read_bytes()
    assert (report.images, report.bad, report.ignored) == (6, [], [".hidden.png", "alps/notes.txt"])
    assert report.bytes == sum(len(member.data) for member in members)
    assert left_in(tmp_path) == ["out", "photos"]
    assert left_in(tmp_path / "out") == ["000000.tar", "000000.tar.index.json"]
    assert verify(report.shards).problems == []


def test_any_webdataset_reader_can_read_our_shards(photos, tmp_path):
    import webdataset

    report = pack(photos, tmp_path / "out", shard_size=4000)
    read = [sample for shard in report.shards for sample in webdataset.WebDataset(str(shard), shardshuffle=False)]

    assert len(report.shards) > 1
    assert [sample["__key__"] for sample in read] == ["alpha", "alps_a_b", "alps_é ü", "cmyk", "grey", "zebra"]
    assert read[1]["png"] == (photos / "alps/a.b.png").read_bytes()
    assert decode_rgb(read[5]["jpg"]).shape == (30, 40, 3)


def test_the_same_pictures_give_the_same_bytes(photos, tmp_path):
    first, second = (pack(photos, tmp_path / name, shard_size=4000, threads=n) for name, n in (("one", 1), ("two", 3)))

    assert [path.read_bytes() for path in first.shards] == [path.read_bytes() for path in second.shards]
    assert [index_path(path).read_bytes() for path in first.shards] == [index_path(path).read_bytes() for path in second.shards]


def test_a_shard_closes_once_it_holds_its_size(photos, tmp_path):
    report = pack(photos, tmp_path / "out", shard_size=1)

    assert [path.name for path in report.shards] == [f"{i:06d}.tar" for i in range(6)]
    assert expand_shards(str(tmp_path / "out/{000000..000005}.tar")) == report.shards
    assert [len(load_index(path).members) for path in report.shards] == [1] * 6


def damage(photos):
    whole = (photos / "zebra.JPG").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.webp").write_bytes(b"hello world")
    (photos / "link.png").symlink_to(photos / "grey.png")
    (photos / "elsewhere").symlink_to(photos / "alps")
    os.mkfifo(photos / "pipe.jpg")
    return ["cut.jpg", "elsewhere", "empty.png", "link.png", "pipe.jpg", "text.webp"]


def test_all_bad_pictures_are_named_and_nothing_is_written(photos, tmp_path):
    names = damage(photos)

    with pytest.raises(DataError, match=r"6 of 12 pictures cannot be used, nothing was written") as caught:
        pack(photos, tmp_path / "out")
    assert all(f"  {name}: " in str(caught.value) for name in names)
    assert left_in(tmp_path) == ["photos"]


def test_bad_pictures_can_be_left_out_and_are_counted_and_named(photos, tmp_path):
    names = damage(photos)
    report = pack(photos, tmp_path / "out", skip_bad=True)

    assert report.images == 6
    assert sorted(bad.name for bad in report.bad) == names
    assert verify(report.shards).problems == []


def test_where_every_picture_is_bad_nothing_is_written_even_when_they_may_be_left_out(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")

    with pytest.raises(DataError, match=r"none of its 1 pictures can be used"):
        pack(folder, tmp_path / "out", skip_bad=True)
    assert left_in(tmp_path) == ["photos"]


def test_folders_without_pictures_say_what_they_hold(tmp_path):
    folder = tmp_path / "photos"
    with pytest.raises(NotFoundError, match="no such folder"):
        pack(folder, tmp_path / "out")
    folder.mkdir()
    with pytest.raises(DataError, match="it is empty"):
        pack(folder, tmp_path / "out")
    (folder / "scan.tiff").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"it holds 1 other files: \.tiff.*Pictures are \.jpeg"):
        pack(folder, tmp_path / "out")
    assert left_in(tmp_path) == ["photos"]


def test_two_files_of_one_key_are_both_named(photos, tmp_path):
    (photos / "zebra.png").write_bytes(picture())
    (photos / "alps_a.b.webp").write_bytes(picture())

    with pytest.raises(DataError, match=r"2 keys belong to more than one file") as caught:
        pack(photos, tmp_path / "out")
    assert "zebra: zebra.JPG and zebra.png" in str(caught.value)
    assert "alps_a_b: alps/a.b.png and alps_a.b.webp" in str(caught.value)
    assert left_in(tmp_path) == ["photos"]


def test_shards_are_never_written_over(photos, tmp_path):
    shards = pack(photos, tmp_path / "out").shards
    before = shards[0].read_bytes()

    with pytest.raises(RefusedError, match="not empty"):
        pack(photos, tmp_path / "out")
    with pytest.raises(RefusedError, match="not a folder"):
        pack(photos, shards[0])
    assert shards[0].read_bytes() == before


def test_an_empty_folder_may_be_the_output_and_the_output_may_lie_among_the_pictures(photos):
    (photos / "out").mkdir()

    assert pack(photos, photos / "out").images == 6


def test_keys_never_hold_a_dot_or_a_slash():
    assert key_of_file("a/b.c/d.e.JPEG") == "a_b_c_d_e"


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def test_every_kind_of_damage_is_named_in_one_report(photos, tmp_path):
    digest, cut, lost, moved, whole, rotten = pack(photos, tmp_path / "out", shard_size=1).shards
    flip(digest, load_index(digest).members[0].offset + 100)
    cut.write_bytes(cut.read_bytes()[:-1500])
    index_path(lost).unlink()
    index = json.loads(index_path(moved).read_text())
    index["members"][0]["offset"] += 1
    index_path(moved).write_text(json.dumps(index))
    index_path(rotten).write_text("{")
    report = verify([digest, cut, lost, moved, whole, rotten, tmp_path / "gone.tar"])
    says = "\n".join(map(str, report.problems))

    assert {problem.shard for problem in report.problems} == {digest, cut, lost, moved, rotten, tmp_path / "gone.tar"}
    assert "alpha.png: its bytes have sha256" in says
    assert "000001.tar: the index no longer matches" in says
    assert "000002.tar: has no index" in says
    assert "000003.tar: cmyk.jpg: 000003.tar.index.json places it at bytes" in says
    assert "000005.tar.index.json: not an index" in says
    assert "gone.tar: there is no such shard" in says


def test_a_foreign_shard_with_a_picture_that_does_not_decode_is_found(tmp_path):
    from ipt_platform.data.scan import ensure_index

    data = picture(size=(64, 64))[:-400]
    shard = tmp_path / "foreign.tar"
    with tarfile.open(shard, "w") as tar:
        info = tarfile.TarInfo("half.png")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    ensure_index(shard)

    assert [str(each) for each in verify([shard]).problems] == [
        f"{shard}: half.png: The png does not decode: it is cut off or damaged."
    ]


def test_shards_are_found_by_path_folder_glob_and_range(photos, tmp_path, monkeypatch):
    shards = pack(photos, tmp_path / "out", shard_size=1).shards
    monkeypatch.chdir(tmp_path)

    assert expand_shards(str(tmp_path / "out/*.tar")) == shards
    assert expand_shards(tmp_path / "out") == shards
    assert [path.name for path in expand_shards("out/{000002..000004}.tar")] == ["000002.tar", "000003.tar", "000004.tar"]
    assert expand_shards([str(shards[3]), str(tmp_path / "out/*.tar")]) == [shards[3], *shards[:3], *shards[4:]]


def test_what_names_no_shard_is_named(tmp_path):
    (tmp_path / "000001.tar").touch()

    with pytest.raises(NotFoundError, match=r"000000\.tar.*000002\.tar"):
        expand_shards(str(tmp_path / "{000000..000002}.tar"))
    with pytest.raises(NotFoundError, match=r"x\*\.tar"):
        expand_shards([str(tmp_path / "x*.tar"), str(tmp_path / "000001.tar")])
    with pytest.raises(UsageError, match="count up"):
        expand_shards(str(tmp_path / "{5..1}.tar"))
    with pytest.raises(UsageError, match="at most"):
        expand_shards(str(tmp_path / "{0..99999999999}.tar"))
    with pytest.raises(UsageError, match="s3://"):
        expand_shards("gs://bucket/{0..3}.tar")
    with pytest.raises(NotFoundError):
        expand_shards([])
