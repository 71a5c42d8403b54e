"""A small training whose run lies on S3, as several test files disturb it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session


def job(**checkpoint: Any) -> TrainJob:
    made = JOB.validate_python(
        {
            "apiVersion": "ipt/v1",
            "kind": "train",
            "name": "far",
            "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
            "tasks": {"denoise": {"params": {"sigma": 25}}},
            "data": {"shards": "train-set/*.tar", "carrier": "local"},
            "train": {"stages": [{"steps": 12, "patch": 32, "images": 2}], "samples": 1, "log_every": 1},
            "evaluate": {"sets": ["test-set/*.tar"]},
            "checkpoint": {"every": 2, **checkpoint},
        }
    )
    assert isinstance(made, TrainJob)
    return made


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def with_turns(turns: dict[int, Any]) -> OpenStream:
    """A carrier that calls something before it gives the batch of a step."""

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in made_here(maker, start, stop):
            if batch.step in turns:
                turns[batch.step]()
            yield batch

    return stream


def train(run: RunDir, base: Path, job: TrainJob, stream: OpenStream = made_here) -> dict[str, Any]:
    if mirror := run.mirror:
        mirror.patience = job.checkpoint.patience
    attempt = run.new_attempt()
    with courier(run.mirror):
        return Session(job, Place(run, attempt, base, ALONE, torch.device("cpu")), stream).train()


def weights(run: RunDir) -> dict[str, bytes]:
    path = run.checkpoints / "step-12"
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.safetensors")}


def types(run: RunDir) -> list[str]:
    return [event["type"] for event in read_events(run)]


class Killed(BaseException):
    """Ends a training as a kill would: nothing is written any more."""


def die() -> None:
    raise Killed
