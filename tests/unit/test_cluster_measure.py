"""`kind: evaluate` as a run, in the hands of one attempt."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.state import state_files
from ipt_platform.cluster.measure import measure
from ipt_platform.errors import RefusedError
from ipt_platform.evaluate.report import read_report
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import EvaluateJob

PROGRESS = {"seconds": 1.0, "images": 2, "waited": 0.0, "samples": {}}


class TakenOver(RunDir):
    """A run that another attempt takes over while its first picture is written."""

    def samples(self, step: int) -> Path:
        if self.current_attempt() == 1:
            self.new_attempt()
        return super().samples(step)


@pytest.fixture
def job(tmp_path) -> EvaluateJob:
    model = BiasedModel(build_backbone("iptv2-nano"), {})
    made = create(tmp_path / "runs", "made")
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=1, backbone="iptv2-nano", progress=PROGRESS)
    commit(made.checkpoints, 1, files, nullcontext)
    (tmp_path / "test").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "test" / "a.png")
    value = {"apiVersion": "ipt/v1", "kind": "evaluate", "name": "e", "checkpoint": str(made.checkpoints / "step-1")}
    return EvaluateJob.model_validate(value | {"tasks": ["denoise"], "sets": ["test"], "storage": str(tmp_path / "runs")})


def test_what_was_measured_is_written_and_said(job, tmp_path):
    run = create(tmp_path / "runs", "e")

    report = measure(job, run, tmp_path)

    assert report == read_report(run.report)
    assert [event["type"] for event in read_events(run)] == ["started", "finished"]


def test_an_attempt_that_was_taken_over_writes_no_report(job, tmp_path):
    run = TakenOver(create(tmp_path / "runs", "e").path)

    with pytest.raises(RefusedError, match="attempt 1 no longer owns run e"):
        measure(job, run, tmp_path)

    assert not run.report.exists()
    assert [event["type"] for event in read_events(run)] == ["started"]
