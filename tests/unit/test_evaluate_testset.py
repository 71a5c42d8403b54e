import io
import random
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from pydantic import ValidationError

from ipt_platform.data.pack import pack
from ipt_platform.errors import DataError, SpecError
from ipt_platform.evaluate.testset import FrozenTask, TestSet, frozen_task, open_testset

CROPS = {
    "cat.png": skimage.data.chelsea()[:60, :80],
    "cup.png": skimage.data.coffee()[200:260, 100:170],
    "moon/face.png": skimage.data.astronaut()[:64, 100:180],
}


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(tmp_path / "pictures", CROPS)


def write(folder: Path, crops: dict[str, np.ndarray]) -> Path:
    for name, crop in crops.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path)
    return folder


def contents(testset: TestSet, task: FrozenTask, share=(0, 1)) -> dict[bytes, tuple[bytes, dict]]:
    return {item.clean.tobytes(): (item.degraded.tobytes(), item.params) for item in testset.items(task, share)}


def test_the_evaluation_parameters_of_the_task_hold_and_can_be_overridden():
    assert frozen_task("denoise").degradation.model_dump(mode="json") == {"sigma": 25}
    assert frozen_task("denoise", {"sigma": 50}).degradation.model_dump(mode="json") == {"sigma": 50}
    with pytest.raises(ValidationError, match="0 and 255"):
        frozen_task("denoise", {"sigma": 300})
    with pytest.raises(ValidationError, match="sigmma"):
        frozen_task("denoise", {"sigmma": 25})
    with pytest.raises(SpecError, match="did you mean 'denoise'"):
        frozen_task("denoize")


def test_noise_has_the_strength_that_was_asked_for(folder):
    noise = [item.degraded - item.clean / 255 for item in open_testset("crops", [folder]).items(frozen_task("denoise"))]

    assert np.concatenate([part.ravel() for part in noise]).std() * 255 == pytest.approx(25, rel=0.02)


def test_pairs_do_not_depend_on_names_order_folders_or_shards(folder, tmp_path):
    task = frozen_task("denoise")
    renamed = {f"{place}.png": crop for place, crop in enumerate(random.Random(1).sample(list(CROPS.values()), 3))}
    other = open_testset("other", [write(tmp_path / "renamed", renamed)])
    pack(folder, tmp_path / "shards")
    shards = open_testset("shards", sorted((tmp_path / "shards").glob("*.tar")))
    here = open_testset("here", [folder])

    assert len(contents(here, task)) == 3
    assert contents(here, task) == contents(other, task) == contents(shards, task)
    assert here.digest(task) == other.digest(task) == shards.digest(task)
    assert [item.key for item in here.items(task)] == [item.key for item in shards.items(task)]


def test_the_shares_of_all_ranks_are_the_set_each_picture_once(folder):
    testset, task = open_testset("crops", [folder]), frozen_task("deblur")

    for world in (1, 2, 3, 5):
        shares = [list(testset.items(task, (rank, world))) for rank in range(world)]
        indices = sorted(item.index for share in shares for item in share)
        merged = {item.index: item.degraded.tobytes() for share in shares for item in share}

        assert indices == [0, 1, 2]
        assert merged == {item.index: item.degraded.tobytes() for item in testset.items(task)}


def test_a_second_reading_gives_the_same_bytes_and_another_seed_does_not(folder):
    testset, task = open_testset("crops", [folder]), frozen_task("denoise")

    assert contents(testset, task) == contents(testset, task)
    other = contents(TestSet("crops", testset.pictures, seed=1), task)
    assert all(other[clean] != pair for clean, pair in contents(testset, task).items())


def test_the_digest_changes_with_everything_that_changes_a_pair(folder, tmp_path):
    testset, task = open_testset("crops", [folder]), frozen_task("denoise")
    one_pixel = {**CROPS, "cat.png": CROPS["cat.png"] ^ np.eye(60, 80, dtype=np.uint8)[..., None]}

    digests = [
        testset.digest(task),
        testset.digest(frozen_task("denoise", {"sigma": 15})),
        testset.digest(FrozenTask("denoise", task.degradation, quantize=True)),
        testset.digest(frozen_task("deblur")),
        TestSet("crops", testset.pictures, seed=1).digest(task),
        open_testset("crops", [write(tmp_path / "changed", one_pixel)]).digest(task),
    ]

    assert len(set(digests)) == len(digests)
    assert open_testset("another name", [folder]).digest(task) == digests[0]


def test_a_quantized_task_gives_pictures_that_eight_bits_can_hold(folder):
    task = frozen_task("denoise", {"sigma": 50})
    quantized = FrozenTask(task.name, task.degradation, quantize=True)
    testset = open_testset("crops", [folder])

    for plain, rounded in zip(testset.items(task), testset.items(quantized), strict=True):
        assert plain.degraded.min() < 0
        expected = np.rint(np.clip(plain.degraded, 0, 1) * 255)
        np.testing.assert_allclose(rounded.degraded * 255, expected, atol=1e-4)


def test_a_picture_that_does_not_decode_is_an_error_never_left_out(folder):
    buffer = io.BytesIO()
    Image.fromarray(CROPS["cup.png"]).save(buffer, "PNG")
    (folder / "broken.png").write_bytes(buffer.getvalue()[:2000])

    with pytest.raises(DataError, match=r"test set crops: broken: .*measure again"):
        list(open_testset("crops", [folder]).items(frozen_task("denoise")))


def test_a_folder_without_pictures_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")

    with pytest.raises(DataError, match="no picture"):
        open_testset("empty", [tmp_path])
