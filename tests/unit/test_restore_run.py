import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ipt_platform.data.degradations.resize import imresize
from ipt_platform.errors import DataError, NotFoundError, RefusedError, UsageError
from ipt_platform.restore.imageio import check_fits
from ipt_platform.restore.run import RestoreReport, Step, Work, plan_restore, restore_paths
from ipt_platform.restore.tiles import restore_array

RNG = np.random.default_rng(0)


def invert(picture, on_tile):
    on_tile(1, 1)
    return 1 - picture


def through(model, **sizes):
    return lambda picture, on_tile: restore_array(model, picture, on_tile=on_tile, **sizes)


def by(restore_fn, upscale=1):
    """Every picture by one model."""
    return lambda work, picture: [Step(restore_fn, upscale)]


def photo(path: Path, height: int = 20, width: int = 30) -> np.ndarray:
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def opened(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_keeps_its_tree(tmp_path):
    one, two = photo(tmp_path / "in/one.png"), photo(tmp_path / "in/deep/two.png")
    photo(tmp_path / "in/.cache/hidden.png")

    report = restore_paths(plan_restore([tmp_path / "in"], tmp_path / "out"), by(invert))

    assert report.failed == []
    assert listing(tmp_path / "out") == ["deep/two.png", "one.png"]
    np.testing.assert_array_equal(opened(tmp_path / "out/one.png"), 255 - one)
    np.testing.assert_array_equal(opened(tmp_path / "out/deep/two.png"), 255 - two)


def test_one_file_can_be_given_a_name_and_a_format(tmp_path):
    pixels = photo(tmp_path / "photo.png")

    restore_paths(plan_restore([tmp_path / "photo.png"], tmp_path / "new/restored.webp"), by(invert))
    restore_paths(plan_restore([tmp_path / "photo.png"], tmp_path / "folder"), by(invert))

    assert Image.open(tmp_path / "new/restored.webp").format == "WEBP"
    np.testing.assert_array_equal(opened(tmp_path / "folder/photo.png"), 255 - pixels)


def test_bad_inputs_are_named_and_the_others_restored(tmp_path):
    photo(tmp_path / "in/good.png")
    photo(tmp_path / "in/zebra.jpg")
    (tmp_path / "in/notes.txt").write_text("not a picture")
    (tmp_path / "in/fake.png").write_text("not a picture")
    (tmp_path / "in/cut.png").write_bytes((tmp_path / "in/good.png").read_bytes()[:200])

    report = restore_paths(plan_restore([tmp_path / "in"], tmp_path / "out"), by(invert))

    assert listing(tmp_path / "out") == ["good.png", "zebra.jpg"]
    assert [path.name for path, _ in report.failed] == ["cut.png", "fake.png", "notes.txt"]
    assert all(reason for _, reason in report.failed)


def test_a_model_that_gives_nan_writes_nothing(tmp_path):
    photo(tmp_path / "a.png")

    report = restore_paths(
        plan_restore([tmp_path / "a.png"], tmp_path / "out"), by(lambda picture, on_tile: picture * math.nan)
    )

    assert report.done == []
    assert "1800 values that are not finite" in report.failed[0][1]
    assert not (tmp_path / "out").exists()


def test_a_failing_write_leaves_neither_half_a_file_nor_a_temporary_one(tmp_path):
    photo(tmp_path / "a.png")
    (tmp_path / "out/a.png/full").mkdir(parents=True)

    report = restore_paths([Work(tmp_path / "a.png", tmp_path / "out/a.png")], by(invert))

    assert [path.name for path, _ in report.failed] == ["a.png"]
    assert listing(tmp_path / "out") == []


def test_two_inputs_of_one_name_are_refused_before_anything_is_written(tmp_path):
    photo(tmp_path / "a/x.png")
    photo(tmp_path / "b/x.png")

    for overwrite in (False, True):
        with pytest.raises(RefusedError, match=r"a/x\.png and .*b/x\.png"):
            plan_restore([tmp_path / "a", tmp_path / "b/x.png"], tmp_path / "out", overwrite)


def test_existing_outputs_are_all_named_and_replaced_only_on_demand(tmp_path):
    pixels = photo(tmp_path / "in/x.png")
    photo(tmp_path / "in/y.png")
    before = photo(tmp_path / "out/x.png")
    photo(tmp_path / "out/y.png")

    with pytest.raises(RefusedError, match=r"--overwrite(.|\n)*x\.png(.|\n)*y\.png"):
        plan_restore([tmp_path / "in"], tmp_path / "out")
    np.testing.assert_array_equal(opened(tmp_path / "out/x.png"), before)

    restore_paths(plan_restore([tmp_path / "in"], tmp_path / "out", overwrite=True), by(invert))
    np.testing.assert_array_equal(opened(tmp_path / "out/x.png"), 255 - pixels)


def test_an_input_is_never_replaced(tmp_path):
    pixels = photo(tmp_path / "in/x.png")
    (tmp_path / "link").symlink_to(tmp_path / "in")

    for inputs, out in (
        ([tmp_path / "in"], tmp_path / "in"),
        ([tmp_path / "in"], tmp_path / "link"),
        ([tmp_path / "in/x.png"], tmp_path / "in"),
        ([tmp_path / "in/x.png"], tmp_path / "in/x.png"),
    ):
        with pytest.raises(RefusedError, match="replace an input"):
            plan_restore(inputs, out, overwrite=True)
    np.testing.assert_array_equal(opened(tmp_path / "in/x.png"), pixels)


def test_outputs_below_the_input_folder_are_not_restored_again(tmp_path):
    photo(tmp_path / "in/x.png")

    for _ in range(2):
        work = plan_restore([tmp_path / "in"], tmp_path / "in/restored", overwrite=True)
        restore_paths(work, by(invert))

    assert [each.source.name for each in work] == ["x.png"]
    assert listing(tmp_path / "in") == ["restored/x.png", "x.png"]
    assert len(plan_restore([tmp_path / "in"], tmp_path)) == 2


def test_missing_and_empty_inputs_say_so(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.png, .*lost"):
        plan_restore([tmp_path / "gone.png", tmp_path / "lost"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="nothing to restore"):
        plan_restore([tmp_path / "empty"], tmp_path / "out")
    photo(tmp_path / "x.png")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RefusedError, match="is a file"):
        plan_restore([tmp_path / "x.png"], tmp_path / "out")


def test_progress_is_told_tile_by_tile_and_bad_pictures_too(tmp_path):
    photo(tmp_path / "in/a.png", 100, 500)
    (tmp_path / "in/b.txt").write_text("no")
    told = []

    report = restore_paths(
        plan_restore([tmp_path / "in"], tmp_path / "out"),
        by(through(lambda x: x, tile=192, overlap=64)),
        on_progress=lambda work, done, total: told.append((work.source.name, done, total)),
    )

    assert told == [("a.png", 1, 4), ("a.png", 2, 4), ("a.png", 3, 4), ("a.png", 4, 4), ("b.txt", 0, 0)]
    assert isinstance(report, RestoreReport)


def test_a_large_picture_through_a_real_net_is_the_same_tiled_and_whole(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1)).eval()
    photo(tmp_path / "large.png", 300, 420)

    outputs = []
    for tile, overlap in ((192, 64), (576, 64)):
        out = tmp_path / f"{tile}.png"
        restore_paths(plan_restore([tmp_path / "large.png"], out), by(through(model, tile=tile, overlap=overlap)))
        outputs.append(opened(out).astype(int))

    assert np.abs(outputs[0] - outputs[1]).max() <= 1
    assert (outputs[0] != outputs[1]).mean() < 1e-3


def test_a_picture_of_one_pixel_is_a_picture(tmp_path):
    photo(tmp_path / "dot.png", 1, 1)

    report = restore_paths(plan_restore([tmp_path / "dot.png"], tmp_path / "out"), by(through(lambda x: x)))

    assert len(report.done) == 1
    assert Image.open(io.BytesIO((tmp_path / "out/dot.png").read_bytes())).size == (1, 1)


def test_a_picture_is_enlarged_before_the_model_sees_it_and_its_alpha_with_it(tmp_path):
    pixels = RNG.integers(0, 256, (21, 30, 4), np.uint8)
    pixels[:, :15, 3], pixels[:, 15:, 3] = 255, 0
    Image.fromarray(pixels).save(tmp_path / "cut-out.png")
    seen, told = [], []

    def model(image):
        seen.append(tuple(image.shape))
        return image

    report = restore_paths(
        plan_restore([tmp_path / "cut-out.png"], tmp_path / "out"),
        by(through(model, tile=192, overlap=64), upscale=7),
        on_progress=lambda work, done, total: told.append((done, total)),
    )

    assert report.failed == []
    assert told == [(1, 2), (2, 2)]
    assert [shape[2:] for shape in seen] == [(147, 192), (147, 82)]
    restored = opened(tmp_path / "out/cut-out.png")
    assert restored.shape == (147, 210, 4)
    larger = imresize(pixels[..., :3].astype(np.float32) / 255, 7)
    assert np.abs(restored[..., :3] / 255 - np.clip(larger, 0, 1)).max() <= 0.51 / 255
    # Opaque stays opaque, transparent transparent, and the cut lies where it was.
    assert (restored[:, :90, 3] == 255).all()
    assert (restored[:, 120:, 3] == 0).all()
    assert 100 < restored[:, 104:106, 3].mean() < 155


def test_sixteen_bits_and_grey_stay_what_they_are_when_a_picture_is_enlarged(tmp_path):
    grey = RNG.integers(0, 2**16, (12, 10), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "scan.png")

    restore_paths(plan_restore([tmp_path / "scan.png"], tmp_path / "out"), by(through(lambda x: x), upscale=2))

    restored = opened(tmp_path / "out/scan.png")
    assert restored.shape == (24, 20)
    assert len(np.unique(restored)) > 256
    larger = imresize((grey / 65535).astype(np.float32)[..., None], 2)[..., 0]
    np.testing.assert_allclose(restored / 65535, np.clip(larger, 0, 1), atol=2e-5)


def test_a_picture_that_would_become_too_large_is_refused_before_the_model_works(tmp_path):
    photo(tmp_path / "in/a.png", 2, 16_000)
    photo(tmp_path / "in/b.png", 2, 40)
    seen = []

    def model(picture, on_tile):
        seen.append(picture.shape)
        return picture

    work = [Work(tmp_path / f"in/{name}.png", tmp_path / f"{name}.webp") for name in "ab"]
    report = restore_paths(work, by(model, upscale=2))

    assert "32000x4 pixels do not fit into .webp, which holds sides of up to 16383: name it .png" in report.failed[0][1]
    assert seen == [(4, 80, 3)]
    assert opened(tmp_path / "b.webp").shape == (4, 80, 3)
    with pytest.raises(DataError, match="would have 20000x20000 pixels; at most 200000000"):
        check_fits(20_000, 20_000, ".png")


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16_383), (".jpg", 65_500), (".png", 70_000)])
def test_the_longest_side_that_is_let_through_can_be_written(tmp_path, suffix, side):
    photo(tmp_path / "long.png", 1, side)

    report = restore_paths(
        plan_restore([tmp_path / "long.png"], tmp_path / f"out{suffix}"), by(lambda picture, on_tile: picture)
    )

    assert report.failed == []
    assert Image.open(tmp_path / f"out{suffix}").size == (side, 1)


