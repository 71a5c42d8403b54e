"""What a cluster runs to lead a run, where it ends before an attempt has begun: in a process of its own, and nobody watches."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipt_platform.cluster.submit import prepare_run
from ipt_platform.errors import ExitCode
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.waiting import Patience, wait_for_end
from ipt_platform.spec.load import load_job

JOB = """apiVersion: ipt/v1
kind: train
name: own
model: {backbone: iptv2-nano}
tasks: [denoise]
data: {shards: "shards/*.tar"}
train: {stages: [{steps: 4, patch: 32, images: 2}]}
"""


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDir:
    """A run whose shards are gone by the time that it is led."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    run = prepare_run(load_job("job.yaml"), "own", Path())
    (tmp_path / "shards" / "a.tar").unlink()
    return run


@pytest.fixture
def lead(run, tmp_path) -> Callable[[], subprocess.CompletedProcess]:
    words = [sys.executable, "-P", "-m", "ipt_platform.cluster.lead", str(run.path.absolute())]
    return lambda: subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=180)


@pytest.mark.parametrize("before", [0, 1])
def test_what_ends_a_submission_before_an_attempt_is_its_ending(run, lead, before):
    if before:
        append_event(run, "failed", run.new_attempt(), reason="another reason, of another time")

    led = lead()

    assert led.returncode == ExitCode.USAGE, led.stderr
    assert "shards/*.tar" in led.stdout
    found = wait_for_end(run, Patience(0))
    assert (found.state, found.exit_code, found.status.attempt) == ("failed", ExitCode.USAGE, before + 1)
    assert "shards/*.tar" in found.status.reason


def test_a_run_that_somebody_leads_is_left_to_them(run, lead):
    append_event(run, "started", run.new_attempt(), step=0)  # by this process, which lives

    led = lead()

    assert led.returncode == ExitCode.REFUSED, led.stderr
    assert run.current_attempt() == 1
    assert [event["type"] for event in read_events(run)] == ["created", "started"]
