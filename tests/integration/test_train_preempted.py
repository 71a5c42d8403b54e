"""A session that is told that its machines go: one checkpoint more, and room is made; nothing is lost by it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import CancelledRunError, PreemptedError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from ipt_platform.train.surroundings import Surroundings

pytestmark = pytest.mark.usefixtures("one_thread")

NOTICE = "node ab is about to be taken away"
STEPS = 5


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for seed in range(3):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    photograph(folder / "test" / "t.png", 9, 40, 48)
    pack(folder / "photos", folder / "shards")
    return folder


def job_of() -> TrainJob:
    job = JOB.validate_python(
        {
            "apiVersion": "ipt/v1",
            "kind": "train",
            "name": "preempted",
            "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
            "tasks": ["denoise"],
            "data": {"shards": ["shards/*.tar"], "carrier": "local"},
            "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 1}], "log_every": 1},
            "evaluate": {"sets": ["test"], "every": 4},
            "checkpoint": {"every": 100},
        }
    )
    assert isinstance(job, TrainJob)
    return job


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def train(run: RunDir, base: Path, surroundings: Surroundings, at_step: Callable[[int], None] = lambda step: None) -> None:
    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in made_here(maker, start, stop):
            at_step(batch.step)
            yield batch

    place = Place(run, run.new_attempt(), base, ALONE, torch.device("cpu"))
    Session(job_of(), place, stream, surroundings=surroundings).train()


class Machine:
    """Gives notice from a step on."""

    def __init__(self, at: int):
        self.at, self.notice = at, None

    def step(self, step: int) -> None:
        if step == self.at:
            self.notice = NOTICE

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(notice=lambda: self.notice)


def weights(run: RunDir) -> dict[str, bytes]:
    checkpoint = run.checkpoints / f"step-{STEPS}"
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory) -> dict[str, bytes]:
    torch.set_num_threads(1)
    run = create(tmp_path_factory.mktemp("runs"), "undisturbed")
    train(run, base, Surroundings())
    return weights(run)


@pytest.mark.parametrize(
    ("at", "committed"), [(0, 1), (2, 3), (3, 4), (4, 5)], ids=["first step", "between", "evaluation", "last evaluation"]
)
def test_with_notice_a_checkpoint_is_committed_and_the_run_goes_on_elsewhere(base, tmp_path, undisturbed, at, committed):
    run, machine = create(tmp_path, "preempted"), Machine(at)

    with pytest.raises(PreemptedError, match=NOTICE):
        train(run, base, machine.surroundings, machine.step)

    assert next(info.step for info in list_checkpoints(run.path) if info.usable) == committed
    *_, checkpoint, preempted = read_events(run)
    assert (checkpoint["type"], checkpoint["step"]) == ("checkpoint", committed)
    assert (preempted["type"], preempted["step"], preempted["reason"]) == ("preempted", committed, NOTICE)

    train(run, base, Surroundings())

    assert weights(run) == undisturbed
    assert [event["step"] for event in read_events(run) if event["type"] == "resumed"] == [committed]


def test_who_is_asked_to_stop_as_well_stops(base, tmp_path):
    run, machine = create(tmp_path, "both"), Machine(1)

    def both(step: int) -> None:
        machine.step(step)
        if step == 1:
            run.request_stop("enough for today")

    with pytest.raises(CancelledRunError, match="enough for today"):
        train(run, base, machine.surroundings, both)


def test_every_step_and_every_picture_is_a_sign_of_life(base, tmp_path):
    signs = []

    train(create(tmp_path, "alive"), base, Surroundings(alive=lambda: signs.append(None)))

    assert len(signs) == STEPS + 2  # the one picture is measured after step 4 and at the end