def test_steps_run_one_after_the_other_each_on_what_the_last_one_gave(tmp_path):
    pixels = photo(tmp_path / "photo.png", 10, 12)
    seen, told = [], []

    def brighter(picture, on_tile):
        seen.append(picture)
        on_tile(1, 2)
        on_tile(2, 2)
        return picture * 2

    report = restore_paths(
        plan_restore([tmp_path / "photo.png"], tmp_path / "out.png"),
        lambda work, picture: [Step(brighter), Step(invert, upscale=3), Step(brighter, upscale=2)],
        on_progress=lambda work, done, total: told.append((done, total)),
    )

    assert len(report.done) == 1
    assert told == [(1, 6), (2, 6), (2, 3), (5, 6), (6, 6)]
    bright = np.clip(pixels / np.float32(255) * 2, 0, 1)
    inverted = 1 - imresize(bright, 3)
    np.testing.assert_allclose(seen[1], imresize(np.clip(inverted, 0, 1), 2), atol=1e-6)
    last = np.clip(2 * imresize(np.clip(inverted, 0, 1), 2), 0, 1)
    assert np.abs(opened(tmp_path / "out.png") / 255 - last).max() <= 0.51 / 255


def test_a_picture_that_nothing_is_chosen_for_is_left_as_it_is(tmp_path):
    photo(tmp_path / "in/a.png")
    photo(tmp_path / "in/b.png")
    told = []

    report = restore_paths(
        plan_restore([tmp_path / "in"], tmp_path / "out"),
        lambda work, picture: [Step(invert)] if work.source.name == "b.png" else [],
        on_progress=lambda work, done, total: told.append((work.source.name, done, total)),
    )

    assert [work.source.name for work in report.left] == ["a.png"]
    assert listing(tmp_path / "out") == ["b.png"]
    assert told == [("a.png", 0, 0), ("b.png", 1, 1)]
