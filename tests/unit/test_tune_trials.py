"""What became of a trial, read from the files of its run: finished, stopped by the search, failed, cut off, never begun."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.errors import RefusedError
from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, LearningJob
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.train.given import begin_run
from ipt_platform.train.layout import bias_layout
from ipt_platform.tune.trial import is_over
from ipt_platform.tune.trials import STOPPED, Suggestion, evaluations, read_trial, read_trials, sizes, suggest, suggestions

TRIED = Suggestion("t001", {"model.bias.rank": 4, "model.bias.targets": ["qkv", "ffn"]}, "tpe")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A working directory with shards (only their names matter) and a set, as a search has it."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "test").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def job_of(**changes: Any) -> LearningJob:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "t001",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 4, "targets": ["qkv", "ffn"]}},
        "tasks": ["denoise", "deblur"],
        "data": {"shards": "shards/*.tar"},
        "train": {"stages": [{"steps": 20, "patch": 48, "images": 2}, {"steps": 10, "patch": 64, "images": 1}]},
        "evaluate": {"every": 10, "sets": ["test"]},
    }
    parsed = JOB.validate_python({**job, **changes})
    assert isinstance(parsed, LearningJob)
    return parsed


def begun(run: RunDir, *measured: tuple[int, float], job: LearningJob | None = None) -> int:
    """Writes a run in which an attempt has trained and was measured; gives the attempt."""
    begin_run(job or job_of(), run, lambda run: None)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    for step, psnr in measured:
        append_metrics(run, {"attempt": attempt, "step": step, "steps": 30, "seconds": step / 2, "eta_seconds": 1.0})
        append_metrics(run, {"attempt": attempt, "step": step, "evaluation": scores(psnr)})
    return attempt


def scores(psnr: float) -> dict[str, Any]:
    """A mean of `psnr` over two tasks."""
    return {
        "test": {
            task: {"psnr": psnr + more, "psnr_input": 20.0, "ssim": 0.5, "n": 2}
            for task, more in (("denoise", 1.0), ("deblur", -1.0))
        }
    }


def finish(run: RunDir, attempt: int, psnr: float) -> None:
    write_report(run.report, make_report("rgb-uint8", scores(psnr), 10, {"denoise": 1}, 30, 12.5, 1.0, 0.0))
    append_event(run, "finished", attempt, step=30, reason="all 30 steps were done")


def test_suggestions_are_read_as_they_were_written(here):
    run = create(here / "runs", "search")
    attempt = run.new_attempt()
    assert suggestions(run) == []
    made = [TRIED, Suggestion("t002", {"model.bias.rank": 0.1 + 0.2, "x": None, "y": [[1]]}, "prior: a, b")]
    for each in made:
        suggest(run, each, attempt)

    assert suggestions(run) == made


def test_a_suggestion_that_was_cut_off_while_it_was_written_was_not_made(here):
    run = create(here / "runs", "search")
    attempt = run.new_attempt()
    suggest(run, TRIED, attempt)
    with (run.path / "trials.jsonl").open("a") as file:
        file.write('{"trial": "t002", "val')
    assert suggestions(run) == [TRIED]

    suggest(run, Suggestion("t002", {}, "tpe"), attempt)

    assert [each.trial for each in suggestions(run)] == ["t001", "t002"]


def test_an_attempt_that_was_taken_over_suggests_nothing_more(here):
    run = create(here / "runs", "search")
    stale, _ = run.new_attempt(), run.new_attempt()

    with pytest.raises(RefusedError, match="no longer owns run search"):
        suggest(run, TRIED, stale)

    assert suggestions(run) == []


def test_a_finished_trial(here):
    run = create(here / "runs", "t001")
    finish(run, begun(run, (10, 24.0), (20, 26.0), (30, 25.0)), 25.0)

    found = read_trial(TRIED, run)

    assert (found.state, found.reason, found.name) == ("finished", "", "t001")
    assert found.curve == {10: 24.0, 20: 26.0, 30: 25.0}
    assert (found.psnr, found.step, found.steps, found.seconds) == (25.0, 30, 30, 12.5)  # the last counts, not the best
    assert found.scores == scores(25.0)
    assert is_over(run)


def test_a_trial_that_the_search_stopped(here):
    run = create(here / "runs", "t001")
    attempt = begun(run, (10, 24.0))
    append_event(run, "cancelled", attempt, reason=f"{STOPPED}: not among the best at step 10")

    found = read_trial(TRIED, run)

    assert found.state == "stopped"
    assert "not among the best at step 10" in found.reason
    assert (found.psnr, found.step, found.steps, found.seconds) == (24.0, 10, 30, 5.0)
    assert is_over(run)


def test_a_trial_that_a_person_stopped_goes_on(here):
    run = create(here / "runs", "t001")
    append_event(run, "cancelled", begun(run, (10, 24.0)), reason="stopped by Ctrl-C")

    assert read_trial(TRIED, run).state == "cancelled"
    assert not is_over(run)


def test_a_failed_trial_says_why(here):
    run = create(here / "runs", "t001")
    append_event(run, "failed", begun(run, (10, 24.0)), reason="step 12: the loss is not finite")

    found = read_trial(TRIED, run)

    assert (found.state, found.reason) == ("failed", "step 12: the loss is not finite")
    assert (found.psnr, found.step) == (24.0, 10)
    assert is_over(run)


def test_a_trial_that_failed_before_it_could_begin_says_why(here):
    run = create(here / "runs", "t001")
    append_event(run, "failed", 0, reason="backbone: there is no run 'general'")

    found = read_trial(TRIED, run)

    assert (found.state, found.reason, found.psnr, found.step) == ("failed", "backbone: there is no run 'general'", None, 0)
    assert is_over(run)


@pytest.mark.parametrize("with_job", [False, True])
def test_a_trial_that_never_began(here, with_job):
    run = create(here / "runs", "t001")
    if with_job:
        begin_run(job_of(), run, lambda run: None)

    found = read_trial(TRIED, run)

    assert (found.state, found.psnr, found.curve, found.step) == ("created", None, {}, 0)
    assert not is_over(run)


def test_a_trial_of_which_there_is_no_folder(here):
    assert read_trial(TRIED, RunDir(here / "none")).state == "created"


def test_a_trial_that_was_cut_off_is_not_over_and_goes_on(here):
    run = create(here / "runs", "t001")
    begin_run(job_of(), run, lambda run: None)
    ended = replace(this_process(), born=1)  # the process that had this number before us
    append_event(run, "started", run.new_attempt(ended), step=0)

    assert read_trial(TRIED, run).state == "interrupted"
    assert not is_over(run)


def test_a_trial_that_failed_once_and_was_gone_on_with_is_what_it_came_to(here):
    """A person may submit the run of a trial alone, as any run."""
    run = create(here / "runs", "t001")
    append_event(run, "failed", begun(run, (10, 24.0)), reason="the disk was full")
    attempt = run.new_attempt()
    append_event(run, "resumed", attempt, step=10)
    assert not is_over(run)
    append_metrics(run, {"attempt": attempt, "step": 30, "evaluation": scores(27.0)})
    finish(run, attempt, 27.0)

    found = read_trial(TRIED, run)

    assert (found.state, found.reason, found.psnr) == ("finished", "", 27.0)


def test_a_trial_that_failed_before_its_first_checkpoint_and_was_begun_again_has_not_failed(here):
    run = create(here / "runs", "t001")
    append_event(run, "failed", begun(run), reason="the disk was full")
    append_event(run, "started", run.new_attempt(), step=0)

    assert read_trial(TRIED, run).state == "running"
    assert not is_over(run)


def test_what_was_measured_twice_counts_once(here):
    run = create(here / "runs", "t001")
    begun(run, (10, 24.0), (20, 23.0))
    append_metrics(run, {"attempt": 2, "step": 10, "evaluation": scores(25.0)})  # gone on with from before step 10

    assert evaluations(run) == ({10: 25.0, 20: 23.0}, scores(23.0))


def test_a_perfect_set_counts_with_a_number_that_json_has(here):
    run = create(here / "runs", "t001")
    begun(run)
    measured = {"test": {"denoise": {"psnr": None, "psnr_input": None, "ssim": 1.0, "n": 1}}}
    append_metrics(run, {"attempt": 1, "step": 10, "evaluation": measured})

    assert evaluations(run)[0] == {10: 1000.0}


def test_a_run_in_which_nothing_was_measured_has_no_curve(here):
    run = create(here / "runs", "t001")
    begun(run)

    assert evaluations(run) == ({}, {})


BIASES = [
    {"rank": 3},
    {"rank": 16, "targets": ["qkv"], "depthwise": True},
    {"rank": 4, "allocation": "proportional"},
    {"rank": 4, "ranks": {"qkv": 1, "ffn": 9}},
    {"rank": 4, "targets": ["ffn"], "replace": ["norm", "output"]},
]


@pytest.mark.parametrize("bias", BIASES, ids=str)
@pytest.mark.parametrize("kind", ["train", "finetune"])
def test_sizes_are_those_of_the_model_that_is_trained(here, bias, kind):
    if kind == "finetune" and "replace" in bias:
        bias = {**bias, "replace": []}
    backbone = build_backbone("iptv2-nano")
    run = create(here / "runs", "t001")
    write_backbone(run.backbone, backbone, "iptv2-nano", {}, "now")
    own = (
        {"model": {"backbone": "iptv2-nano", "bias": bias}}
        if kind == "train"
        else {"kind": "finetune", "backbone": "b", "bias": bias, "model": None}
    )
    changes = {key: value for key, value in own.items() if value is not None}
    whole = job_of().model_dump(mode="json") | changes
    if kind == "finetune":
        for key in ("model", "start"):
            whole.pop(key, None)
        whole["train"] = {"stages": whole["train"]["stages"]}
    job = JOB.validate_python(whole)
    assert isinstance(job, LearningJob)

    found = sizes(job, run)

    made = TaskBias(backbone, bias_layout(backbone, BiasSpec(**bias)))
    assert found == (count_parameters(made), count_parameters(backbone))


def test_a_mixed_training_has_no_biases(here):
    run = create(here / "runs", "t001")
    job = job_of(train={"mode": "mixed", "stages": [{"steps": 1, "patch": 48, "images": 1}]})

    assert sizes(job, run)[0] == 0


def test_sizes_draw_nothing(here):
    before = torch.random.get_rng_state()

    sizes(job_of(), create(here / "runs", "t001"))

    assert torch.equal(torch.random.get_rng_state(), before)


def test_all_trials_of_a_search_are_read_in_the_order_of_their_suggestions(here):
    run = create(here / "runs", "search")
    attempt = run.new_attempt()
    for number in (1, 2, 3):
        suggest(run, Suggestion(f"t00{number}", {"model.bias.rank": number}, "tpe"), attempt)
    finish(create(run.members, "t001"), begun(create(run.members, "t001"), (30, 25.0)), 25.0)
    append_event(create(run.members, "t002"), "failed", 0, reason="no")

    found = read_trials(run)

    assert [(each.name, each.state, each.suggestion.values["model.bias.rank"]) for each in found] == [
        *(("t001", "finished", 1), ("t002", "failed", 2), ("t003", "created", 3)),
    ]


@pytest.mark.parametrize("elsewhere", [True, False], ids=["from another folder", "without its set"])
def test_a_trial_is_read_as_its_files_are_wherever_and_whenever(here, monkeypatch, elsewhere):
    """Tune's actors do not stand where the command ran; and what was found out does not depend on pictures that may be gone."""
    run = create(here / "runs", "t001")
    finish(run, begun(run, (30, 25.0)), 25.0)
    if elsewhere:
        monkeypatch.chdir(here / "shards")
    else:
        (here / "test").rmdir()

    found = read_trial(TRIED, run)

    assert (found.state, found.psnr, found.steps) == ("finished", 25.0, 30)
