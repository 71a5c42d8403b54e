"""Kill -9 of what trains, at bad moments: every run ends with the weights of one that nobody disturbed."""

import signal
from collections.abc import Callable

import psutil
import pytest

from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status

pytestmark = pytest.mark.slow

STEPS = 14
GRACE = 120  # seconds within which all that belongs to an ended process must have ended by itself

Weights = Callable[[RunDir, int], dict[str, bytes]]


@pytest.fixture(scope="module")
def want(workplace, weights) -> dict[str, bytes]:
    """The weights, averages and optimizer state of a run that nobody disturbs."""
    command = workplace.submit("undisturbed")
    assert command.process.returncode == 0, command.stderr
    return weights(workplace.run("undisturbed"), STEPS)


def events(run: RunDir, kind: str) -> list[dict]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir) -> int:
    return max((line["step"] for line in read_metrics(run)), default=0)


def worker(run: RunDir) -> psutil.Process:
    """The process that leads the run's newest attempt."""
    leader = run.attempt(run.current_attempt()).process
    assert leader is not None
    process = psutil.Process(leader.pid)
    assert "ray::" in " ".join(process.cmdline())
    return process


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs([process], timeout=10)


def half_written(run: RunDir) -> list[str]:
    """Checkpoints that somebody writes at this moment."""
    try:
        return [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".tmp-step")]
    except FileNotFoundError:
        return []


def assert_finished_as_if_undisturbed(run: RunDir, want: dict[str, bytes], weights: Weights, attempts: int) -> None:
    assert run_status(run).state == "finished"
    assert sorted(int(path.name) for path in run.attempts.glob("[0-9]*")) == list(range(1, attempts + 1))
    assert [event["attempt"] for event in events(run, "finished")] == [attempts]
    assert weights(run, STEPS) == want
    assert half_written(run) == []


def test_a_worker_killed_in_the_middle_of_a_step_is_replaced(workplace, want, weights):
    command = workplace.submit("worker", wait=False)
    run = workplace.run("worker")
    command.until(lambda: last_step(run) >= 5)
    kill(worker(run))

    assert command.wait() == 0, command.stderr

    assert_finished_as_if_undisturbed(run, want, weights, attempts=2)
    (lost,) = events(run, "worker-lost")
    assert lost["attempt"] == 1
    assert lost["reason"].startswith("worker 0: ")
    assert "\n" not in lost["reason"]
    (resumed,) = events(run, "resumed")
    assert (resumed["attempt"], resumed["step"]) == (2, max(e["step"] for e in events(run, "checkpoint") if e["attempt"] == 1))
    assert "worker-lost" in command.stderr
    assert command.left(grace=GRACE) == []


def test_a_worker_killed_while_it_writes_a_checkpoint_is_replaced(workplace, want, weights):
    command = workplace.submit("checkpoint", "checkpoint.every=1", wait=False)
    run = workplace.run("checkpoint")
    kills, torn = 0, []
    while not torn and kills < 3:
        kills += 1
        command.until(lambda at=kills: run.current_attempt() == at and last_step(run) >= 2)
        leader = worker(run)
        command.until(lambda: half_written(run), pause=0)
        kill(leader)
        torn = half_written(run)

    assert torn, "the worker was faster than we were, three times"
    assert command.wait() == 0, command.stderr

    assert_finished_as_if_undisturbed(run, want, weights, attempts=kills + 1)
    assert command.left(grace=GRACE) == []
