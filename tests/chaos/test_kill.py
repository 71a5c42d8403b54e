"""Kill -9 of everything that trains, at bad moments: every run ends with the state of one that nobody disturbed."""

import json
import re

import pytest

from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from tests.conftest import SHORT
from tests.processes import kill

pytestmark = pytest.mark.slow


def events(run: RunDir, kind: str) -> list[dict]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir, attempt: int = 1) -> int:
    return max((line["step"] for line in read_metrics(run) if line["attempt"] == attempt), default=0)


def half_written(run: RunDir) -> list[str]:
    """Checkpoints that somebody writes at this moment."""
    try:
        return [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".tmp-step")]
    except FileNotFoundError:
        return []


def test_a_worker_killed_while_it_writes_a_checkpoint_is_replaced(workplace, as_if_undisturbed):
    command = workplace.submit("checkpoint", "checkpoint.every=1", wait=False)
    run = workplace.run("checkpoint")
    kills, torn = 0, []
    while not torn and kills < 3:
        kills += 1
        command.until(lambda at=kills: run.current_attempt() == at and last_step(run, at) >= 2)
        worker = command.worker()
        command.until(lambda: half_written(run), pause=SHORT)
        kill([worker])
        torn = half_written(run)

    assert torn, "the worker was faster than we were, three times"
    assert command.wait() == 0, command.stderr

    as_if_undisturbed(run, attempts=kills + 1)
    lost = events(run, "worker-lost")
    assert [event["attempt"] for event in lost] == list(range(1, kills + 1))
    assert all(re.fullmatch("worker 0: .*", event["reason"]) for event in lost)
    assert "worker-lost" in command.stderr
    assert command.left() == []


def test_after_the_command_is_killed_the_same_submission_goes_on_at_once(workplace, as_if_undisturbed):
    changes = ("checkpoint.every=1",)
    first, run = workplace.submit("killed", *changes, wait=False), workplace.run("killed")
    first.until(lambda: last_step(run) >= 3 and half_written(run), pause=SHORT)
    kill([first.process])

    second = workplace.submit("killed", *changes)

    assert second.process.returncode == 0, second.stderr
    as_if_undisturbed(run, attempts=2)
    committed = [event["step"] for event in events(run, "checkpoint") if event["attempt"] == 1]
    (resumed,) = [event for event in events(run, "resumed") if event["attempt"] == 2]
    # The kill may have come between COMMIT and the event that tells of it.
    assert resumed["step"] - max(committed) in (0, 1)
    assert first.left() == second.left() == []
    assert workplace.ray_folders() == []


FAILURES = {
    "gcs_server": "Ray failed: its gcs_server ended",
    "ray::TrainController": "Ray failed: the process that controls the workers ended",
    "ipt_platform.cluster.drive": "the process that drove the run was killed by SIGKILL",
}


def test_when_ray_or_its_driver_dies_the_command_says_so_and_the_run_can_go_on(workplace, as_if_undisturbed):
    run = workplace.run("ray")
    for number, (name, message) in enumerate(FAILURES.items(), 1):
        command = workplace.submit("ray", "checkpoint.every=1", wait=False)
        command.until(lambda at=number: last_step(run, at) > 0)
        kill([command.process_of(name)])

        assert command.wait() == 6, command.stderr

        assert command.left() == []
        *_, error = command.stderr.splitlines()
        assert error.startswith(f"error: {message}"), name
        assert error.endswith("; go on with: ipt-platform submit job.yaml --run ray --set checkpoint.every=1")
        assert "Traceback" not in command.stderr
        assert command.stdout == ""
        # A worker that does not know yet that its controller is gone may commit what it has.
        *_, failed = [event for event in read_events(run) if event["type"] != "checkpoint"]
        assert (failed["type"], failed["attempt"]) == ("failed", number)
        assert failed["reason"].startswith(message)
        assert list((run.path / "logs" / str(number) / "ray").glob("gcs_server*"))
        assert json.loads(workplace.do("status", "ray", "--json").stdout)["state"] == "failed"
        assert workplace.ray_folders() == []

    command = workplace.submit("ray", "checkpoint.every=1")

    assert command.process.returncode == 0, command.stderr
    as_if_undisturbed(run, attempts=len(FAILURES) + 1)
