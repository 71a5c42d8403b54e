"""Failures of each class, made for real: what a run's events, its status and the exit code say, and that it goes on or ends."""

import json
import signal
from typing import Any

import psutil
import pytest

from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from tests.conftest import SHORT

pytestmark = pytest.mark.slow

NEVER = "checkpoint.every=1000"
HANG_SECONDS = 30  # a slow machine takes many of them for a first step


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir, attempt: int = 1) -> int:
    return max((line["step"] for line in read_metrics(run) if line["attempt"] == attempt), default=0)


def status_of(workplace: Any, run: str) -> dict[str, Any]:
    return json.loads(workplace.do("status", run, "--json").stdout)


def test_a_ray_that_does_not_come_up_is_started_once_more(workplace):
    small = "train.stages=[{steps: 4, patch: 32, images: 2}]"
    command, run = workplace.submit("second-start", small, wait=False), workplace.run("second-start")
    found: list[psutil.Process] = []

    def server() -> bool:
        found.extend(each for each in command.process.children(recursive=True) if each.name() == "gcs_server")
        return bool(found)

    command.until(server, pause=SHORT)
    found[0].kill()

    assert command.wait() == 0, command.stderr

    assert run_status(run).state == "finished"
    assert "did not start on this machine: " in run.log_files(1)["driver"].read_text()
    assert command.left() == []
    assert workplace.ray_folders() == []


def test_lost_workers_come_back_and_are_given_up_without_progress(workplace, as_if_undisturbed):
    changes = ["cluster.max_failures=1", NEVER]
    command, run = workplace.submit("budget", *changes, wait=False), workplace.run("budget")
    for attempt in (1, 2):
        command.until(lambda at=attempt: last_step(run, at) >= 2)
        command.worker().send_signal(signal.SIGKILL)

    assert command.wait() == 6, command.stderr

    first, second = events(run, "worker-lost")
    assert [(each["class"], each["exit_code"]) for each in (first, second)] == [("infrastructure", 6)] * 2
    assert first["retry_seconds"] == 0
    assert "retry_seconds" not in second
    assert [event["attempt"] for event in events(run, "started")] == [1, 2]
    (failed,) = events(run, "failed")
    assert (failed["class"], failed["exit_code"], failed["attempt"]) == ("infrastructure", 6, 2)
    assert "more often than cluster.max_failures allows (1)" in failed["reason"]
    assert (status_of(workplace, "budget")["state"], status_of(workplace, "budget")["failure"]) == ("failed", "infrastructure")
    assert command.left() == []

    again = workplace.submit("budget", *changes)

    assert again.process.returncode == 0, again.stderr
    as_if_undisturbed(run, attempts=3)


def test_training_that_stands_still_is_found_and_goes_on(workplace, as_if_undisturbed):
    command = workplace.submit("stands-still", f"cluster.hang_seconds={HANG_SECONDS}", wait=False)
    run = workplace.run("stands-still")
    command.until(lambda: last_step(run) >= 4)
    command.worker().send_signal(signal.SIGSTOP)

    assert command.wait() == 0, command.stderr

    (lost,) = events(run, "worker-lost")
    assert (lost["class"], lost["exit_code"], lost["attempt"]) == ("hang", 9, 1)
    assert f"for more than {HANG_SECONDS} s (cluster.hang_seconds)" in lost["reason"]
    as_if_undisturbed(run, attempts=2)
    assert command.left() == []


def test_a_worker_that_the_kernel_kills_for_memory_is_not_tried_again(workplace, memory_group):
    command, run = workplace.submit("memory", wait=False), workplace.run("memory")
    command.until(lambda: last_step(run) >= 2)
    (memory_group(1 << 20) / "cgroup.procs").write_text(str(command.worker().pid))

    assert command.wait() == 8, command.stderr

    (lost,), (failed,) = events(run, "worker-lost"), events(run, "failed")
    assert [(each["class"], each["exit_code"]) for each in (lost, failed)] == [("out-of-memory", 8)] * 2
    assert failed["reason"].startswith("out of memory: worker 0: ")
    assert "train.activation_checkpointing: true" in failed["reason"]
    assert run.current_attempt() == 1
    assert status_of(workplace, "memory")["failure"] == "out-of-memory"
    assert command.left() == []
