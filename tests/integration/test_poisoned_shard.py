"""Shards that go bad while a training reads them, sets without a picture, and a set of one."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.data.batch import Batch
from ipt_platform.data.cache import PictureCache
from ipt_platform.data.index import ShardIndex, load_index, write_index
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker, TaskDraw, make_pair
from ipt_platform.data.rng import keyed_rng
from ipt_platform.errors import DataError, ExitCode, FailureClass, TrainingError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES, IMAGES, STEPS, PATCH = 12, 4, 9, 32
POISONED = 4
"""The first step that meets the damage."""


@pytest.fixture
def base(tmp_path, photograph) -> Path:
    """Two shards with all pictures."""
    for seed in range(PICTURES):
        photograph(tmp_path / "photos" / f"p{seed:02}.png", seed, 40, 48)
    size = sum(path.stat().st_size for path in (tmp_path / "photos").iterdir())
    assert len(pack(tmp_path / "photos", tmp_path / "shards", shard_size=size // 2 + 5000).shards) == 2
    return tmp_path


def train(base: Path, run: RunDir, stream: OpenStream, steps: int = STEPS, images: int = IMAGES, **data) -> dict:
    spec = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "poisoned",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
        "tasks": {"denoise": {"params": {"sigma": 25}}},
        "data": {"shards": "shards/*.tar", "carrier": "local", **data},
        "train": {"stages": [{"steps": steps, "patch": PATCH, "images": images}], "log_every": 1},
        "checkpoint": {"every": 2},
    }
    job = JOB.validate_python(spec)
    assert isinstance(job, TrainJob)
    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), stream).train()


class Recorder:
    """A carrier that keeps what it gave; it calls something before it makes the batch of a step."""

    def __init__(self, step: int = -1, turn: Callable[[], object] = lambda: None):
        self.step, self.turn = step, turn
        self.batches: list[Batch] = []

    def __call__(self, maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        self.maker = maker
        maker.cache = PictureCache(0)  # as of a set that is larger than what is kept of it
        for step in range(start, stop):
            if step == self.step:
                self.turn()
            self.batches.append(maker.make(step))
            yield self.batches[-1]


def damage(base: Path) -> set[str]:
    """Write over two pictures of the first shard and cut the second one short; the keys of all that can no longer be used."""
    first, second = sorted((base / "shards").glob("*.tar"))
    whole, cut = load_index(first).members[1:3], load_index(second).members[-3:]
    with first.open("r+b") as file:
        for member in whole:
            file.seek(member.offset + 8)
            file.write(bytes(64))
    with second.open("r+b") as file:
        file.truncate(cut[0].offset + cut[0].size // 2)
    return {member.key for member in (*whole, *cut)}


def expected(maker: BatchMaker, step: int, bad: set[str]) -> tuple[list[str], list[str]]:
    """The keys of a step's samples, and of the pictures that were met and could not be used, by the plan alone."""
    keys, met = [], []
    for sample in range(step * IMAGES, (step + 1) * IMAGES):
        order = [maker.plan.sample(sample).index, *maker.plan.substitutes(sample)]
        for key in (maker.shards.locate(index).key for index in order):
            if key not in bad:
                keys.append(key)
                break
            met.append(key)
    return keys, met


