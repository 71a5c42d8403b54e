"""Stopping a run that another process leads: real processes that hear, that are deaf, that end in their own way meanwhile."""

import json
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ipt_platform.cli.steer import cancel as cancel_command
from ipt_platform.cli.steer import resume, wait
from ipt_platform.cluster.steer import cancel, committed, end_now, wait_for_stop
from ipt_platform.cluster.submit import resume_run
from ipt_platform.errors import (
    ExitCode,
    InfrastructureError,
    IptError,
    NotFoundError,
    RefusedError,
    StillRunningError,
    UsageError,
)
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.process import Process, process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import exit_code_of, run_status
from ipt_platform.observe.storage import create
from ipt_platform.observe.waiting import Ended, Patience, ended, wait_for_end

LEADER = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from ipt_platform.cluster.stop import Stop, listening
    from ipt_platform.observe.events import append_event
    from ipt_platform.observe.process import this_process
    from ipt_platform.observe.rundir import RunDir

    run, what = RunDir(Path(sys.argv[1])), sys.argv[2]
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    stop = Stop(run, lambda: run.attempt_of(this_process(), 0), gently=True)
    with listening(stop):
        print("ready", flush=True)
        while not stop.at_once() or what == "stuck":
            reason = run.stop_requested(attempt)
            if reason and what == "replaced":
                attempt, what = run.new_attempt(), "hears"
                append_event(run, "resumed", attempt, step=0)
            elif reason and what == "dies":
                sys.exit(9)
            elif reason and what in ("hears", "finished", "failed"):
                checkpoint = run.checkpoints / "step-7"
                checkpoint.mkdir(parents=True)
                (checkpoint / "COMMIT").touch()
                append_event(run, "cancelled" if what == "hears" else what, attempt, step=7, reason=reason)
                sys.exit()
            time.sleep(0.01)
        append_event(run, "cancelled", attempt, reason=str(stop.error()))
    """
)


def patience(seconds: float | None = 60) -> Patience:
    return Patience(seconds, sleep=lambda seconds: time.sleep(min(seconds, 0.01)))


Lead = Callable[[RunDir, str], subprocess.Popen]


@pytest.fixture
def lead() -> Iterator[Lead]:
    """Starts a process that leads a run, and does what the word says once the run is asked to stop."""
    started: list[subprocess.Popen] = []

    def start(run: RunDir, what: str) -> subprocess.Popen:
        append_event(run, "created", 0, kind="train", steps=100)
        leader = subprocess.Popen([sys.executable, "-c", LEADER, run.path, what], stdout=subprocess.PIPE, text=True)
        started.append(leader)
        assert leader.stdout
        assert leader.stdout.readline() == "ready\n"
        return leader

    yield start
    for each in started:
        each.kill()
        each.communicate()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return create(tmp_path, "demo")


def stopped(run: RunDir) -> Ended:
    return wait_for_stop(cancel(run, "ann"), patience())


def kinds(run: RunDir) -> list[str]:
    return [event["type"] for event in read_events(run)]


@pytest.mark.parametrize(
    ("what", "state", "code"),
    [
        ("hears", "cancelled", ExitCode.CANCELLED),
        ("finished", "finished", ExitCode.OK),
        ("failed", "failed", ExitCode.JOB_FAILED),
        ("dies", "interrupted", ExitCode.INFRASTRUCTURE),
    ],
)
def test_whatever_a_run_does_when_it_is_asked_to_stop_is_told(run: RunDir, lead: Lead, what: str, state: str, code: int):
    leader = lead(run, what)

    found = stopped(run)

    leader.wait(60)
    assert (found.state, found.exit_code) == (state, code)
    assert ended(run) == found
    assert wait_for_end(run, patience()) == found
    assert committed(run) == ({} if what == "dies" else {"demo": 7})
    if what == "hears":
        assert found.status.reason.startswith("cancelled by ann (after step 7 of 100)")
        assert kinds(run) == ["created", "started", "stop-requested", "cancelled"]


def test_two_at_once_ask_once_or_twice_and_are_both_told(run: RunDir, lead: Lead):
    lead(run, "hears")
    found: list[Ended] = []
    both = [threading.Thread(target=lambda: found.append(stopped(run))) for _ in range(2)]

    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)

    assert [each.state for each in found] == ["cancelled"] * 2
    assert kinds(run).count("cancelled") == 1


def test_who_asks_a_run_that_was_asked_before_does_not_ask_again(run: RunDir, lead: Lead):
    lead(run, "deaf")

    first, second = cancel(run, "ann"), cancel(run, "bob")

    assert first == second
    assert first.reason == "cancelled by ann"
    assert kinds(run).count("stop-requested") == 1


def test_who_takes_the_place_of_lost_workers_is_asked_too(run: RunDir, lead: Lead):
    lead(run, "replaced")

    found = stopped(run)

    assert (found.state, found.status.attempt) == ("cancelled", 2)
    assert [event["attempt"] for event in read_events(run) if event["type"] == "stop-requested"] == [1, 2]


def test_a_run_that_somebody_submits_again_is_not_stopped_twice(run: RunDir, lead: Lead):
    first = lead(run, "deaf")
    asked = cancel(run, "ann")
    first.kill()
    first.wait()
    lead(run, "deaf")

    with pytest.raises(RefusedError, match=r"run demo was submitted again meanwhile: process .* leads attempt 2"):
        wait_for_stop(asked, patience())

    assert run.stop_requested(2) is None


@pytest.mark.parametrize("state", ["created", "finished", "failed", "cancelled", "interrupted"])
def test_a_run_that_is_not_running_is_refused_with_the_state_it_is_in(run: RunDir, state: str):
    append_event(run, "created", 0, kind="train")
    if state != "created":
        run.new_attempt(Process("here", 1, process(1).space, born=1))  # one that has long ended
    if state not in ("created", "interrupted"):
        append_event(run, state, 1, reason="because")

    for act in (lambda: cancel(run, "ann"), lambda: end_now(run, "ann", patience())):
        with pytest.raises(RefusedError, match=f"run demo is not running, it is {state}: "):
            act()

    assert not run.stop.exists()
    assert "stop-requested" not in kinds(run)


def test_patience_has_an_end_and_the_run_goes_on(run: RunDir, lead: Lead):
    leader = lead(run, "deaf")

    with pytest.raises(StillRunningError, match=r"has not done so within 0.05 s; `ipt-platform wait .*/demo`"):
        wait_for_stop(cancel(run, "ann"), patience(0.05))
    with pytest.raises(StillRunningError, match=r"run demo has not ended within 0.05 s: running: asked to stop"):
        wait_for_end(run, patience(0.05))

    assert leader.poll() is None


def test_a_run_is_waited_for_before_it_begins(run: RunDir, lead: Lead):
    append_event(run, "created", 0, kind="train")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            append_event(run, "failed", run.new_attempt(), reason="no")

    assert wait_for_end(run, Patience(None, sleep)).exit_code == ExitCode.JOB_FAILED
    assert looks == [0.5, 0.5]


def test_at_once_ends_a_deaf_run_by_two_signals(run: RunDir, lead: Lead):
    leader = lead(run, "deaf")

    found = end_now(run, "ann", patience())

    assert (found.state, found.exit_code) == ("cancelled", ExitCode.CANCELLED)
    assert found.status.reason.startswith("stopped at once by SIGTERM")
    assert leader.wait(60) == 0
    assert kinds(run) == ["created", "started", "warning", "stop-requested", "cancelled"]


def test_at_once_ends_a_run_that_was_asked_before_in_vain(run: RunDir, lead: Lead):
    lead(run, "deaf")
    cancel(run, "ann")

    assert end_now(run, "ann", patience()).status.reason.startswith("stopped at once by SIGTERM")


def test_a_process_that_does_not_end_is_named(run: RunDir, lead: Lead):
    leader = lead(run, "stuck")

    with pytest.raises(InfrastructureError, match=rf"process {leader.pid} on .* does not end; `kill -9 {leader.pid}` ends it"):
        end_now(run, "ann", patience(0.2))

    assert leader.poll() is None


def test_at_once_from_another_machine_is_refused_with_the_next_step(run: RunDir):
    append_event(run, "started", run.new_attempt(Process("node-7", 4242, "another boot", 5)))

    with pytest.raises(
        RefusedError, match="led by process 4242 on node-7, which is not to be seen from here: give the command"
    ):
        end_now(run, "ann", patience())


def test_a_job_of_a_search_is_not_ended_at_the_cost_of_the_search(run: RunDir, lead: Lead):
    leader = lead(run, "deaf")
    member = RunDir(run.members / "trial-3")
    member.path.mkdir(parents=True)
    append_event(member, "started", member.new_attempt(process(leader.pid)))

    with pytest.raises(RefusedError, match="run trial-3 is one of the jobs of demo, which would end too"):
        end_now(member, "ann", patience())

    assert leader.poll() is None
    assert kinds(run)[-1] == "started"


def test_the_jobs_of_a_search_that_were_cut_off_are_named_with_their_checkpoints(run: RunDir, lead: Lead):
    for name, ending in (("trial-1", "finished"), ("trial-2", "cancelled"), ("trial-3", "cancelled")):
        member = RunDir(run.members / name)
        (member.checkpoints / "step-5").mkdir(parents=True)
        (member.checkpoints / "step-5" / "COMMIT").write_text("" if name != "trial-3" else "{}")
        append_event(member, ending, member.new_attempt())

    assert committed(run) == {"trial-2": 5, "trial-3": 5}


def test_an_evaluation_can_only_be_ended_at_once(run: RunDir):
    append_event(run, "created", 0, kind="evaluate")
    run.new_attempt()

    with pytest.raises(RefusedError, match=r"which has no checkpoints: `ipt-platform cancel .*/demo --now` ends it"):
        cancel(run, "ann")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"type": "finished"}, 0),
        ({"type": "failed"}, 5),
        ({"type": "cancelled"}, 7),
        ({"type": "failed", "class": "user"}, 5),
        ({"type": "failed", "class": "out-of-memory"}, 5),
        ({"type": "failed", "class": "infrastructure"}, 6),
        ({"type": "failed", "class": "preemption"}, 6),
        ({"type": "failed", "class": "hang"}, 6),
        ({"type": "failed", "class": "user", "exit_code": 4}, 4),
        ({"type": "finished", "exit_code": None}, 0),
    ],
)
def test_the_exit_code_of_an_ending(event: dict, code: int):
    assert exit_code_of(event) == code


def test_a_run_without_a_job_is_not_resumed(run: RunDir):
    with pytest.raises(NotFoundError, match=r"run demo has no job\.yaml: give its job with"):
        resume_run(run, run.path)


# The commands

app = typer.Typer()
for command, name in ((cancel_command, "cancel"), (resume, "resume"), (wait, "wait")):
    app.command(name)(command)


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    if isinstance(result.exception, IptError):
        raise result.exception
    return result.return_value or result.exit_code, result.stdout


def test_cancel_says_what_was_committed(run: RunDir, lead: Lead):
    lead(run, "hears")

    code, said = call("cancel", run.path)

    assert code == 0
    assert said.splitlines()[0].startswith("demo: cancelled: cancelled by ")
    assert said.splitlines()[1:] == ["checkpoint of demo: step 7"]


def test_cancel_and_wait_end_with_the_code_of_a_run_that_failed_meanwhile(run: RunDir, lead: Lead):
    lead(run, "failed")

    assert call("cancel", run.path, "--json")[0] == ExitCode.JOB_FAILED
    code, said = call("wait", run.path, "--json")
    assert (code, json.loads(said)["exit_code"], json.loads(said)["state"]) == (5, 5, "failed")


def test_cancel_can_go_before_the_run_does(run: RunDir, lead: Lead):
    lead(run, "deaf")

    code, said = call("cancel", run.path, "--no-wait", "--json")

    assert code == 0
    assert json.loads(said)["attempt"] == 1
    assert run_status(run).state == "running"
    with pytest.raises(UsageError, match="--no-wait asks and goes"):
        call("cancel", run.path, "--no-wait", "--now")
    with pytest.raises(StillRunningError):
        call("wait", run.path, "--timeout", 0)
    run.job.write_text("kind: train\n")
    with pytest.raises(RefusedError, match="run demo is running: asked to stop"):
        call("resume", run.path)
