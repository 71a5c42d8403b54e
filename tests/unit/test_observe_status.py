"""The state of a run and its reason, from files that real writers wrote."""

import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ipt_platform.checkpoint.durable import write_durable
from ipt_platform.observe.events import append_event
from ipt_platform.observe.heartbeat import Heartbeat
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status, run_status
from ipt_platform.observe.storage import create
from ipt_platform.observe.submitted import Submitted, keep_submitted

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
FAR = Process("node-7", 4242, "another boot", 5)


def at(seconds: float) -> Callable[[], datetime]:
    return lambda: NOON + timedelta(seconds=seconds)


def dead_process() -> Process:
    """A process of this machine that was real and has ended."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(tell, json.dumps(vars(this_process())).encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told) as pipe:
        process = Process(**json.loads(pipe.read()))
    os.waitpid(pid, 0)
    return process


def begin(folder: Path, leader: Process, step: int = 120) -> RunDir:
    """A run of 200 steps whose first attempt started at noon and reported `step` ten seconds later."""
    run = create(folder, "demo")
    append_event(run, "created", 0, clock=at(-1), steps=200)
    attempt = run.new_attempt(leader)
    (run.attempts / str(attempt)).write_text(json.dumps({"started": at(0)().isoformat(), "process": vars(leader)}))
    append_event(run, "started", attempt, clock=at(0))
    report(run, attempt, step, seconds=10)
    return run


def report(run: RunDir, attempt: int, step: int, seconds: float) -> None:
    line = {"attempt": attempt, "step": step, "steps": 200, "stage": 0, "loss": {"denoise": 0.05}, "eta_seconds": 16.0}
    append_metrics(run, {**line, "images_per_second": 20.0, "data_wait_share": 0.01}, clock=at(seconds))


def commit(run: RunDir, step: int) -> None:
    (run.checkpoints / f"step-{step}").mkdir(parents=True)
    write_durable(run.checkpoints / f"step-{step}/COMMIT", b"{}")


def look(run: RunDir, seconds: float) -> Status:
    return run_status(run, stale=60.0, clock=at(seconds))


def test_created(tmp_path: Path):
    run = create(tmp_path, "demo")
    append_event(run, "created", 0, steps=200)

    status = run_status(run)

    assert (status.state, status.step, status.steps, status.attempt) == ("created", 0, 200, 0)
    assert "no attempt has started yet" in status.reason


def test_running_while_the_process_is_alive(tmp_path: Path):
    status = look(begin(tmp_path, this_process()), seconds=12)

    assert (status.state, status.step, status.steps, status.attempt) == ("running", 120, 200, 1)
    assert status.eta == 16.0
    assert status.loss == {"denoise": 0.05}
    assert status.stage == 0
    assert status.checkpoint is None
    assert status.updated.startswith("2026-01-02T12:00:10")
    assert f"process {os.getpid()}" in status.reason
    assert "2 s ago" in status.reason


def test_alive_but_silent_is_running_and_says_that_it_may_hang(tmp_path: Path):
    status = look(begin(tmp_path, this_process()), seconds=10 + 600)

    assert status.state == "running"
    assert "said nothing for 10 min" in status.reason


def test_a_dead_process_interrupts_the_run_at_once(tmp_path: Path):
    run = begin(tmp_path, dead_process())
    commit(run, 100)
    (run.checkpoints / "step-150").mkdir()

    status = look(run, seconds=10.1)

    assert status.state == "interrupted"
    assert status.checkpoint == 100
    assert status.eta is None
    assert "is gone without an ending; submitting demo again goes on from step 100" in status.reason


@pytest.mark.parametrize(("age", "state"), [(59, "running"), (61, "interrupted"), (-3600, "running")])
def test_a_process_that_cannot_be_seen_is_judged_by_its_last_word(tmp_path: Path, age: float, state: str):
    status = look(begin(tmp_path, FAR), seconds=10 + age)

    assert status.state == state
    assert "process 4242 on node-7" in status.reason
    if state == "interrupted":
        assert "nothing was heard for 61 s" in status.reason
        assert "starts again from step 0 (no checkpoint)" in status.reason


def test_an_attempt_file_cut_short_is_judged_by_the_last_word(tmp_path: Path):
    run = begin(tmp_path, FAR)
    (run.attempts / "1").write_text("{")

    assert look(run, seconds=15).state == "running"
    assert look(run, seconds=500).state == "interrupted"


def test_finished(tmp_path: Path):
    run = begin(tmp_path, dead_process())
    append_event(run, "finished", 1, clock=at(20), step=200)

    status = look(run, seconds=9e6)

    assert (status.state, status.step, status.eta) == ("finished", 200, None)
    assert status.reason == "all 200 steps are done"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_an_ending_gives_its_reason_and_the_way_on(tmp_path: Path, ending: str):
    run = begin(tmp_path, dead_process())
    commit(run, 120)
    append_event(run, ending, 1, clock=at(20), reason="the loss of denoise is not finite.")

    status = look(run, seconds=30)

    assert status.state == ending
    assert status.reason == (
        "the loss of denoise is not finite (after step 120 of 200); submitting demo again goes on from step 120"
    )


def test_a_new_attempt_lifts_the_ending_of_the_one_before(tmp_path: Path):
    run = begin(tmp_path, dead_process(), step=180)
    append_event(run, "failed", 1, clock=at(20), reason="disk full")
    run.new_attempt()
    append_event(run, "resumed", 2, clock=at(30), step=100)

    status = look(run, seconds=31)

    assert (status.state, status.attempt) == ("running", 2)
    assert status.step == 100, "the steps that were lost no longer count as done"
    assert status.eta is None, "the estimate of a dead attempt means nothing"


def test_a_clock_that_was_set_back_hides_no_step_and_no_ending(tmp_path: Path):
    run = begin(tmp_path, this_process(), step=120)
    hour = -3600
    append_event(run, "checkpoint", 1, clock=at(hour + 12), step=130)
    assert look(run, seconds=hour + 12).step == 130
    report(run, 1, 150, seconds=hour + 20)
    status = look(run, seconds=hour + 21)
    assert (status.state, status.step, status.eta) == ("running", 150, 16.0)

    run.new_attempt()
    append_event(run, "resumed", 2, clock=at(2 * hour), step=140)
    assert (look(run, seconds=2 * hour + 1).state, look(run, seconds=2 * hour + 1).step) == ("running", 140)
    report(run, 2, 190, seconds=3 * hour)
    append_event(run, "finished", 2, clock=at(3 * hour + 1), step=200)

    status = look(run, seconds=3 * hour + 2)
    assert (status.state, status.step, status.attempt) == ("finished", 200, 2)


def test_a_machine_whose_clock_is_wrong_is_known_to_live_by_its_heartbeat(tmp_path: Path):
    """Its clock is an hour behind ours; the file system's is ours."""
    run = begin(tmp_path, FAR)
    Heartbeat(run, attempt=1, every=0)()
    os.utime(run.heartbeat, (at(3600)().timestamp(),) * 2)

    assert look(run, seconds=3600 + 59).state == "running"
    silent = look(run, seconds=3600 + 61)
    assert silent.state == "interrupted"
    assert "nothing was heard for 61 s of process 4242 on node-7" in silent.reason

    Heartbeat(run, attempt=7, every=0)()
    os.utime(run.heartbeat, (at(3600)().timestamp(),) * 2)
    assert look(run, seconds=3600 + 1).state == "interrupted", "that was another attempt"