def test_training_passes_over_what_goes_bad_under_it_and_every_other_sample_stays(base, tmp_path):
    straight, disturbed, bad = Recorder(), Recorder(), set()
    train(base, create(tmp_path, "straight"), straight)
    disturbed.step, disturbed.turn = POISONED, lambda: bad.update(damage(base))
    run = create(tmp_path, "disturbed")
    report = train(base, run, disturbed, max_bad=0.9)

    assert len(bad) == 5
    named: list[str] = []
    for before, now in zip(straight.batches, disturbed.batches, strict=True):
        keys, met = expected(disturbed.maker, now.step, bad if now.step >= POISONED else set())
        assert now.keys == keys
        assert [each.name for each in now.bad] == met
        named += met
        for row, (was, key) in enumerate(zip(before.keys, keys, strict=True)):
            for one, other in zip(before.tasks["denoise"], now.tasks["denoise"], strict=True):
                assert np.array_equal(one[row], other[row]) is (was == key)
            if was != key:
                check_crop(base, disturbed.maker, now, row)
    events = [event for event in read_events(run) if event["type"] == "bad-sample"]
    assert [event["key"] for event in events] == named  # once each time it was met
    assert {event["kind"] for event in events} == {"damaged", "cut-off"}
    assert report["samples"]["seen"] == STEPS * IMAGES
    assert sum(report["samples"]["bad"].values()) == len(named) > len(bad)
    # the steps before the damage are those of the other training
    runs = (RunDir(tmp_path / "straight"), run)
    losses = [[line["loss"] for line in read_metrics(each) if "loss" in line] for each in runs]
    assert losses[0][:POISONED] == losses[1][:POISONED]
    assert losses[0][POISONED:] != losses[1][POISONED:]


def check_crop(base: Path, maker: BatchMaker, batch: Batch, row: int) -> None:
    """That a replaced sample is the crop of its substitute that the sample's own random numbers give."""
    pixels = np.asarray(cv2.imread(str(base / "photos" / f"{batch.keys[row]}.png")))[..., ::-1]
    (draw,) = maker.draws
    assert isinstance(draw, TaskDraw)
    sample = batch.step * IMAGES + row
    pair = make_pair(np.ascontiguousarray(pixels), PATCH, draw, keyed_rng(maker.seed, sample // PICTURES, sample, "denoise", 0))
    degraded, clean = batch.tasks["denoise"]
    assert np.array_equal(degraded[row], pair.degraded)
    assert np.array_equal(clean[row], pair.clean)


def test_more_than_may_be_bad_ends_the_training_with_its_last_checkpoint_intact(base, tmp_path):
    run = create(tmp_path, "over")

    with pytest.raises(
        TrainingError, match=r"samples could not be used: .*more than data\.max_bad 0\.1 allows; .*data verify"
    ) as end:
        train(base, run, Recorder(POISONED, lambda: damage(base)), max_bad=0.1)

    assert (end.value.exit_code, end.value.failure) == (ExitCode.JOB_FAILED, FailureClass.USER)
    newest = list_checkpoints(run.path)[0]
    assert newest.usable
    assert newest.step >= POISONED
    assert not [event for event in read_events(run) if event["type"] == "finished"]


def test_a_set_without_a_picture_is_refused_in_words(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "shards").mkdir()
    tar = tmp_path / "shards" / "empty.tar"
    tarfile.open(tar, "w").close()
    write_index(tar, ShardIndex(shard=tar.name, bytes=tar.stat().st_size, members=[]))

    with pytest.raises(DataError, match=r"none: holds no picture \(it is empty\)"):
        pack(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match=r"There is no picture in .*shards/empty\.tar\. Pack a folder") as refused:
        train(tmp_path, create(tmp_path / "runs", "empty"), Recorder())
    assert refused.value.failure == FailureClass.USER  # another attempt would find as little


def test_one_picture_is_enough_to_train_on(tmp_path, photograph):
    photograph(tmp_path / "photos" / "only.png", 1, 40, 48)
    pack(tmp_path / "photos", tmp_path / "shards")
    recorder, run = Recorder(), create(tmp_path / "runs", "one")

    report = train(tmp_path, run, recorder, steps=3, images=2)

    assert report["samples"] == {"seen": 6, "bad": {}}
    assert {key for batch in recorder.batches for key in batch.keys} == {"only"}
    crops = [crop.tobytes() for batch in recorder.batches for crop in batch.tasks["denoise"][1]]
    assert len({*crops}) == 6  # each sample is another crop of it
    assert list_checkpoints(run.path)[0].step == 3
