"""Odd pictures that got into shards: what batches, carriers and training make of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.index import HalfEntry, ShardIndex, load_index, write_index
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import ExitCode, TrainingError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from tests.integration.odd_pictures import (
    EVERYTHING,
    FAULTY,
    HANDLED,
    KINDS,
    PATCH,
    Tar,
    by_hand,
    encoded,
    noise,
    run,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# batches and carriers

DRAW = TaskDraw("denoise", 1, build_degradation({"name": "gaussian-noise", "sigma": 25}))


def maker_of(shards: ShardSet, steps: int, images: int = 4, draw: TaskDraw | PairedDraw = DRAW) -> BatchMaker:
    schedule = Schedule((Stage(steps=steps, patch=PATCH, images=images),))
    return BatchMaker(shards=shards, plan=Plan(3, shards.images), schedule=schedule, draws=(draw,), seed=3)


@pytest.fixture
def everything(tmp_path) -> ShardSet:
    return ShardSet.open([by_hand(Tar(tmp_path / "x.tar").write(EVERYTHING))])


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_hold_what_can_be_used_and_name_the_rest(everything, processes):
    keys: set[str] = set()
    found: dict[str, str] = {}
    for batch in local_stream(maker_of(everything, steps=10), 0, 10, processes=processes):
        keys.update(batch.keys)
        found |= {bad.name: bad.kind for bad in batch.bad}
        assert all(bad.shard == "x.tar" and bad.reason for bad in batch.bad)
        assert all(
            np.isfinite(degraded).all() and clean.shape[1:] == (PATCH, PATCH, 3) for degraded, clean in batch.tasks.values()
        )

    assert found == {name.replace(".", "_"): kind for name, kind in KINDS.items()}
    assert keys == {name.replace(".", "_") for name in HANDLED}


def test_one_pixel_gives_a_crop_of_its_colour(tmp_path):
    pixel = np.full((1, 1, 3), (10, 200, 30), np.uint8)
    tar = by_hand(Tar(tmp_path / "x.tar").write({"pixel.png": encoded(pixel)}))

    batch = maker_of(ShardSet.open([tar]), steps=1, images=1).make(0)

    assert (batch.tasks["denoise"][1] == (10, 200, 30)).all()


def test_pairs_in_batches_are_named_by_what_is_wrong_with_them(tmp_path):
    good = encoded(noise(1))
    members = {f"{key}.{half}.png": good for key in "abcd" for half in ("degraded", "clean")}
    members |= {"b.degraded.png": FAULTY["gif.jpg"][1], "c.clean.png": encoded(noise(1, 44, 48))}
    tar = by_hand(Tar(tmp_path / "pairs.tar").write(members))
    lying = {entry.name: entry for entry in load_index(tar).members}
    entries = []
    for key in "abcd":
        clean, half = lying[f"{key}.clean.png"], lying[f"{key}.degraded.png"]
        degraded = HalfEntry(name=half.name, offset=half.offset, size=half.size, sha256=half.sha256)
        entries.append(clean.model_copy(update={"key": key, "degraded": None if key == "d" else degraded}))
    write_index(tar, ShardIndex(shard=tar.name, bytes=tar.stat().st_size, members=entries))
    shards = ShardSet.open([tar])

    batches = [maker_of(shards, 6, draw=PairedDraw("rain", 1, shards)).make(step) for step in range(6)]

    assert {(bad.name, bad.kind) for batch in batches for bad in batch.bad} == {
        ("b", "other-format"),
        ("c", "sizes-differ"),
        ("d", "half-missing"),
    }
    assert {key for batch in batches for key in batch.keys} == {"a"}


# training


def train(base: Path, run: RunDir, max_bad: float | None) -> dict:
    spec = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "bad",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
        "tasks": {"denoise": {"params": {"sigma": 25}}},
        "data": {"shards": "*.tar", "carrier": "local"} | ({} if max_bad is None else {"max_bad": max_bad}),
        "train": {"stages": [{"steps": 9, "patch": PATCH, "images": 4}], "schedule": {"warmup": 1}, "log_every": 3},
        "checkpoint": {"every": 100},
    }
    job = JOB.validate_python(spec)
    assert isinstance(job, TrainJob)

    def stream(maker, start, stop):
        return local_stream(maker, start, stop, processes=1)

    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), stream).train()


def test_training_passes_over_what_is_bad_and_tells_it_everywhere(everything, tmp_path, monkeypatch):
    recorded = create(tmp_path / "runs", "bad")

    report = train(tmp_path, recorded, max_bad=0.9)

    events = [event for event in read_events(recorded) if event["type"] == "bad-sample"]
    assert {event["key"]: event["kind"] for event in events} == {name.replace(".", "_"): kind for name, kind in KINDS.items()}
    assert all(event["shard"] == "x.tar" and event["reason"] for event in events)
    counted: dict[str, int] = {}
    for event in events:
        counted[event["kind"]] = counted.get(event["kind"], 0) + 1
    assert report["samples"] == {"seen": 36, "bad": counted}
    assert read_metrics(recorded)[-1]["samples"] == report["samples"] == run_status(recorded).samples
    monkeypatch.chdir(tmp_path)
    told = f"{len(events)} of 36 samples could not be used: {counted['cut-off']} cut-off, {counted['damaged']} damaged"
    assert told in run("status", "bad").stdout


def test_training_stops_past_max_bad_with_a_code_and_a_sentence(everything, tmp_path):
    with pytest.raises(
        TrainingError, match=r"of \d+ samples could not be used: .*more than data\.max_bad 0\.001 allows"
    ) as end:
        train(tmp_path, create(tmp_path / "runs", "bad"), max_bad=None)

    assert end.value.exit_code == ExitCode.JOB_FAILED == 5
    assert "for example x.tar: " in str(end.value)
    assert "data verify" in str(end.value)
