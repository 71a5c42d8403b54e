"""Asking a run for a checkpoint: what it hears, and what becomes of who waits."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ipt_platform.cli.steer import checkpoint
from ipt_platform.cluster.checkpoint import ask_checkpoint, wait_for_checkpoint
from ipt_platform.errors import RefusedError, StillRunningError, UsageError
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.process import Process, process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.observe.waiting import Patience

ENDED = Process("here", 1, process(1).space, born=1)
"""A process that has ended long ago."""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = create(tmp_path, "demo")
    append_event(run, "created", 0, kind="train", steps=100)
    append_event(run, "started", run.new_attempt())
    append_event(run, "checkpoint", 1, step=10)
    return run


def patience(seconds: float = 60) -> Patience:
    return Patience(seconds, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))


def when_asked(run: RunDir, act: Callable[[], object], attempt: int = 1) -> threading.Thread:
    """Do something as soon as an attempt is asked for a checkpoint."""

    def look() -> None:
        end = time.monotonic() + 60
        while run.checkpoint_requested(attempt) is None and time.monotonic() < end:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def test_who_waits_is_told_the_step_of_the_checkpoint_that_came(run: RunDir):
    heard = when_asked(run, lambda: append_event(run, "checkpoint", 1, step=13))

    assert wait_for_checkpoint(ask_checkpoint(run, "ann"), patience()) == 13

    heard.join()
    assert run.stop_requested(1) is None
    requests = [event for event in read_events(run) if event["type"] == "checkpoint-requested"]
    assert [(event["attempt"], event["reason"]) for event in requests] == [(1, "a checkpoint was asked for by ann")]


def test_who_takes_the_place_of_lost_workers_is_asked_too(run: RunDir):
    lost = when_asked(run, lambda: append_event(run, "resumed", run.new_attempt(), step=10))
    heard = when_asked(run, lambda: append_event(run, "checkpoint", 2, step=12), attempt=2)

    assert wait_for_checkpoint(ask_checkpoint(run, "ann"), patience()) == 12

    lost.join()
    heard.join()


@pytest.mark.parametrize("committed", [False, True])
def test_a_run_that_ends_meanwhile_is_told_of_with_what_it_committed(run: RunDir, committed: bool):
    def end() -> None:
        if committed:
            append_event(run, "checkpoint", 1, step=100)
        append_event(run, "finished" if committed else "failed", 1, reason="because")

    ending = when_asked(run, end)
    wanted = ask_checkpoint(run, "ann")

    if committed:
        assert wait_for_checkpoint(wanted, patience()) == 100
    else:
        with pytest.raises(RefusedError, match="was asked for a checkpoint and committed none: it is failed: because"):
            wait_for_checkpoint(wanted, patience())
    ending.join()


def test_a_run_that_somebody_submits_again_is_not_asked_anew(run: RunDir):
    wanted = ask_checkpoint(run, "ann")
    run.new_attempt(process(1))

    with pytest.raises(RefusedError, match="was submitted again, as attempt 2"):
        wait_for_checkpoint(wanted, patience())

    assert run.checkpoint_requested(2) is None


def test_patience_has_an_end_and_the_run_goes_on(run: RunDir):
    with pytest.raises(StillRunningError, match=r"committed none within 0.05 s; .*train\.log_every"):
        wait_for_checkpoint(ask_checkpoint(run, "ann"), patience(0.05))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("evaluate", "an evaluation, which has no checkpoints"),
        ("restore", "a job that restores pictures"),
        ("tune", "a search: ask one of its trials, which are runs in .*/runs"),
        ("analyze", "an analysis: ask one of its trainings"),
    ],
)
def test_what_has_no_checkpoints_is_refused_in_its_own_words(tmp_path: Path, kind: str, says: str):
    run = create(tmp_path, kind)
    append_event(run, "created", 0, kind=kind)
    append_event(run, "started", run.new_attempt())

    with pytest.raises(RefusedError, match=says):
        ask_checkpoint(run, "ann")

    assert not run.checkpoint_now.exists()


@pytest.mark.parametrize("state", ["created", "finished", "failed", "cancelled", "interrupted"])
def test_a_run_that_is_not_running_is_refused_with_the_state_it_is_in(tmp_path: Path, state: str):
    run = create(tmp_path, state)
    append_event(run, "created", 0, kind="train")
    if state != "created":
        run.new_attempt(ENDED)
    if state not in ("created", "interrupted"):
        append_event(run, state, 1, reason="because")

    with pytest.raises(RefusedError, match=f"is not running, it is {state}"):
        ask_checkpoint(run, "ann")

    assert not run.checkpoint_now.exists()


def test_the_command_waits_or_does_not_and_says_what_came(run: RunDir):
    app = typer.Typer()
    app.command()(checkpoint)

    def call(*words: str):
        return CliRunner().invoke(app, [str(run.path), *words])

    told = call("--no-wait", "--json")
    assert json.loads(told.stdout) == {"run": "demo", "path": str(run.path), "attempt": 1}
    assert call("--no-wait").stdout == "demo: attempt 1 was asked for a checkpoint\n"
    run.checkpoint_now.unlink()
    heard = when_asked(run, lambda: append_event(run, "checkpoint", 1, step=21))
    assert call().stdout == "checkpoint of demo: step 21\n"
    heard.join()
    wrong = call("--no-wait", "--timeout", "3")
    assert isinstance(wrong.exception, UsageError)
