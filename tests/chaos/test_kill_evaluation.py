"""Kill -9 of a worker while it measures: the evaluation is made again, and the state is that of a run that nobody disturbed.

This file is also the program of an attempt: `python test_kill_evaluation.py FOLDER RUN N` trains there and kills itself at its
N-th sign of life; every step is one, and every picture that is measured.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from ipt_platform.checkpoint.files import read_json
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from ipt_platform.train.surroundings import Surroundings

pytestmark = pytest.mark.slow

STEPS, EVERY = 5, 4
FIRST = EVERY + 1  # of two pictures, after so many steps
LAST = STEPS + 2 + 1  # the first picture of the last evaluation, after the two of the one before
JOB_OF_IT = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "measured",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
    "tasks": {"denoise": {"params": {"sigma": 25}}},
    "data": {"shards": ["shards/*.tar"], "carrier": "local"},
    "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 1}], "log_every": 1, "samples": 1},
    "evaluate": {"sets": ["test"], "every": EVERY},
    "checkpoint": {"every": 2},
}


def train(base: Path, run: RunDir, alive: Callable[[], object] = lambda: None) -> None:
    torch.set_num_threads(1)
    job = JOB.validate_python(JOB_OF_IT)
    assert isinstance(job, TrainJob)
    place = Place(run, run.new_attempt(), base, ALONE, torch.device("cpu"))
    Session(job, place, partial(local_stream, processes=0), surroundings=Surroundings(alive=alive)).train()


def main(base: Path, name: str, number: int) -> None:
    """Train as a new attempt, and die at a sign of life."""
    signs = itertools.count(1)

    def alive() -> None:
        if next(signs) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    train(base, create(base / "runs", name), alive)


def weights(run: RunDir) -> dict[str, bytes]:
    checkpoint = run.checkpoints / f"step-{STEPS}"
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}


@pytest.mark.usefixtures("one_thread")
def test_a_worker_killed_while_it_measures_loses_nothing_but_that_evaluation(tmp_path, photograph):
    for seed in range(3):
        photograph(tmp_path / "photos" / f"p{seed}.png", seed, 40, 48)
    for seed in (8, 9):
        photograph(tmp_path / "test" / f"t{seed}.png", seed, 40, 48)
    pack(tmp_path / "photos", tmp_path / "shards")
    words = [sys.executable, __file__, str(tmp_path)]
    killed = {name: subprocess.Popen([*words, name, str(at)]) for name, at in (("first", FIRST), ("last", LAST))}
    straight = create(tmp_path / "runs", "straight")
    train(tmp_path, straight)
    assert [process.wait(180) for process in killed.values()] == [-signal.SIGKILL] * 2
    measured = [event["psnr"] for event in read_events(straight) if event["type"] == "evaluated"]

    for name, before in (("first", []), ("last", [EVERY])):
        run = RunDir(tmp_path / "runs" / name)
        assert [event["step"] for event in read_events(run) if event["type"] == "evaluated"] == before
        assert run_status(run).state == "interrupted"
        train(tmp_path, run)

        evaluated = [event for event in read_events(run) if event["type"] == "evaluated"]
        assert [event["step"] for event in evaluated] == [EVERY, STEPS]
        assert [event["psnr"] for event in evaluated] == measured
        assert weights(run) == weights(straight)
        assert read_json(run.report)["sets"] == read_json(straight.report)["sets"]
        assert run_status(run).state == "finished"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
