"""The run that a submission is given: of its own, or the one of its id, whole and with one job."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ipt_platform.cluster.submit import new_run_id, prepare_run, resume_run
from ipt_platform.errors import RefusedError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import list_runs
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import load_job

JOB = """apiVersion: ipt/v1
kind: train
name: own
model: {backbone: iptv2-nano}
tasks: [denoise]
data: {shards: "shards/*.tar"}
train: {stages: [{steps: 4, patch: 32, images: 2}]}
"""


@pytest.fixture
def here(base, tmp_path, monkeypatch) -> Path:
    (tmp_path / "shards").symlink_to(base / "shards")
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """What each call gave, or the error it met, where all began at the same moment."""
    gate, found = threading.Barrier(len(calls)), list[object](calls)

    def work(number: int) -> None:
        gate.wait(60)
        try:
            found[number] = calls[number]()
        except RefusedError as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def submission(seed: int, run_id: str | None = None) -> Callable[[], RunDir]:
    loaded = load_job("job.yaml", [f"seed={seed}"])
    return lambda: prepare_run(loaded, run_id, Path())


def seed_of(run: RunDir) -> int:
    job = load_job(run.job).job
    assert isinstance(job, TrainJob)
    return job.seed


def test_submissions_at_once_get_runs_of_their_own(here):
    found = at_once([submission(seed) for seed in (1, 2, 3, 3)])

    assert [seed_of(run) for run in found if isinstance(run, RunDir)] == [1, 2, 3, 3]
    assert len(list_runs("runs")) == 4


def test_no_two_generated_ids_are_alike(here):
    job = load_job("job.yaml").job

    ids = {new_run_id(job) for _ in range(100)}

    assert len(ids) == 100
    assert all(each.startswith("own-") for each in ids)


def test_of_two_jobs_given_one_id_at_once_one_is_refused(here):
    first, *others = sorted(
        at_once([submission(seed, "one") for seed in (1, 2, 3)]), key=lambda each: isinstance(each, Exception)
    )

    assert isinstance(first, RunDir)
    assert all(isinstance(each, RefusedError) for each in others)
    assert [event["type"] for event in read_events(first)] == ["created"]


def test_a_job_never_takes_the_place_of_another(tmp_path):
    run = RunDir(tmp_path)
    run.write_job(b"seed: 1\n")
    run.write_job(b"seed: 1\n")

    with pytest.raises(RefusedError, match="by somebody else, with another job; submit again to see the difference"):
        run.write_job(b"seed: 2\n")
    assert run.job.read_bytes() == b"seed: 1\n"


@pytest.mark.parametrize("again", ["submit", "resume"])
def test_what_a_kill_left_without_its_kind_gets_it_when_it_goes_on(here, again):
    run = submission(1, "cut")()
    run.events.unlink()

    for _ in range(2):
        submission(1, "cut")() if again == "submit" else resume_run(run, Path())

    (event,) = read_events(run)
    assert (event["type"], event["kind"], event["steps"]) == ("created", "train", 4)
    assert run_status(run).kind == "train"
