"""`kind: tune` as a file: its knobs, what is wrong with them and on which line, and the jobs of its trials."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ipt_platform.errors import SpecError
from ipt_platform.spec.job import FinetuneJob, LearningJob, TrainJob, TuneJob
from ipt_platform.spec.load import check_job, dump_job, load_job
from ipt_platform.spec.members import trial_document
from ipt_platform.spec.schema import job_schema
from ipt_platform.spec.source import parse_yaml
from ipt_platform.spec.tune import ChoicesKnob, RangeKnob, SubsetsKnob

TEXT = """\
apiVersion: ipt/v1
kind: tune
name: search
seed: 5
base:
  kind: train
  model: {backbone: iptv2-nano, bias: {rank: 4}}
  tasks: [denoise, deblur]
  data: {shards: shards/*.tar}
  train:
    stages: [{steps: 30, patch: 48, images: 2}]
  evaluate: {every: 10, sets: [test]}
search:
  space:
    model.bias.rank: {choices: [2, 4, 8]}
    train.optimizer.bias_lr: {min: 1.0e-4, max: 1.0e-2, log: true}
    model.bias.targets: {subsets: [qkv, ffn, output], at_least: 2}
    tasks.denoise.weight: {choices: [1, 2]}
  trials: 4
"""
FINETUNE = """\
apiVersion: ipt/v1
kind: tune
name: search
base:
  kind: finetune
  backbone: general
  task: derain
  data: {shards: shards/*.tar}
  train: {stages: [{steps: 30, patch: 48, images: 2}]}
  evaluate: {every: 10, sets: [test]}
search:
  space: {bias.rank: {min: 1, max: 8}}
  trials: 4
"""
SCHEMA = jsonschema.Draft202012Validator(job_schema())


def tune(base: Path, text: str = TEXT, *overrides: str) -> TuneJob:
    (base / "job.yaml").write_text(text)
    job = load_job(base / "job.yaml", overrides, base).job
    assert isinstance(job, TuneJob)
    return job


def problems(base: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        tune(base, text, *overrides)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


def with_knob(path: str, knob: Any, text: str = TEXT) -> str:
    """The file with one more knob, on line 16 of TEXT."""
    return text.replace("    train.optimizer", f"    {path}: {knob}\n    train.optimizer")


def trial(base: Path, values: dict[str, Any], text: str = TEXT) -> LearningJob:
    found = trial_document(parse_yaml(text, "job.yaml"), "(runs)", base / "runs", "t003", 5, values)
    job = check_job(found, base)
    assert isinstance(job, LearningJob)
    return job


# Knobs


def test_each_kind_of_knob_is_told_by_its_keys(base):
    space = tune(base).search.space

    assert space["model.bias.rank"] == ChoicesKnob(choices=(2, 4, 8))
    assert space["train.optimizer.bias_lr"] == RangeKnob(min=1e-4, max=1e-2, log=True)
    assert space["model.bias.targets"] == SubsetsKnob(subsets=("qkv", "ffn", "output"), at_least=2)
    assert [*space] == ["model.bias.rank", "train.optimizer.bias_lr", "model.bias.targets", "tasks.denoise.weight"]


def test_choices_are_words_numbers_nothing_and_lists(base):
    text = with_knob("train.ema", "{choices: [null, 0.9]}").replace(
        "{subsets: [qkv, ffn, output], at_least: 2}", "{choices: [[qkv], [qkv, ffn]]}"
    )

    space = tune(base, text).search.space

    assert space["train.ema"] == ChoicesKnob(choices=(None, 0.9))
    assert space["model.bias.targets"] == ChoicesKnob(choices=(["qkv"], ["qkv", "ffn"]))


def test_what_a_file_may_leave_out(base):
    search = tune(base).search

    assert (search.searcher, search.scheduler, search.objectives) == ("tpe", "asha", ("psnr",))
    assert (search.grace, search.prior, search.repeat) == (None, (), ())


def test_the_resolved_search_loads_to_an_equal_job(base):
    job = tune(base, TEXT, "search.repeat=[6, 7]", "search.objectives=[psnr, parameters]", "search.prior=[]")

    assert tune(base, dump_job(job)) == job


WRONG_KNOBS = [
    ("{min: 3, max: 3}", "min 3 is not below max 3"),
    ("{min: 3, max: 2.5}", "min 3 is not below max 2.5"),
    ("{min: 0, max: 3, log: true}", "min 0 has no logarithm; log: true needs a min above 0"),
    ("{subsets: [qkv, qkv]}", "a layer group stands twice in subsets; name each once"),
    ("{subsets: [qkv, ffn], at_least: 3}", "at_least 3 is more than the 2 groups of subsets"),
    ("{choices: []}", "expected at least 1 of them, found a list of 0"),
    ("{subsets: []}", "expected at least 1 of them, found a list of 0"),
    ("{subsets: [qkw]}", "found 'qkw'; did you mean 'qkv'?"),
    ("{min: .inf, max: .inf}", "expected a finite number"),
    ("{min: 1}", "this key is missing"),
]


ONCE = [
    ("{mn: 1, max: 8}", ["min: this key is missing", "mn: unknown key 'mn'; did you mean 'min'?"]),
    ("{min: x, max: 8}", ["min: expected a finite number, found 'x'"]),
    ("{choices: [1], min: 0}", ["min: unknown key 'min'; known: choices"]),
    ("{choices: [{a: 1}]}", ["choices.0: expected a number, a word, null or a list, found a mapping"]),
    ("{choises: [1]}", ["expected {choices: [...]}, {min: ..., max: ...} or {subsets: [...]}, found a mapping"]),
    ("5", ["expected {choices: [...]}, {min: ..., max: ...} or {subsets: [...]}, found 5"]),
]


@pytest.mark.parametrize(("knob", "said"), ONCE, ids=[knob for knob, _ in ONCE])
def test_a_mistake_in_a_knob_is_told_once_and_of_the_form_that_was_meant(base, knob, said):
    found = problems(base, with_knob("train.accumulate", knob))

    assert len(found) == len(said)
    for problem, words in zip(found, said, strict=True):
        place = f"job.yaml:16: search.space.train.accumulate{':' if words.startswith('expected {') else '.'}"
        assert problem.startswith(f"{place}{' ' if place.endswith(':') else ''}{words}")


def test_the_search_is_not_repeated_with_its_own_seed(base):
    (found,) = problems(base, TEXT, "search.repeat=[6, 5]")

    assert found.startswith("--set search.repeat=[6, 5]: search.repeat.1: seed 5 is the search's own")


@pytest.mark.parametrize(("knob", "said"), WRONG_KNOBS, ids=[knob for knob, _ in WRONG_KNOBS])
def test_a_wrong_knob_is_told_with_its_line(base, knob, said):
    found = problems(base, with_knob("train.accumulate", knob))

    assert any(problem.startswith("job.yaml:16: search.space.train.accumulate") and said in problem for problem in found), found
    assert all(problem.startswith("job.yaml:16: ") for problem in found), found


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_population_based_training_is_refused_with_its_reason(base, scheduler):
    (found,) = problems(base, TEXT, f"search.scheduler={scheduler}")

    assert found.startswith(
        f"--set search.scheduler={scheduler}: search.scheduler: '{scheduler}' copies one trial's checkpoint"
    )
    assert "without ever doing so" in found
    assert found.endswith("write asha or none")


def test_another_scheduler_is_no_word(base):
    assert problems(base, TEXT, "search.scheduler=asho") == [
        "--set search.scheduler=asho: search.scheduler: expected one of asha, none, found 'asho'; did you mean 'asha'?"
    ]


def test_a_grid_has_no_ranges(base):
    (found,) = problems(base, TEXT, "search.searcher=grid")

    assert "a grid has no values for the range of train.optimizer.bias_lr; give its choices" in found


def test_a_grid_need_not_say_how_many_trials(base):
    text = TEXT.replace("{min: 1.0e-4, max: 1.0e-2, log: true}", "{choices: [1.0e-3]}").replace("  trials: 4\n", "")

    assert tune(base, text, "search.searcher=grid").search.trials is None


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_a_search_without_end_is_refused(base, searcher):
    (found,) = problems(base, TEXT.replace("  trials: 4\n", f"  searcher: {searcher}\n"))

    assert f"searcher {searcher} never ends by itself; say how many trials" in found


@pytest.mark.parametrize("objectives", ["[parameters]", "[psnr, psnr]"])
def test_a_search_is_for_psnr(base, objectives):
    assert any(
        "objectives is [psnr] or [psnr, parameters]" in each for each in problems(base, TEXT, f"search.objectives={objectives}")
    )


def test_the_schema_knows_the_three_knobs():
    raw = yaml.safe_load(TEXT)

    def valid(knob: Any) -> bool:
        return SCHEMA.is_valid(raw | {"search": {"space": {"a.b": knob}, "trials": 1}})

    assert SCHEMA.is_valid(raw)
    for knob in ({"choices": [1]}, {"choices": [["qkv"]]}, {"min": 0, "max": 1}, {"subsets": ["qkv"], "at_least": 1}):
        assert valid(knob)
    for knob in ({"choices": []}, {"min": 0}, {"subsets": ["qkw"]}, {}, {"choices": [1], "min": 0}, 3):
        assert not valid(knob)


# What knobs set


WRONG_PATHS = [
    ("model.bias.rank.high", "'model.bias.rank.high' leads nowhere in base"),
    ("train.stages.1.steps", "'train.stages.1.steps' leads nowhere in base"),
    ("train.stages.first.steps", "'train.stages.first.steps' leads nowhere in base"),
    ("tasks.derain.weight", "'tasks.derain.weight' leads nowhere in base"),
]


@pytest.mark.parametrize(("path", "said"), WRONG_PATHS)
def test_a_path_that_leads_nowhere_is_told_with_its_line(base, path, said):
    (found,) = problems(base, with_knob(path, "{choices: [1, 2]}"))

    assert found.startswith(f"job.yaml:16: search.space.{path}: {said}")


@pytest.mark.parametrize(
    ("path", "said"), [("train.emma", "unknown key 'emma'; did you mean 'ema'?"), ("model.bais.rank", "unknown key 'bais'")]
)
def test_a_path_of_a_key_that_there_is_not_is_told_on_the_line_of_the_knob(base, path, said):
    (found,) = problems(base, with_knob(path, "{choices: [1, 2]}"))

    assert said in found
    assert found.startswith("job.yaml:16: ")


@pytest.mark.parametrize("knob", ["{choices: [1, 0]}", "{min: 0, max: 4}"])
def test_a_value_that_the_job_cannot_have_is_told_on_the_line_of_the_knob(base, knob):
    found = problems(base, with_knob("train.accumulate", knob))

    assert "job.yaml:16: train.accumulate: expected at least 1, found 0" in found


def test_a_subset_that_the_job_cannot_have_is_told(base):
    found = problems(base, TEXT.replace("[qkv, ffn, output]", "[qkv, norm]"))

    assert any("'norm' weights are vectors" in problem and problem.startswith("job.yaml:17: ") for problem in found), found


UNSEARCHED = ["name", "kind", "seed", "storage", "evaluate.sets", "evaluate.every", "checkpoint.every", "cluster.workers"]


@pytest.mark.parametrize("path", UNSEARCHED)
def test_what_would_make_trials_unlike_is_no_knob(base, path):
    found = problems(base, with_knob(path, "{choices: [1, 2]}"))

    assert found == [
        f"job.yaml:16: search.space.{path}: this is no knob: trials would not be measured alike, or not fit beside each other"
    ]


def test_asha_needs_to_measure_on_the_way(base):
    text = TEXT.replace("every: 10, ", "")

    (found,) = problems(base, text)

    assert found.startswith("job.yaml:12: base.evaluate.every: scheduler asha compares trials while they train")
    assert tune(base, text, "search.scheduler=none").search.scheduler == "none"


@pytest.mark.parametrize("evaluate", ["{every: 10}", "{every: 10, sets: []}"])
def test_trials_are_measured(base, evaluate):
    found = problems(base, TEXT.replace("{every: 10, sets: [test]}", evaluate))

    assert found == ["job.yaml:12: base.evaluate.sets: trials are compared by PSNR on test sets: name at least one"]


def test_without_an_evaluation_both_are_told_where_the_base_stands(base):
    found = problems(base, TEXT.replace("  evaluate: {every: 10, sets: [test]}\n", ""))

    assert [problem.partition(": ")[0] for problem in found] == ["job.yaml:5"] * 2


def test_the_base_alone_is_checked_first(base):
    """What is wrong with every trial is told once, and not once for each knob."""
    text = TEXT.replace("iptv2-nano", "iptv2-nana").replace("shards/*", "none/*")

    found = problems(base, text)

    assert [problem.partition(": ")[0] for problem in found] == ["job.yaml:7", "job.yaml:9"]


def test_all_that_is_wrong_is_told_at_once(base):
    """A wrong search hides nothing of the base."""
    found = problems(base, TEXT.replace("iptv2-nano", "iptv2-nana").replace("  trials: 4", "  trails: 4"))

    assert {problem.partition(": ")[0] for problem in found} >= {"job.yaml:7", "job.yaml:19"}, found


# The jobs of trials


def test_a_trial_is_the_base_with_the_values_of_the_knobs(base):
    values = {"model.bias.rank": 8, "train.optimizer.bias_lr": 2e-3, "model.bias.targets": ["ffn"], "tasks.denoise.weight": 2}

    job = trial(base, values)

    assert isinstance(job, TrainJob)
    assert (job.name, job.seed, job.storage) == ("t003", 5, "(runs)")
    assert (job.model.bias.rank, job.model.bias.targets) == (8, ("ffn",))
    assert job.train.optimizer.bias_lr == 2e-3
    assert {name: use.weight for name, use in job.tasks.items()} == {"denoise": 2, "deblur": 1}


@pytest.mark.parametrize(
    "tasks", ["[denoise, deblur]", "{denoise: 1, deblur: 1}", "{denoise: , deblur: }", "{denoise: {weight: 1}}"]
)
def test_the_weight_of_a_task_can_be_set_however_the_base_spells_its_tasks(base, tasks):
    job = trial(base, {"tasks.denoise.weight": 3}, TEXT.replace("[denoise, deblur]", tasks))

    assert job.tasks["denoise"].weight == 3


def test_a_value_in_a_list_can_be_set(base):
    job = trial(base, {"train.stages.0.patch": 64})

    assert [(stage.steps, stage.patch) for stage in job.train.stages] == [(30, 64)]


def test_trials_share_nothing_that_one_could_change(base):
    whole = parse_yaml(TEXT, "job.yaml")
    before = parse_yaml(TEXT, "job.yaml").value
    found = trial_document(whole, "(runs)", base, "t001", 0, {"tasks.denoise.weight": 3, "model.bias.targets": ["ffn"]})
    found.value["train"]["stages"][0]["steps"] = 1
    found.value["model"]["bias"]["targets"].append("qkv")

    assert whole.value == before


def test_a_search_over_biases_alone(base):
    assert tune(base, FINETUNE).base["kind"] == "finetune"

    job = trial(base, {"bias.rank": 3}, FINETUNE)

    assert isinstance(job, FinetuneJob)
    assert (job.bias.rank, [*job.tasks], job.backbone) == (3, ["derain"], "general")


def test_a_run_among_the_others_is_found_from_where_trials_run(base):
    (base / "runs" / "general").mkdir(parents=True)

    assert trial(base, {}, FINETUNE).backbone == str(base / "runs" / "general")
    assert trial(base, {}, FINETUNE.replace("general", "packs/a")).backbone == "packs/a"


def test_the_runs_of_a_search_are_kept_on_a_disk(base):
    found = problems(base, TEXT, "storage=s3://bucket/runs")

    assert any(
        "storage: the jobs of a search or an analysis are kept on a disk; give a local path" in each for each in found
    ), found
