"""What a job that restores finds to do: names, rules, what is there already, and outputs that are whole or not there."""

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.scan import ensure_index
from ipt_platform.errors import BadPictureError, DataError, InfrastructureError, UsageError
from ipt_platform.restore.encoded import restore_encoded
from ipt_platform.restore.outputs import Outputs
from ipt_platform.restore.pictures import Picture, list_input
from ipt_platform.restore.work import find_work, restore_plan, task_for
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.parts import RestoreRule

RULES = [{"match": "rainy/**", "task": "derain"}, {"match": "*.png", "task": "denoise"}]


def png(seed: int = 0, size: tuple[int, int] = (6, 5), bits: type = np.uint8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(bits).max, (*size, 3), bits)
    return cv2.imencode(".png", pixels)[1].tobytes()


def put(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data or png())
    return path


def shard(path: Path, **members: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", ".") + ".png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    ensure_index(path)
    return path


def job(**changes) -> RestoreJob:
    values = {"apiVersion": "ipt/v1", "kind": "restore", "name": "r", "input": "photos", "output": "out", "tasks": RULES}
    return RestoreJob.model_validate(values | changes)


def names(pictures: list[Picture]) -> list[str]:
    return [picture.name for picture in pictures]


def test_a_folder_is_taken_with_all_below_it_but_hidden_files_and_the_outputs(tmp_path):
    for name in ("b.png", "a/c.JPG", "a/d/e.webp", ".hidden.png", ".git/f.png", "note.txt", "a/restored/old.png"):
        put(tmp_path / "photos" / name)

    listing = list_input("photos", "photos/a/restored", tmp_path)

    assert names(listing.pictures) == ["a/c.JPG", "a/d/e.webp", "b.png"]
    assert (listing.ignored, listing.refused) == (1, [])
    assert listing.pictures[2].read() == (tmp_path / "photos" / "b.png").read_bytes()


def test_a_name_that_is_harmful_is_refused_and_named(tmp_path):
    put(tmp_path / "photos" / "line\nbreak.png")
    (tmp_path / "photos" / "\udcff.png").write_bytes(png())

    listing = list_input("photos", "out", tmp_path)

    assert listing.pictures == []
    assert {(bad.name, bad.kind) for bad in listing.refused} == {("line\\nbreak.png", "bad-name"), ("\\udcff.png", "bad-name")}


def test_shards_give_their_pictures_and_of_pairs_the_degraded_halves(tmp_path):
    shard(tmp_path / "set" / "000000.tar", one=png(1), two=png(2))
    shard(tmp_path / "set" / "000001.tar", x__clean=png(3), x__degraded=png(4))

    listing = list_input("set/*.tar", "out", tmp_path)

    assert names(listing.pictures) == ["000000/one.png", "000000/two.png", "000001/x.degraded.png"]
    assert [picture.read() for picture in listing.pictures] == [png(1), png(2), png(4)]


def test_two_shards_of_one_name_would_share_outputs(tmp_path):
    for folder in ("a", "b"):
        shard(tmp_path / "set" / folder / "000000.tar", one=png())

    with pytest.raises(DataError, match=r"1 outputs would belong to two pictures, the first of them 000000/one\.png"):
        list_input("set/**/*.tar", "out", tmp_path)


def test_a_picture_that_cannot_be_read_is_bad_and_a_disk_that_fails_is_no_pictures_fault(tmp_path):
    path = shard(tmp_path / "set" / "000000.tar", one=png(1))
    (cut,) = list_input("set/*.tar", "out", tmp_path).pictures
    path.write_bytes(path.read_bytes()[:600])

    for picture, kind in ((cut, "cut-off"), (Picture("gone.png", tmp_path / "gone.png"), "unreadable")):
        with pytest.raises(BadPictureError) as error:
            picture.read()
        assert error.value.kind == kind
    with pytest.raises(InfrastructureError, match="cannot be read"):
        Picture("folder.png", tmp_path, offset=0, size=5).read()


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("rainy/a.jpg", "derain"),
        ("rainy/deep/a.png", "derain"),
        ("rainy.png", "denoise"),
        ("other/a.png", None),
        ("a.jpg", None),
    ],
)
def test_the_first_rule_that_matches_counts(name, task):
    assert task_for(name, [RestoreRule.model_validate(rule) for rule in RULES]) == task


