"""Kill -9 of everything that trains, at bad moments: every run ends with the state of one that nobody disturbed."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import psutil
import pytest

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from tests.conftest import SHORT
from tests.processes import kill

pytestmark = pytest.mark.slow

STEPS = 30
GRACE = 30  # seconds within which what belongs to an ended command must have ended by itself
LOCAL = "data.carrier=local"  # spares the time that Ray Data takes to start; the batches are the same


def events(run: RunDir, kind: str) -> list[dict]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir, attempt: int = 1) -> int:
    return max((line["step"] for line in read_metrics(run) if line["attempt"] == attempt), default=0)


def process_of(command: Any, name: str) -> psutil.Process:
    """The one process of a command whose command line holds these words."""
    command.look()
    (found,) = [each for each in command.seen if each.is_running() and name in words_of(each)]
    return found


def words_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def half_written(run: RunDir) -> list[str]:
    """Checkpoints that somebody writes at this moment."""
    try:
        return [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".tmp-step")]
    except FileNotFoundError:
        return []


def test_a_worker_killed_in_the_middle_of_a_step_is_replaced(workplace, as_if_undisturbed):
    command = workplace.submit("worker", wait=False)
    run = workplace.run("worker")
    command.until(lambda: last_step(run) >= 5)
    kill([process_of(command, "ray::RayTrainWorker")])

    assert command.wait() == 0, command.stderr

    as_if_undisturbed(run, attempts=2)
    (lost,) = events(run, "worker-lost")
    assert lost["attempt"] == 1
    assert lost["reason"].startswith("worker 0: ")
    assert "\n" not in lost["reason"]
    (resumed,) = events(run, "resumed")
    assert (resumed["attempt"], resumed["step"]) == (2, max(e["step"] for e in events(run, "checkpoint") if e["attempt"] == 1))
    assert "worker-lost" in command.stderr
    assert command.left() == []


def test_a_worker_killed_while_it_writes_a_checkpoint_is_replaced(workplace, as_if_undisturbed):
    command = workplace.submit("checkpoint", "checkpoint.every=1", LOCAL, wait=False)
    run = workplace.run("checkpoint")
    kills, torn = 0, []
    while not torn and kills < 3:
        kills += 1
        command.until(lambda at=kills: run.current_attempt() == at and last_step(run, at) >= 2)
        worker = process_of(command, "ray::RayTrainWorker")
        command.until(lambda: half_written(run), pause=SHORT)
        kill([worker])
        torn = half_written(run)

    assert torn, "the worker was faster than we were, three times"
    assert command.wait() == 0, command.stderr

    as_if_undisturbed(run, attempts=kills + 1)


def newest_damaged(run: RunDir) -> None:
    """Flip a bit in the newest checkpoint."""
    path = next(info.path for info in list_checkpoints(run.path) if info.usable) / "average/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 8
    path.write_bytes(data)


MOMENTS: dict[str, tuple[Iterable[str], Callable[[RunDir], Any]]] = {
    "before the first checkpoint": ([f"checkpoint.every={STEPS}", LOCAL], lambda run: last_step(run) >= 2),
    "while a checkpoint is written": (["checkpoint.every=1", LOCAL], lambda run: last_step(run) >= 3 and half_written(run)),
    "in the middle": ([], lambda run: last_step(run) >= 7),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_the_command_is_killed_the_same_submission_goes_on_at_once(workplace, as_if_undisturbed, moment):
    changes, now = MOMENTS[moment]
    name = moment.replace(" ", "-")
    first, run = workplace.submit(name, *changes, wait=False), workplace.run(name)
    first.until(lambda: now(run), pause=SHORT)
    kill([first.process])

    second = workplace.submit(name, *changes)

    assert second.process.returncode == 0, second.stderr
    as_if_undisturbed(run, attempts=2)
    committed = [event["step"] for event in events(run, "checkpoint") if event["attempt"] == 1]
    (begun,) = [event for event in read_events(run) if event["attempt"] == 2 and event["type"] in ("started", "resumed")]
    # The kill may have come between COMMIT and the event that tells of it.
    assert begun["step"] - max(committed, default=0) in (0, 1)
    assert begun["type"] == ("started" if moment == "before the first checkpoint" else "resumed")
    assert first.left() == second.left() == []
    assert workplace.ray_folders() == []


def test_a_checkpoint_damaged_after_the_kill_is_passed_over(workplace, as_if_undisturbed):
    """Killed with all that is the run's is the process that would have cleared up after it: Ray's are on their own then.

    Two agents of Ray's, which write nothing of the run's, ask for their dead server for a minute before they end.
    """
    changes = ["checkpoint.every=1", LOCAL]
    first, run = workplace.submit("damaged", *changes, wait=False), workplace.run("damaged")
    first.until(lambda: last_step(run) >= 1, pause=SHORT)
    # Not the worker alone: what is told of its end would have another one made.
    ours = [process_of(first, each) for each in ("ipt_platform.cluster.drive", "ray::TrainController", "ray::RayTrainWorker")]
    first.until(lambda: last_step(run) >= 3, pause=SHORT)
    kill([first.process, *ours])
    first.seen = {each for each in first.seen if "Agent" not in words_of(each)}
    assert first.left(grace=GRACE) == []
    newest, before, *_ = [info.step for info in list_checkpoints(run.path) if info.usable]
    newest_damaged(run)

    second = workplace.submit("damaged", *changes)

    assert second.process.returncode == 0, second.stderr
    as_if_undisturbed(run, attempts=2)
    assert [event["checkpoint"] for event in events(run, "checkpoint-damaged")] == [f"step-{newest}"]
    assert [event["step"] for event in events(run, "resumed")] == [before]
    assert workplace.ray_folders() == []


FAILURES = {
    "gcs_server": "Ray failed: its gcs_server ended",
    "raylet/raylet": "Ray failed: its raylet ended",
    "ray::TrainController": "Ray failed: the process that controls the workers ended",
    "ipt_platform.cluster.drive": "the process that drove the run was killed by SIGKILL",
}


def test_when_ray_or_its_driver_dies_the_command_says_so_and_the_run_can_go_on(workplace, as_if_undisturbed):
    run = workplace.run("ray")
    for number, (name, message) in enumerate(FAILURES.items(), 1):
        command = workplace.submit("ray", "checkpoint.every=1", LOCAL, wait=False)
        command.until(lambda at=number: last_step(run, at) > 0)
        kill([process_of(command, name)])

        assert command.wait() == 6, command.stderr

        assert command.left() == []
        *_, error = command.stderr.splitlines()
        assert error.startswith(f"error: {message}"), name
        assert error.endswith("; go on with: ipt-platform submit job.yaml --run ray --set checkpoint.every=1 --set " + LOCAL)
        assert "Traceback" not in command.stderr
        assert command.stdout == ""
        # A worker that does not know yet that its controller is gone may commit what it has.
        *_, failed = [event for event in read_events(run) if event["type"] != "checkpoint"]
        assert (failed["type"], failed["attempt"]) == ("failed", number)
        assert failed["reason"].startswith(message)
        assert list((run.path / "logs" / str(number) / "ray").glob("gcs_server*"))
        assert json.loads(workplace.do("status", "ray", "--json").stdout)["state"] == "failed"
        assert workplace.ray_folders() == []

    command = workplace.submit("ray", "checkpoint.every=1", LOCAL)

    assert command.process.returncode == 0, command.stderr
    as_if_undisturbed(run, attempts=len(FAILURES) + 1)
