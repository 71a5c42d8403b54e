"""Resuming from the page is real: a process of its own leads the run to its end."""

import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from ipt_platform.checkpoint.files import commit
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from tests.conftest import HANG
from tests.integration.web.conftest import post

pytestmark = pytest.mark.slow


@pytest.fixture
def lost(storage, write_trained, photograph, tmp_path) -> RunDir:
    """An evaluation that failed in its first attempt; one needs no Ray."""
    checkpoint = write_trained(storage)
    measured(checkpoint)
    photograph(tmp_path / "test" / "a.png", 1, 40, 48)
    run = create(storage, "lost")
    job = {
        "apiVersion": "ipt/v1",
        "kind": "evaluate",
        "name": "lost",
        "checkpoint": str(checkpoint),
        "tasks": {"denoise": {"params": {"sigma": 25}}},
        "sets": [str(tmp_path / "test")],
        "storage": str(storage),
    }
    run.job.write_text(yaml.safe_dump(job))
    append_event(run, "created", 0, kind="evaluate")
    append_event(run, "failed", run.new_attempt(), reason="the power went", **{"class": "infrastructure"})
    return run


def measured(checkpoint: Path) -> None:
    """Let a checkpoint say how long it was trained, which its report repeats."""
    state = json.loads((checkpoint / "state.json").read_bytes())
    state["progress"] = {"seconds": 1.0, "images": 4, "waited": 0.1, "samples": {"seen": 4, "bad": {}}}
    files = {path.relative_to(checkpoint).as_posix(): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}
    shutil.rmtree(checkpoint)
    commit(checkpoint.parent, 3, {**files, "state.json": state}, nullcontext)


def test_a_run_that_failed_goes_on(client, lost):
    assert post(client, "/runs/lost/resume").status_code == 303

    end = time.monotonic() + HANG
    while (status := run_status(lost)).state != "finished":
        assert status.state != "interrupted" or status.attempt < 2, [path.read_text() for path in lost.log_files(2).values()]
        assert time.monotonic() < end, (status, [path.read_text() for path in lost.log_files(2).values()])
        time.sleep(0.2)
    assert status.attempt == 2
    asked = next(event for event in read_events(lost) if event["type"] == "resume-requested")
    assert asked["reason"].endswith("on the page")
    assert lost.report.is_file()


def test_a_job_that_cannot_go_on_says_why_and_starts_nothing(client, lost):
    lost.job.write_text(lost.job.read_text().replace("/test", "/gone"))

    answer = post(client, "/runs/lost/resume")

    assert answer.status_code in (400, 404, 409), answer.text
    assert "gone" in answer.text
    assert run_status(lost).state == "failed"
    assert [event["type"] for event in read_events(lost)] == ["created", "failed"]