def test_samples_ahead_do_not_count_as_steps_done(tmp_path: Path):
    run = begin(tmp_path, this_process())
    append_event(run, "bad-sample", 1, clock=at(11), step=124, key="x")

    assert look(run, seconds=12).step == 120


def test_a_request_to_stop_is_told(tmp_path: Path):
    run = begin(tmp_path, this_process())
    run.request_stop("Ctrl-C.")

    assert look(run, seconds=12).reason == "asked to stop (Ctrl-C), commits a checkpoint first"


def test_the_last_evaluation_is_found_however_long_ago(tmp_path: Path):
    run = begin(tmp_path, this_process())
    numbers = {"denoise": {"psnr": 28.5, "ssim": 0.8}, "deblur": {"psnr": math.inf}}
    append_metrics(run, {"step": 120, "evaluation": {"sample-test": numbers}}, clock=at(11))
    for step in range(300):
        report(run, 1, step, seconds=12 + step)
    with run.metrics.open("ab") as file:
        file.write(b'{"time": "2026')

    status = look(run, seconds=400)

    assert status.psnr == {"sample-test": {"denoise": 28.5, "deblur": math.inf}}
    assert status.step == 299


def test_an_empty_folder_of_attempts_and_no_files_is_no_crash(tmp_path: Path):
    (tmp_path / "attempts").mkdir()

    assert run_status(RunDir(tmp_path)).state == "created"


@pytest.mark.parametrize("ending", [None, "finished", "failed", "cancelled"])
def test_a_quick_look_at_a_long_run_says_the_same(tmp_path: Path, ending: str | None):
    run = create(tmp_path, "demo")
    append_event(run, "created", 0, kind="train", steps=9000, clock=at(-1))
    for attempt in (1, 2):
        run.new_attempt(this_process())
        append_event(run, "resumed", attempt, step=attempt * 1000, clock=at(attempt * 1000))
        for step in range(300):
            append_event(run, "checkpoint", attempt, step=attempt * 1000 + step, clock=at(attempt * 1000 + step))
            report(run, attempt, attempt * 1000 + step, seconds=attempt * 1000 + step)
        append_metrics(
            run, {"step": step, "evaluation": {"s": {"t": {"psnr": 20.0 + attempt}}}}, clock=at(attempt * 1000 + step)
        )
    if ending:
        append_event(run, ending, 2, step=2300, reason="because " + "it is long " * 800, clock=at(2400))

    assert run_status(run, quick=True, clock=at(2500)) == run_status(run, clock=at(2500))
    assert run_status(run, quick=True, clock=at(2500)).psnr == {"s": {"t": 22.0}}


def test_a_run_that_a_cluster_has_says_so_until_it_begins(tmp_path):
    run = create(tmp_path, "demo")
    append_event(run, "created", 0, clock=at(-1), steps=200)
    keep_submitted(run, Submitted("gpu", "http://127.0.0.1:8265", "demo-1-abc", "somebody@somewhere"))

    assert run_status(run).reason == "cluster gpu has it as demo-1-abc; no attempt has started yet"
    append_event(run, "warning", 0, clock=at(0), reason="the cluster is too small for the job")
    assert run_status(run).reason.endswith("no attempt has started yet; the cluster is too small for the job")
    run.submission.write_text('{"cluster": "gp')  # cut short
    assert "submit its job to start it" in run_status(run).reason
