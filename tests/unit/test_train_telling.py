"""How old what a failure would cost is: from the last checkpoint on, or from the beginning of an attempt."""

from pathlib import Path

import pytest
import torch

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.teller import Voice
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.telling import Telling

MOMENT = "ipt_checkpoint_last_success_timestamp_seconds"
INTERVAL = "ipt_checkpoint_interval_seconds"


class Said(Voice):
    """Keeps what it is told last of each gauge."""

    def __init__(self) -> None:
        super().__init__(None, "told")
        self.gauges: dict[str, float] = {}

    def set(self, name: str, value: float, **labels: str) -> None:
        self.gauges[name] = value


@pytest.fixture
def job() -> TrainJob:
    told = {"apiVersion": "ipt/v1", "kind": "train", "name": "told", "tasks": ["denoise"], "data": {"shards": "s/*.tar"}}
    found = JOB.validate_python(
        {**told, "model": {"backbone": "iptv2-nano"}, "train": {"stages": [{"steps": 9, "patch": 32, "images": 2}]}}
    )
    assert isinstance(found, TrainJob)
    return found


@pytest.mark.parametrize("event", ["started", "resumed"])
def test_a_beginning_counts_as_a_checkpoint_but_not_as_one_of_two(job, event):
    times = iter((1000.0, 1060.0, 1160.0))
    voice = Said()
    telling = Telling(job, Place(RunDir(Path("runs/told")), 2, Path(), ALONE, torch.device("cpu")), voice, lambda: next(times))

    telling.event(event, {"step": 4})
    assert voice.gauges == {MOMENT: 1000.0}
    telling.event("checkpoint", {"step": 8})
    assert voice.gauges == {MOMENT: 1060.0}
    telling.event("checkpoint", {"step": 12})
    assert voice.gauges == {MOMENT: 1160.0, INTERVAL: 100.0}
