"""A whole attempt in one process: resume, damage, stop, bad samples; the real job, shards and files."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ipt_platform.checkpoint.files import list_checkpoints, read_json
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.index import load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import CancelledRunError, CheckpointError, RefusedError, TrainingError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session

pytestmark = pytest.mark.usefixtures("one_thread")

STATE = ("model.safetensors", "biases", "average", "optimizer.safetensors", "rng.safetensors")


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for seed in range(3):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    photograph(folder / "test" / "t.png", 9, 40, 48)
    pack(folder / "photos", folder / "shards")
    return folder


def job_of(**changes) -> TrainJob:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "session",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 4, "depthwise": True}},
        "tasks": {"denoise": {"params": {"sigma": 25}}, "deblur": None},
        "data": {"shards": ["shards/*.tar"], "carrier": "local"},
        "train": {
            "stages": [{"steps": 2, "patch": 32, "images": 1}, {"steps": 4, "patch": 64, "images": 1}],
            "schedule": {"warmup": 2},
            "log_every": 3,
            "samples": 1,
        },
        "evaluate": {"sets": ["test"]},
        "checkpoint": {"every": 100},
    }
    for path, value in changes.items():
        section, _, key = path.partition("__")
        job[section] = {**job.get(section, {}), key: value} if key else value
    parsed = JOB.validate_python(job)
    assert isinstance(parsed, TrainJob)
    return parsed


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def session(job: TrainJob, run: RunDir, base: Path, stream: OpenStream = made_here) -> Session:
    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), stream)


def stopping(run: RunDir, at: int) -> OpenStream:
    """A carrier during whose batch of a step somebody asks the run to stop."""

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in made_here(maker, start, stop):
            if batch.step == at:
                run.request_stop("enough for today")
            yield batch

    return stream


def files_of(run: RunDir, step: int) -> dict[str, bytes]:
    checkpoint = run.checkpoints / f"step-{step}"
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}


def events(run: RunDir, kind: str) -> list[dict]:
    return [event for event in read_events(run) if event["type"] == kind]


@pytest.fixture(scope="module")
def straight(base, tmp_path_factory) -> tuple[RunDir, dict]:
    torch.set_num_threads(1)
    run = create(tmp_path_factory.mktemp("runs"), "straight")
    return run, session(job_of(), run, base).train()


def test_a_run_leaves_the_files_that_the_others_read(straight):
    run, report = straight

    assert read_json(run.report) == report
    assert report["steps"] == 6
    assert set(report["sets"]["test"]) == {"denoise", "deblur"}
    assert report["parameters"]["bias"]["denoise"] == report["parameters"]["bias"]["deblur"] > 0
    assert [line["step"] for line in read_metrics(run)] == [3, 6, 6]
    assert [event["stage"] for event in events(run, "stage")] == [0, 1]
    assert [event["step"] for event in events(run, "finished")] == [6]
    assert {path.name.removesuffix(path.suffix) for path in run.samples(6).iterdir()} == {"test-denoise-t", "test-deblur-t"}
    assert {name.split("/")[0] for name in files_of(run, 6)} == set(STATE)


def test_every_parameter_was_trained(straight, base):
    run, _ = straight
    trained = session(job_of(), run, base).state  # picks up the last checkpoint
    fresh = session(job_of(), create(run.path.parent, "fresh"), base).state

    assert trained.step == 6
    moved = {
        name: not torch.equal(one, other)
        for (name, one), other in zip(trained.model.named_parameters(), fresh.model.parameters(), strict=True)
    }
    assert [name for name, has in moved.items() if not has] == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_stopped_run_goes_on_bit_for_bit(straight, base, tmp_path, damaged):
    run, job = create(tmp_path, "again"), job_of(checkpoint__every=2)
    with pytest.raises(CancelledRunError, match="enough for today"):
        session(job, run, base, stopping(run, at=1)).train()
    assert [info.step for info in list_checkpoints(run.path)] == [3, 2]
    if damaged:
        path = run.checkpoints / "step-3" / "average" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    report = session(job, run, base).train()

    want, straight_report = straight
    assert [event["step"] for event in events(run, "resumed")] == [2 if damaged else 3]
    assert [event["checkpoint"] for event in events(run, "checkpoint-damaged")] == (["step-3"] if damaged else [])
    assert files_of(run, 6) == files_of(want, 6)
    assert report["sets"] == straight_report["sets"]
    losses = [[line["loss"] for line in read_metrics(each) if line.get("step") == 6 and "loss" in line] for each in (run, want)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("every", [5, 3], ids=["between two", "where one is due"])
def test_a_checkpoint_that_somebody_asks_for_is_committed_once_and_training_goes_on(straight, base, tmp_path, every):
    run = create(tmp_path, "asked")

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in made_here(maker, start, stop):
            if batch.step == 1:
                run.request_checkpoint()
            yield batch

    session(job_of(checkpoint__every=every), run, base, stream).train()

    assert [event["step"] for event in events(run, "checkpoint")] == sorted({3, every, 6})
    assert files_of(run, 6) == files_of(straight[0], 6)


@pytest.mark.parametrize(("at", "step"), [(3, 4), (5, 6)], ids=["in the middle", "after the last step"])
def test_a_stop_during_an_evaluation_costs_nothing_but_that_evaluation(base, tmp_path, at, step):
    job = job_of(evaluate__every=4, checkpoint__keep=9)
    want, run = create(tmp_path, "want"), create(tmp_path, "again")
    report = session(job, want, base).train()
    with pytest.raises(CancelledRunError, match="enough for today"):
        session(job, run, base, stopping(run, at=at)).train()
    assert [event["step"] for event in events(run, "evaluated")] == [4][: step > 4]
    assert list_checkpoints(run.path)[0].step == step

    again = session(job, run, base).train()

    assert [event["step"] for event in events(run, "resumed")] == [step]
    assert [event["step"] for event in events(run, "evaluated")] == [4, 6]
    assert [event["psnr"] for event in events(run, "evaluated")] == [event["psnr"] for event in events(want, "evaluated")]
    assert again["sets"] == report["sets"]
    assert files_of(run, 6) == files_of(want, 6)
    best = [read_json(each.checkpoints / "step-6" / "state.json")["progress"]["best"] for each in (run, want)]
    assert best[0] == best[1]


def test_each_best_evaluation_so_far_has_a_checkpoint_and_the_best_is_kept(base, tmp_path):
    run = create(tmp_path, "best")
    # a learning rate at which the scores go up and down
    train = {"optimizer": {"lr": 0.1, "grad_clip": None}, "schedule": {"final_lr_ratio": 1}, "ema": None, "mode": "mixed"}
    stages = [{"steps": 6, "patch": 16, "images": 1}]

    session(job_of(evaluate__every=1, train={**train, "stages": stages}, checkpoint__keep=2), run, base).train()

    scores = [event["psnr"] for event in events(run, "evaluated")]
    records = [step for step, psnr in enumerate(scores, 1) if psnr > max(scores[: step - 1], default=0)]
    assert len(scores) == 6
    assert [event["step"] for event in events(run, "checkpoint")] == sorted({*records, 6})
    assert {records[-1], 6} <= {info.step for info in list_checkpoints(run.path) if info.usable}


def test_what_was_counted_before_a_stop_counts_after_it(straight, base, tmp_path):
    run = create(tmp_path, "counted")
    with pytest.raises(CancelledRunError):
        session(job_of(), run, base, stopping(run, at=1)).train()

    resumed = session(job_of(), run, base)

    assert (resumed.samples.seen, resumed.state.images) == (3, 3)
    assert resumed.state.seconds > resumed.state.waited > 0


@pytest.fixture
def with_a_bad_picture(base, photograph, tmp_path) -> Path:
    """The same shards, one picture overwritten in place."""
    pack(base / "photos", tmp_path / "shards")
    photograph(tmp_path / "test" / "t.png", 9, 40, 48)
    (shard,) = (tmp_path / "shards").glob("*.tar")
    member = load_index(shard).members[1]
    with shard.open("r+b") as file:
        file.seek(member.offset + 8)
        file.write(bytes(64))
    return tmp_path


def test_more_bad_samples_than_allowed_end_the_job_by_name(with_a_bad_picture):
    run = create(with_a_bad_picture / "runs", "bad")

    with pytest.raises(
        TrainingError, match=r"1 of 3 samples could not be used: 1 damaged; that is more than data\.max_bad 0 allows; .*p1: "
    ):
        session(job_of(data__max_bad=0), run, with_a_bad_picture).train()

    (event,) = events(run, "bad-sample")
    assert event["key"] == "p1"
    assert not events(run, "finished")


def test_bad_samples_within_the_limit_are_told_and_passed_over(with_a_bad_picture):
    run = create(with_a_bad_picture / "runs", "bad")

    report = session(job_of(data__max_bad=0.4), run, with_a_bad_picture).train()

    assert report["steps"] == 6
    assert [event["key"] for event in events(run, "bad-sample")] == ["p1", "p1"]  # once in each pass over three pictures


def test_a_resumed_run_goes_on_counting_and_counts_no_sample_twice(with_a_bad_picture):
    job = job_of(data__max_bad=0.4, checkpoint__every=2)
    straight = create(with_a_bad_picture / "runs", "straight")
    want = session(job, straight, with_a_bad_picture).train()["samples"]
    run = create(with_a_bad_picture / "runs", "again")
    with pytest.raises(CancelledRunError):
        session(job, run, with_a_bad_picture, stopping(run, at=1)).train()
    shutil.rmtree(run.checkpoints / "step-3")  # as after a kill: what came after the last checkpoint is done again

    resumed = session(job, run, with_a_bad_picture)
    before = resumed.samples
    report = resumed.train()

    assert before.seen == 2
    assert want == {"seen": 6, "bad": {"damaged": 2}}
    assert report["samples"] == want == read_metrics(run)[-2]["samples"]
    assert [event["kind"] for event in events(straight, "bad-sample")] == ["damaged"] * 2


def test_a_limit_that_was_not_reached_before_a_stop_is_reached_after_it(with_a_bad_picture):
    run, job = create(with_a_bad_picture / "runs", "again"), job_of(data__max_bad=0.2)
    with pytest.raises(CancelledRunError):
        session(job, run, with_a_bad_picture, stopping(run, at=1)).train()

    with pytest.raises(
        TrainingError, match=r"2 of 6 samples could not be used: 2 damaged; that is more than data\.max_bad 0\.2"
    ):
        session(job, run, with_a_bad_picture).train()


@pytest.mark.parametrize("at", [0, 2, 5])
def test_an_attempt_that_was_overtaken_writes_nothing_more(base, tmp_path, at):
    run = create(tmp_path, "fenced")
    written: dict[Path, bytes] = {}

    def overtaken(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in local_stream(maker, start, stop):
            if batch.step == at:
                run.new_attempt()
                written.update({path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()})
            yield batch

    train = {**job_of().train.model_dump(mode="json"), "log_every": 1}
    job = job_of(train=train, checkpoint__every=1)
    with pytest.raises(RefusedError, match="attempt 1 no longer owns run fenced: attempt 2 was started"):
        session(job, run, base, overtaken).train()

    assert {line["attempt"] for line in read_metrics(run)} <= {1}
    assert [info.step for info in list_checkpoints(run.path)] == list(range(1, at + 1))[-3:][::-1]
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if "samples" not in path.parts} == written


def test_a_run_of_another_backbone_is_not_gone_on_with(straight, base):
    run, _ = straight

    with pytest.raises(CheckpointError, match="its backbone is iptv2-nano, the job's is iptv2-small"):
        session(job_of(model={"backbone": "iptv2-small"}), run, base)
