"""Whose leader was killed is no longer taken for led, once its run says that it is over."""

import pytest
from prometheus_client import generate_latest

from ipt_platform.cluster.abandoned import end_abandoned
from ipt_platform.observe.events import append_event
from ipt_platform.observe.exposition import SILENT_SECONDS, Exposition
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

LED = [("ipt_train_running", {"job": "small"}, "set", 1), ("ipt_train_workers", {"job": "small"}, "set", 2)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exposition(clock) -> Exposition:
    found = Exposition("1.0", clock=clock)
    found.apply(LED)
    return found


def run_of(storage, run_id: str, ending: str = "", name: str = "small") -> RunDir:
    """A run that was begun and maybe ended; of one that was not, this process is the leader."""
    run = create(storage, run_id)
    run.write_job(f"name: {name}\n".encode())
    attempt = run.new_attempt(this_process())
    append_event(run, "started", attempt, step=0)
    if ending:
        append_event(run, ending, attempt, reason="told")
    return run


def led(exposition: Exposition) -> bool:
    """Whether the job is taken for led, and has workers."""
    text = generate_latest(exposition.registry).decode()
    found = [
        f'{name}{{job="small"}} {value}' in text for name, value in (("ipt_train_running", 1.0), ("ipt_train_workers", 2.0))
    ]
    assert found[0] == found[1]
    return found[0]


def test_a_job_whose_leader_was_killed_has_ended_when_its_run_has(exposition, clock, tmp_path):
    run_of(tmp_path, "a", "cancelled")
    end_abandoned(exposition, [str(tmp_path)])
    assert led(exposition)  # it may be led again, and wait for workers

    clock.now = SILENT_SECONDS + 1
    end_abandoned(exposition, [str(tmp_path)])
    assert not led(exposition)


def test_the_newest_run_counts_and_others_jobs_do_not(exposition, clock, tmp_path):
    clock.now = SILENT_SECONDS + 1
    run_of(tmp_path, "b-newer-last-by-name", "finished")
    run_of(tmp_path, "a-newest")
    run_of(tmp_path, "other", "cancelled", name="other")
    (tmp_path / "none" / "attempts").mkdir(parents=True)
    end_abandoned(exposition, [str(tmp_path)])

    assert led(exposition)


def test_a_job_whose_runs_are_not_seen_stays_as_it_was_told(exposition, clock, tmp_path):
    clock.now = SILENT_SECONDS + 1
    end_abandoned(exposition, [str(tmp_path)])

    assert led(exposition)
