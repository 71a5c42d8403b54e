"""A trial as Tune's actor sees it, without a Ray: one that is over is only looked at again, one that cannot begin says why."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.source import Document
from ipt_platform.tune.members import give_run
from ipt_platform.tune.trial import TrialFailedError, TrialRun
from ipt_platform.tune.trials import STOPPED, Suggestion, read_trial

JOB = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "t001",
    "storage": "others/search/runs",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "tasks": ["denoise"],
    "data": {"shards": "shards/*.tar"},
    "train": {"stages": [{"steps": 30, "patch": 48, "images": 2}]},
    "evaluate": {"every": 10, "sets": ["test"]},
}


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    """Where the command ran: shards (only their names matter here) and pictures; Tune's actor stands somewhere else."""
    (tmp_path / "base" / "shards").mkdir(parents=True)
    (tmp_path / "base" / "shards" / "a.tar").touch()
    (tmp_path / "base" / "test").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "base"


@pytest.fixture
def run(base) -> RunDir:
    search = create(base / "others", "search")
    search.new_attempt()
    return RunDir(search.members / "t001")


def config_of(base: Path, **changes: Any) -> dict[str, Any]:
    whole = RunDir(base / "others" / "search")
    return {
        "whole": str(whole.path),
        "attempt": 1,
        "run": str(whole.members / "t001"),
        "document": {**JOB, **changes},
        "base": str(base),
        "leader": asdict(this_process()),
        "part_of": "search",
    }


def measured(base: Path, run: RunDir, *steps: int) -> int:
    """Writes a run that was measured at these steps; gives its attempt."""
    give_run(Document(JOB, {}, "job.yaml"), run, base)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    for step in steps:
        append_metrics(run, {"attempt": attempt, "step": step, "steps": 30})
        scores = {"test": {"denoise": {"psnr": 20.0 + step, "psnr_input": 20.0, "ssim": 0.5, "n": 1}}}
        append_metrics(run, {"attempt": attempt, "step": step, "evaluation": scores})
    return attempt


def finish(run: RunDir, attempt: int) -> None:
    write_report(run.report, make_report("rgb-uint8", {}, 1, {}, 30, 1.0, 1.0, 0.0))
    append_event(run, "finished", attempt, step=30)


def results(trial: TrialRun) -> list[tuple[int, float, bool]]:
    """What Tune is told until it is over."""
    found = []
    while not found or not found[-1][2]:
        told = trial.step()
        found.append((told["step"], told["psnr"], told["done"]))
    return found


def test_a_trial_that_is_finished_tells_again_what_it_told(base, run):
    finish(run, measured(base, run, 10, 20, 30))
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    trial = TrialRun(config_of(base))

    assert results(trial) == [(10, 30.0, False), (20, 40.0, False), (30, 50.0, True)]
    assert trial.steps == 30
    assert trial.parameters > 0
    trial.cleanup()
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_what_was_measured_again_after_a_kill_is_told_once(base, run):
    attempt = measured(base, run, 10, 20)
    scores = {"test": {"denoise": {"psnr": 1.0, "psnr_input": 20.0, "ssim": 0.5, "n": 1}}}
    append_metrics(run, {"attempt": 2, "step": 20, "evaluation": scores})
    append_metrics(run, {"attempt": 2, "step": 30, "evaluation": scores})
    finish(run, attempt)

    assert [step for step, _, _ in results(TrialRun(config_of(base)))] == [10, 20, 30]


def test_a_trial_that_the_search_had_stopped_ends_where_it_was_stopped(base, run):
    append_event(run, "cancelled", measured(base, run, 10), reason=f"{STOPPED}: not among the best at step 10")

    assert results(TrialRun(config_of(base))) == [(10, 30.0, True)]


def test_a_trial_that_had_failed_fails_with_the_same_reason(base, run):
    append_event(run, "failed", measured(base, run, 10), reason="step 12: the loss is not finite")
    trial = TrialRun(config_of(base))

    assert trial.step()["psnr"] == 30.0
    with pytest.raises(TrialFailedError, match="step 12: the loss is not finite"):
        trial.step()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"start": "nowhere"}, "start: "), ({"evaluate": {"every": 10, "sets": ["gone"]}}, "unknown set 'gone'")],
    ids=["no weights to begin with", "no pictures to be measured on"],
)
def test_a_trial_that_cannot_begin_says_why(base, run, changes, said):
    trial = TrialRun(config_of(base, **changes))

    with pytest.raises(TrialFailedError, match=said):
        trial.step()

    found = read_trial(Suggestion("t001", {}, "tpe"), run)
    assert found.state == "failed"
    assert said in found.reason
    assert [event["type"] for event in read_events(run)][-1] == "failed"
