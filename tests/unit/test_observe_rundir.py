"""The folder of a run: finding it, owning it, asking it to stop."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from ipt_platform.errors import InfrastructureError, NotFoundError, RefusedError, UsageError
from ipt_platform.observe.lock import locked
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create, find_run, list_runs


def test_attempts_are_numbered_upwards_and_remember_their_process(tmp_path: Path):
    run = create(tmp_path, "a")
    assert run.current_attempt() == 0

    numbers = [run.new_attempt() for _ in range(11)]

    assert numbers == list(range(1, 12))
    assert run.current_attempt() == 11
    process = run.attempt(11).process
    assert process == this_process()
    assert process is not None
    assert process.pid == os.getpid()
    assert process.alive() is True


def test_an_attempt_can_be_led_by_another_process(tmp_path: Path):
    leader = {"host": "node-7", "pid": 12, "space": "elsewhere", "born": 5}

    number = create(tmp_path, "a").new_attempt(leader)

    assert create(tmp_path, "a").attempt(number).process == Process(**leader)
    assert Process(**leader).alive() is None


def test_a_later_process_with_the_same_number_is_another_one():
    mine = this_process()

    assert Process(mine.host, mine.pid, mine.space, mine.born - 1).alive() is False


def test_an_attempt_file_cut_short_still_counts(tmp_path: Path):
    run = create(tmp_path, "a")
    run.new_attempt()
    (run.attempts / "2").write_text('{"started": "20')

    assert run.current_attempt() == 2
    assert run.attempt(2).process is None
    assert run.new_attempt() == 3


def test_the_fence_lets_only_the_newest_attempt_pass(tmp_path: Path):
    run = create(tmp_path, "a")
    first = run.new_attempt()
    with run.fence(first)():
        pass
    second = run.new_attempt()

    with run.fence(second)():
        pass

    with pytest.raises(RefusedError, match=f"attempt 1 no longer owns run a: attempt 2 .*process {os.getpid()}"):
        run.fence(first)().__enter__()
    with pytest.raises(RefusedError, match="attempt 3 is gone"):
        run.fence(3)().__enter__()
    shutil.rmtree(run.path)
    with pytest.raises(RefusedError, match="attempt 2 is gone; was the run's folder removed"):
        run.fence(second)().__enter__()


def test_no_attempt_begins_while_another_makes_something_final(tmp_path: Path):
    run = create(tmp_path, "a")
    first = run.new_attempt()
    seen: list[str] = []
    newer = threading.Thread(target=lambda: seen.append(f"attempt {run.new_attempt()}"))

    with run.fence(first)():
        newer.start()
        newer.join(timeout=0.3)  # long enough for one that did not wait
        seen.append("final")
    newer.join()

    assert seen == ["final", "attempt 2"]


def test_a_lock_that_somebody_keeps_is_an_error_that_says_so(tmp_path: Path):
    path = tmp_path / "lock"

    with locked(path), pytest.raises(InfrastructureError, match=f"{path} has been locked by another process for 0 s"):
        locked(path, patience=0).__enter__()

    with locked(path, patience=0):
        pass


def test_a_lock_ends_with_its_holder(tmp_path: Path):
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(tmp_path / "lock"):
            os.write(told, b"x")
            signal.pause()
    try:
        os.read(ready, 1)
        with pytest.raises(InfrastructureError):
            locked(tmp_path / "lock", patience=0).__enter__()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    with locked(tmp_path / "lock", patience=0):
        pass


def test_a_request_to_stop_reaches_only_the_attempt_it_was_made_to(tmp_path: Path):
    run = create(tmp_path, "a")
    assert run.request_stop("too early") == 0
    first = run.new_attempt()
    assert run.stop_requested(first) is None

    assert run.request_stop("Ctrl-C") == first

    assert run.stop_requested(first) == "Ctrl-C"
    second = run.new_attempt()
    assert run.stop_requested(second) is None
    assert run.stop_requested(first) == "Ctrl-C"


def test_each_request_for_a_checkpoint_reaches_only_the_attempt_it_was_made_to(tmp_path: Path):
    run = create(tmp_path, "a")
    first = run.new_attempt()
    assert run.checkpoint_requested(first) is None

    asked = []
    for _ in range(2):
        assert run.request_checkpoint() == first
        asked.append(run.checkpoint_requested(first))

    assert None not in asked
    assert asked[0] != asked[1]
    assert run.stop_requested(first) is None
    assert run.checkpoint_requested(run.new_attempt()) is None


def test_logs_are_listed_by_rank(tmp_path: Path):
    run = create(tmp_path, "a")
    for rank in ("driver", 10, 2, 0):
        run.logs(3, rank).write_text("x\n")

    assert list(run.log_files(3)) == ["0", "2", "10", "driver"]
    assert run.log_files(3)["10"] == run.path / "logs/3/10.log"
    assert run.log_files(1) == {}


def test_a_run_is_found_by_id_and_by_path(tmp_path: Path):
    run = create(tmp_path / "runs", "sync-denoise")
    run.job.write_text("kind: train\n")

    assert find_run(tmp_path / "runs", "sync-denoise") == run
    assert find_run("nowhere", run.path) == run
    assert create(tmp_path / "runs", "sync-denoise") == run


def test_a_missing_run_is_named_with_its_neighbours(tmp_path: Path):
    for name in ("sync-denoise", "other"):
        create(tmp_path, name).new_attempt()
    (tmp_path / "no-run").mkdir()

    assert [run.id for run in list_runs(tmp_path)] == ["other", "sync-denoise"]
    with pytest.raises(NotFoundError, match="did you mean sync-denoise"):
        find_run(tmp_path, "sync-denoize")
    with pytest.raises(NotFoundError, match="shows the 2 runs"):
        find_run(tmp_path, "zzz")
    with pytest.raises(NotFoundError, match="no runs there"):
        find_run(tmp_path / "nowhere", "zzz")
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize("name", ["a" * 256, "a/" * 3000, "a\0"])
def test_what_no_disk_can_hold_is_not_found(tmp_path: Path, name: str):
    create(tmp_path, "here").new_attempt()

    with pytest.raises(NotFoundError, match="no run 'a"):
        find_run(tmp_path, name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "A", "-a", ".hidden", "a" * 129, "a b", "a\n"])
def test_ids_that_are_no_plain_names_are_refused(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="no run id"):
        create(tmp_path, name)

    assert list(tmp_path.iterdir()) == []


def test_storage_elsewhere_is_refused():
    with pytest.raises(UsageError, match=r"'gs://bucket/runs': runs are kept in folders and on S3"):
        create("gs://bucket/runs", "a")


def test_the_paths_are_those_of_the_design(tmp_path: Path):
    run = RunDir(tmp_path)

    names = {path.relative_to(tmp_path).as_posix() for path in (run.job, run.events, run.metrics, run.report)}

    assert names == {"job.yaml", "events.jsonl", "metrics.jsonl", "report.json"}
    assert run.checkpoints == tmp_path / "checkpoints"
    assert run.samples(5) == tmp_path / "samples/step-5"
    assert json.loads(json.dumps(str(run.logs(1, 0)))) == str(tmp_path / "logs/1/0.log")
