"""Odd pictures through the doors of whoever brings shards: pack, index, verify."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from ipt_platform.data.image import decode_rgb
from ipt_platform.data.index import write_index
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import index_tar, index_usable
from ipt_platform.data.shards import verify
from ipt_platform.errors import DataError, ExitCode
from tests.integration.odd_pictures import (
    BY_HEADER,
    EVERYTHING,
    FAULTY,
    HANDLED,
    KINDS,
    TEN_GB,
    Tar,
    by_hand,
    encoded,
    kinds,
    noise,
    run,
    torn,
)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in EVERYTHING.items():
        (folder / name).write_bytes(data)
    (folder / "link.png").symlink_to(folder / "alpha.png")
    with (folder / "film.jpg").open("wb") as file:
        file.truncate(TEN_GB)  # takes no room on the disk
    return folder


# data pack


def test_pack_names_each_by_its_kind_and_writes_the_others(photos, tmp_path):
    with pytest.raises(DataError, match=f"{len(FAULTY) + 2} of {len(EVERYTHING) + 2} pictures cannot be used"):
        pack(photos, tmp_path / "none")
    report = pack(photos, tmp_path / "out", skip_bad=True)

    assert kinds(report.bad) == {**KINDS, "link.png": "not-a-file", "film.jpg": "too-large"}
    assert report.images == len(HANDLED)
    assert verify(report.shards).problems == []
    said = run("data", "pack", photos, tmp_path / "again", "--skip-bad").stdout
    assert "9 left out: 3 cut-off, 1 damaged, 2 other-format, 2 too-large, 1 not-a-file" in said


def test_packing_pairs_names_missing_halves_and_unlike_ones(tmp_path):
    for name, size in (("a", (40, 48)), ("b", (40, 48)), ("c", (40, 48))):
        for half, folder in enumerate(("dark", "bright")):
            (tmp_path / folder).mkdir(exist_ok=True)
            height, width = (size[0] + 2 * half, size[1]) if name == "b" else size
            (tmp_path / folder / f"{name}.png").write_bytes(encoded(noise(half, height, width)))
    (tmp_path / "bright/c.png").unlink()

    report, _ = pack_pairs(tmp_path / "dark", tmp_path / "bright", tmp_path / "out", skip_bad=True)

    assert kinds(report.bad) == {"b.png": "sizes-differ", "c.png": "half-missing"}
    assert report.images == 1


# data index of a tar from elsewhere


def test_index_takes_the_good_and_names_the_rest(tmp_path):
    tar = Tar(tmp_path / "web.tar").write(EVERYTHING, links=("link.png", "link.txt"))

    with pytest.raises(DataError, match=rf"{len(BY_HEADER) + 1} members cannot be used"):
        index_tar(tar)
    index, bad = index_usable(tar)

    assert {entry.name for entry in index.members} == set(HANDLED)
    assert kinds(bad) == {**KINDS, "link.png": "not-a-file"}
    assert all(each.shard == "web.tar" and each.reason for each in bad)


def test_the_command_says_how_to_go_on_and_then_goes_on(tmp_path):
    tar = Tar(tmp_path / "web.tar").write(EVERYTHING, links=("link.png",))

    with pytest.raises(DataError, match=r"1 shards cannot be indexed\. Leave out what cannot be used with --skip-bad\."):
        run("data", "index", tar)
    found = json.loads(run("data", "index", tar, "--skip-bad", "--json").stdout)
    assert found["made"] == [str(tar)]
    assert {each["name"]: each["kind"] for each in found["bad"]} == {**KINDS, "link.png": "not-a-file"}
    assert {each["shard"] for each in found["bad"]} == {str(tar)}
    said = run("data", "index", tar, "--skip-bad", "--force").stdout
    assert "8 left out: 3 cut-off, 1 damaged, 2 other-format, 1 too-large, 1 not-a-file" in said
    assert f"left out: {tar}: gif.jpg: Not a PNG, JPEG or WebP picture but a GIF" in said
    assert json.loads(run("data", "verify", tar, "--json").stdout)["problems"] == []


@pytest.mark.parametrize("there", [True, False])
def test_a_member_of_10_gb_by_its_header(tmp_path, there):
    tar = tmp_path / "big.tar"
    members = [tarfile.TarInfo(name) for name in ("first.png", "film.jpg", "last.png")]
    members[0].size = members[2].size = len(HANDLED["alpha.png"])
    members[1].size = TEN_GB
    body = HANDLED["alpha.png"] + bytes(-len(HANDLED["alpha.png"]) % 512)
    with tar.open("wb") as file:
        file.write(members[0].tobuf() + body + members[1].tobuf())
        if there:  # as a hole, which takes no room
            file.seek(TEN_GB, io.SEEK_CUR)
            file.write(members[2].tobuf() + body + bytes(1024))

    index, bad = index_usable(tar)

    (only,) = bad
    assert [entry.name for entry in index.members] == ["first.png", "last.png"][: 2 if there else 1]
    assert (only.name, only.kind) == (("film.jpg", "too-large") if there else ("", "cut-off"))
    assert str(TEN_GB) in only.reason
    with pytest.raises(DataError, match=str(TEN_GB)):
        index_tar(tar)


def test_a_cut_off_tar_gives_what_comes_before_the_cut(tmp_path):
    tar = Tar(tmp_path / "cut.tar").write({f"{i}.png": encoded(noise(i)) for i in range(5)})
    tar.write_bytes(tar.read_bytes()[: index_tar(tar).members[3].offset + 100])

    index, bad = index_usable(tar)

    assert [entry.key for entry in index.members] == ["0", "1", "2"]
    assert [(each.name, each.kind) for each in bad] == [("", "cut-off")]
    write_index(tar, index)
    assert ShardSet.open([tar]).read(2).data == encoded(noise(2))


def test_names_that_two_pictures_share_go_to_the_first(tmp_path):
    tar = Tar(tmp_path / "x.tar").write({"a.png": HANDLED["alpha.png"], "a.jpg": HANDLED["cmyk.jpg"], "../b.png": b""})

    index, bad = index_usable(tar)

    assert [entry.name for entry in index.members] == ["a.png"]
    assert [(each.name, each.kind) for each in bad] == [("../b.png", "bad-name"), ("a.jpg", "bad-name")]


def test_halves_of_pairs_are_named_and_their_partners_with_them(tmp_path):
    good, large = encoded(noise(1)), encoded(noise(1, 44, 48))
    members = {f"{key}.{half}.png": good for key in "abcd" for half in ("degraded", "clean")}
    members |= {"b.degraded.png": torn(good), "c.clean.png": large}
    del members["d.clean.png"]
    tar = Tar(tmp_path / "pairs.tar").write(members)

    index, bad = index_usable(tar)

    assert [entry.key for entry in index.members] == ["a"]
    assert index.pairs == 1
    assert kinds(bad) == {
        "b.degraded.png": "cut-off",
        "b.clean.png": "half-missing",
        "c.degraded.png": "sizes-differ",
        "d.degraded.png": "half-missing",
    }
    assert "b.degraded.* cannot be used" in next(each.reason for each in bad if each.name == "b.clean.png")


# data verify


def test_verify_tells_the_kind_of_each_fault(tmp_path):
    tar = by_hand(Tar(tmp_path / "x.tar").write(EVERYTHING))

    found = {problem.member: problem.kind for problem in verify([tar]).problems}

    # pictures of another size than the index says are told too
    others = {name: "changed" for name, data in HANDLED.items() if decode_rgb(data).shape[:2] != (40, 48)}
    assert found == {**KINDS, **others}
    result = run("data", "verify", tar)
    assert result.exit_code == ExitCode.USAGE
    assert "10 problems (3 cut-off, 1 damaged, 2 other-format, 1 too-large, 3 changed)" in result.stdout