def test_only_what_has_no_output_is_missing_and_every_picture_is_accounted_for(tmp_path):
    for name in ("rainy/a.png", "rainy/b.png", "c.png", "d.png", "other/e.png", "note.txt"):
        put(tmp_path / "photos" / name)
    for name in ("rainy/b.png", "c.png", "unrelated.png"):
        put(tmp_path / "out" / name)

    work = find_work(job(), "run", tmp_path)

    assert {task: names(pictures) for task, pictures in work.missing.items()} == {
        "derain": ["rainy/a.png"],
        "denoise": ["d.png"],
    }
    assert (work.total, work.found, work.unmatched, work.ignored) == (4, 2, 1, 1)
    assert work.tasks == {"derain": 2, "denoise": 2}
    plan = restore_plan(job(), tmp_path)
    assert (plan["pictures"], plan["found"], plan["unmatched"], plan["ignored"]) == (4, 2, 1, 1)


def test_a_folder_without_pictures_says_how_shards_are_named(tmp_path):
    put(tmp_path / "photos" / "000000.tar", b"x")

    with pytest.raises(UsageError, match=r"nothing to restore: .* in photos \(1 other files\); shards are named as in photos/"):
        find_work(job(), "run", tmp_path)


def test_an_output_is_never_replaced_and_leavings_of_the_own_run_are_taken_away(tmp_path):
    outputs = Outputs(tmp_path, "mine")
    own, other = put(tmp_path / "a" / ".mine-0123abcd.tmp"), put(tmp_path / "a" / ".yours-0123abcd.tmp")

    outputs.put("a/b.png", b"first")
    outputs.put("a/b.png", b"second")

    assert outputs.at("a/b.png").read_bytes() == b"first"
    assert outputs.has("a/b.png")
    assert not outputs.has("a/c.png")
    assert outputs.names() == {"a/b.png", "a/.yours-0123abcd.tmp"}
    assert (own.exists(), other.exists()) == (False, True)
    put(own)
    outputs.tidy()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b.png", ".yours-0123abcd.tmp"}


def test_an_output_that_cannot_be_written_whole_is_not_there(tmp_path):
    put(tmp_path / "file", b"x")

    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        Outputs(tmp_path, "mine").put("file/b.png", b"data")

    assert Outputs(tmp_path, "mine").names() == {"file"}


def test_a_picture_comes_back_in_its_format_and_size():
    deep = png(bits=np.uint16)

    assert restore_encoded(deep, ".png", lambda rgb: rgb) == png(bits=np.uint16)
    larger = cv2.imdecode(np.frombuffer(restore_encoded(deep, ".png", lambda rgb: rgb, scale=3), np.uint8), -1)
    assert (larger.shape, larger.dtype) == ((18, 15, 3), np.uint16)


@pytest.mark.parametrize(
    ("data", "suffix", "kind"),
    [
        (b"GIF89a", ".png", "other-format"),
        (b"", ".png", "cut-off"),
        (png()[:60], ".png", "damaged"),
        (png(bits=np.uint16), ".jpg", "not-restored"),
    ],
)
def test_a_bad_picture_has_a_kind(data, suffix, kind):
    with pytest.raises(BadPictureError) as error:
        restore_encoded(data, suffix, lambda rgb: rgb)

    assert error.value.kind == kind


def test_values_that_are_not_finite_become_no_picture():
    with pytest.raises(BadPictureError, match="the model gave 90 values that are not finite") as error:
        restore_encoded(png(), ".png", lambda rgb: np.full_like(rgb, np.nan))

    assert error.value.kind == "not-restored"


def test_an_animation_is_bad():
    stream = io.BytesIO()
    first, second = (Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255))
    first.save(stream, "PNG", save_all=True, append_images=[second])

    with pytest.raises(BadPictureError, match="animation"):
        restore_encoded(stream.getvalue(), ".png", lambda rgb: rgb)
