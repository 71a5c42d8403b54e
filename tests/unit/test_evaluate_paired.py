"""Paired test sets: pairs are measured as they lie on the disk, by the tasks that they say something about."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.errors import DataError, UsageError
from ipt_platform.evaluate.params import task_with_params
from ipt_platform.evaluate.run import evaluate_sets
from ipt_platform.evaluate.testset import FrozenTask, TestSet, frozen_task, open_testset, open_testsets

PAIRS = FrozenTask("rain100l", None)


def pictures(seed: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 24, 30, 3), dtype=np.uint8)
    return {f"{number}.png": pixels[: 20 + number] for number, pixels in enumerate(noise)}


def write(folder: Path, crops: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for name, crop in crops.items():
        Image.fromarray(crop).save(folder / name)
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return write(tmp_path / "rainy", pictures(1)), write(tmp_path / "clean", pictures(2))


@pytest.fixture
def testset(folders, tmp_path) -> TestSet:
    return open_testset("pairs", pack_pairs(*folders, tmp_path / "pairs", shard_size=9000)[0].shards)


@pytest.mark.parametrize("task", [PAIRS, frozen_task("derain")], ids=["reads-pairs", "degrades"])
def test_pairs_come_as_they_are_whatever_the_task(testset, task):
    items = list(testset.items(task))

    assert [item.key for item in items] == ["0", "1", "2", "3", "4"]
    for item, degraded, clean in zip(items, pictures(1).values(), pictures(2).values(), strict=True):
        assert item.degraded.dtype == np.float32
        assert np.array_equal(item.degraded, degraded / np.float32(255))
        assert np.array_equal(item.clean, clean)
        assert item.params == {"pair": item.key}


def test_the_shares_of_all_ranks_are_the_set(testset):
    shares = [item for rank in range(3) for item in testset.items(PAIRS, (rank, 3))]

    assert sorted(item.index for item in shares) == [0, 1, 2, 3, 4]


def test_the_digest_is_of_both_halves_and_of_nothing_else(testset, folders, tmp_path):
    rainy, clean = folders
    write(tmp_path / "renamed/in", {f"x{name}": crop for name, crop in pictures(1).items()})
    write(tmp_path / "renamed/gt", {f"x{name}": crop for name, crop in pictures(2).items()})
    renamed = pack_pairs(tmp_path / "renamed/in", tmp_path / "renamed/gt", tmp_path / "renamed/out")[0].shards
    swapped = pack_pairs(clean, rainy, tmp_path / "swapped")[0].shards
    digest = testset.digest(PAIRS)

    assert open_testset("other", renamed).digest(frozen_task("derain")) == digest
    assert open_testset("pairs", swapped).digest(PAIRS) != digest
    assert open_testset("clean", [clean]).digest(frozen_task("derain")) != digest


def test_each_set_measures_the_tasks_that_it_says_something_about(testset, folders):
    clean = open_testset("clean", [folders[1]])
    derain, denoise = frozen_task("derain"), frozen_task("denoise")
    of_derain = TestSet("named", testset.pictures, task="derain")

    assert clean.measured([denoise, PAIRS, derain]) == [denoise, derain]
    assert clean.measured([PAIRS]) == []
    assert testset.measured([denoise, PAIRS]) == [PAIRS]
    assert testset.measured([denoise, derain]) == [denoise, derain]
    assert of_derain.measured([denoise, PAIRS, derain]) == [derain]
    assert of_derain.measured([denoise, PAIRS]) == [PAIRS]
    assert of_derain.measured([denoise]) == [denoise]


def test_only_what_a_set_measures_is_restored_and_reported(testset, folders):
    clean = open_testset("clean", [folders[1]])
    asked = []

    def restore_fn_of(task):
        asked.append(task)
        return lambda degraded: degraded

    found = evaluate_sets(restore_fn_of, [clean, testset], [frozen_task("denoise"), PAIRS], "rgb-uint8")

    assert asked == ["denoise", "rain100l"]
    assert {name: list(tasks) for name, tasks in found.items()} == {"clean": ["denoise"], "pairs": ["rain100l"]}
    errors = [np.mean((a / 255 - b / 255) ** 2) for a, b in zip(pictures(1).values(), pictures(2).values(), strict=True)]
    expected = np.mean([-10 * np.log10(error) for error in errors])
    assert found["pairs"]["rain100l"]["psnr"] == pytest.approx(expected)
    asked.clear()
    assert list(evaluate_sets(restore_fn_of, [clean], [frozen_task("denoise"), PAIRS], "rgb-uint8")["clean"]) == ["denoise"]
    assert asked == ["denoise"]  # no model is loaded for nothing


def test_a_set_that_measures_nothing_is_refused(folders, tmp_path):
    with pytest.raises(
        UsageError, match=r"test set .*clean holds clean pictures, which rain100l cannot degrade: name a set of pairs"
    ):
        open_testsets([str(folders[1])], tmp_path, [PAIRS])


def test_pairs_beside_plain_pictures_are_no_test_set(testset, folders, tmp_path):
    plain = pack(folders[1], tmp_path / "plain").shards

    with pytest.raises(DataError, match="5 of its 10 pictures are pairs"):
        open_testset("mixed", [*testset.pictures.shards, *plain])


def test_a_half_that_does_not_decode_is_an_error_never_left_out(testset):
    at = testset.pictures.locate_degraded(2)
    with at.shard.open("r+b") as file:
        file.seek(at.offset + 60)
        file.write(bytes(40))

    with pytest.raises(DataError, match=r"test set pairs: 2: degraded half: The png .*measure again"):
        list(testset.items(PAIRS))


def test_a_task_that_reads_pairs_takes_no_parameters(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.yaml").write_text(
        "{apiVersion: ipt/v1, kind: task, name: mine, description: d, stage: downstream, pairs: nowhere/*.tar}"
    )

    assert task_with_params("mine", {}, tmp_path) == FrozenTask("mine", None)
    with pytest.raises(UsageError, match="--param density: task mine reads pairs on disk, which have no parameters"):
        task_with_params("mine", {"density": 1}, tmp_path)
