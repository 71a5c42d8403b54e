"""Ctrl-C and SIGTERM at every moment of `submit`: the right code, nothing left running, and how to go on."""

import os
import shlex
import signal
from typing import Any

import pytest
from PIL import Image

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status

pytestmark = pytest.mark.slow

STEPS = 30


def kinds(run: RunDir) -> list[str]:
    return [event["type"] for event in read_events(run)]


def assert_ended(command: Any, workplace: Any, message: str) -> list[str]:
    """Asserts code, message and that nothing is left; returns the words with which the run goes on."""
    assert command.wait() == 7, command.stderr
    assert command.left() == []
    assert workplace.ray_folders() == []
    assert command.stdout == ""
    assert "Traceback" not in command.stderr
    said, go_on = command.stderr.splitlines()[-1].split("; go on with: ")
    assert said == message
    return shlex.split(go_on)[1:]


def driver_says(run: RunDir, words: str) -> bool:
    path = run.logs(1, "driver")
    return path.exists() and words in path.read_text()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_before_ray_starts(workplace, number, name):
    command = workplace.submit(f"early-{name.lower()}", wait=False)
    run = workplace.run(f"early-{name.lower()}")
    command.until(lambda: command.look() or len(command.seen) > 1, pause=0.01)  # the process that is to start Ray
    assert not driver_says(run, "Ray")

    command.process.send_signal(number)

    go_on = assert_ended(command, workplace, f"stopped by {name} before it had begun")
    assert go_on == ["submit", "job.yaml", "--run", run.id]
    assert run.current_attempt() == 0
    assert run_status(run).state == "created"


def test_between_the_start_of_ray_and_that_of_training(workplace):
    command, run = workplace.submit("starting", wait=False), workplace.run("starting")
    command.until(lambda: driver_says(run, "Started a local Ray instance"))
    assert run.current_attempt() == 0

    command.interrupt()

    assert_ended(command, workplace, "stopped by Ctrl-C before it had begun")
    assert run_status(run).state == "created"


def test_a_second_signal_ends_at_once_and_loses_nothing_that_was_committed(workplace, as_if_undisturbed):
    """Training asks whether to stop when it logs; this one logs at its end, so that the first signal cannot be enough."""
    changes = (f"train.log_every={STEPS}", "checkpoint.every=1")
    command, run = workplace.submit("twice", *changes, wait=False), workplace.run("twice")
    command.until(lambda: kinds(run).count("checkpoint") >= 2)
    command.interrupt()
    command.until(lambda: "stop-requested" in kinds(run))
    committed = next(info.step for info in list_checkpoints(run.path) if info.usable)
    command.process.send_signal(signal.SIGTERM)

    go_on = assert_ended(command, workplace, "stopped at once by SIGTERM, without a checkpoint of its own")

    assert read_metrics(run) == []
    status = run_status(run)
    assert (status.state, status.attempt) == ("cancelled", 1)
    assert next(info.step for info in list_checkpoints(run.path) if info.usable) >= committed
    again = workplace.do(*go_on)
    assert again.process.returncode == 0, again.stderr
    as_if_undisturbed(run, attempts=2)


def test_during_the_final_evaluation(workplace, as_if_undisturbed):
    folder = workplace.folder / "many"
    folder.mkdir()
    for number in range(300):
        Image.effect_noise((64, 64), 40).convert("RGB").save(folder / f"{number:03}.png")
    changes = ("evaluate.sets=[many]",)
    command, run = workplace.submit("late", *changes, wait=False), workplace.run("late")
    command.until(lambda: any(line["step"] == STEPS for line in read_metrics(run)))
    assert kinds(run)[-1] != "evaluated"

    os.killpg(command.process.pid, signal.SIGTERM)

    assert_ended(command, workplace, "stopped by SIGTERM")
    assert kinds(run)[-3:] == ["stop-requested", "checkpoint", "cancelled"]
    assert list_checkpoints(run.path)[0].step == STEPS
    assert not run.report.exists()
    assert run_status(run).state == "cancelled"
