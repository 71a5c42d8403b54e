"""Jobs made of others as files: parts merged into ordinary jobs, and what is wrong with which line."""

from typing import Any

import pytest

from ipt_platform.spec.compound import as_finetune, merged, part_document
from ipt_platform.spec.job import FinetuneJob
from ipt_platform.spec.load import check_job
from ipt_platform.spec.source import Document, parse_yaml
from tests.unit.compound_files import COMPARISON, comparison, document, line_of, problems

# Parts


PARTS = document("""\
apiVersion: ipt/v1
base:
  model: {backbone: iptv2-nano, bias: {rank: 4, targets: [qkv]}}
  train:
    ema: 0.9
    stages: [{steps: 3}]
  tasks: [denoise]
over:
  model:
    bias: {rank: 8}
  train:
    stages:
      - {steps: 5}
  tasks: {deblur: 2}
""")


def test_parts_are_merged_key_by_key_and_all_else_is_replaced():
    value, lines = merged([(PARTS.value["base"], ("base",)), (PARTS.value["over"], ("over",))], PARTS)

    assert value == {
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 8, "targets": ["qkv"]}},
        "train": {"ema": 0.9, "stages": [{"steps": 5}]},
        "tasks": {"deblur": 2},
    }
    assert {path: lines[path] for path in [("model", "backbone"), ("model", "bias", "rank"), ("train", "ema")]} == {
        ("model", "backbone"): 3,
        ("model", "bias", "rank"): 10,
        ("train", "ema"): 5,
    }
    assert lines["train", "stages", 0, "steps"] == 13
    assert lines["tasks", "deblur"] == 14
    assert ("tasks", 0) not in lines  # of the list that was replaced


def test_merging_changes_nothing_of_the_file():
    before = parse_yaml("a: {b: [1]}\nc: {a: {b: [2], d: 3}}", "job.yaml")
    value, _ = merged([(before.value, ()), (before.value["c"], ("c",))], before)
    value["a"]["b"].append(9)
    value["c"]["a"]["b"].append(9)

    assert before.value == {"a": {"b": [1]}, "c": {"a": {"b": [2], "d": 3}}}


def test_the_document_of_a_part_is_one_of_an_ordinary_job():
    given = {"name": "one", "storage": "there", "seed": 3}

    found = part_document(PARTS, ("base",), ("over",), given=given)

    assert {key: found.value[key] for key in ("apiVersion", *given)} == {"apiVersion": "ipt/v1", **given}
    assert found.file == "job.yaml"
    # of what nobody wrote, the line of the part on top is told
    assert found.problem(("data",), "missing").line == 8
    assert found.problem(("train", "stages", 0, "patch"), "missing").line == 13


def test_what_the_command_line_set_in_a_part_is_told_as_such(base):
    found = problems(base, COMPARISON, "variants.mixed.train.ema=2")

    assert found == ["--set variants.mixed.train.ema=2: train.ema: expected less than 1, found 2"]


TRAIN: dict[str, Any] = {
    "kind": "train",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "start": "run",
    "tasks": ["denoise"],
    "data": {"shards": "shards/*.tar"},
    "train": {
        "mode": "mixed",
        "ema": 0.5,
        "stages": [{"steps": 3, "patch": 48, "images": 2}],
        "optimizer": {"lr": 0.1, "weight_decay": 0.1, "grad_clip": 1, "bias_lr": 0.2, "betas": [0.8, 0.9]},
    },
}


def test_a_finetune_takes_of_a_training_what_it_can_have(base):
    value = as_finetune(TRAIN)

    job = check_job(Document({**value, "apiVersion": "ipt/v1", "kind": "finetune", "name": "a", "backbone": "b"}, {}, ""), base)
    assert isinstance(job, FinetuneJob)
    assert job.bias.rank == 4
    assert job.train.ema == 0.5
    assert (job.train.optimizer.bias_lr, job.train.optimizer.betas) == (0.2, (0.8, 0.9))
    assert job.start.task is None
    assert TRAIN["train"]["mode"] == "mixed"  # the training is as it was
    assert TRAIN["train"]["optimizer"]["lr"] == 0.1


def test_a_bias_of_its_own_counts_more_than_that_of_the_training():
    assert as_finetune(TRAIN | {"bias": {"rank": 9}})["bias"] == {"rank": 9}


def test_a_finetune_over_the_base_of_a_training_is_a_finetune_of_it():
    text = "base: {kind: train, model: {backbone: iptv2-nano, bias: {rank: 4}}, tasks: [denoise]}\nover: {kind: finetune}"

    found = part_document(document(text), ("base",), ("over",), given={"backbone": "b"})

    assert {key: found.value[key] for key in found.value if key != "apiVersion"} == {
        "kind": "finetune",
        "bias": {"rank": 4},
        "tasks": ["denoise"],
        "backbone": "b",
    }


def test_a_training_over_the_base_of_a_training_keeps_all_of_it():
    text = "base: {kind: train, model: {backbone: iptv2-nano}}\nover: {kind: train}"

    assert part_document(document(text), ("base",), ("over",), given={}).value["model"] == {"backbone": "iptv2-nano"}


# What is wrong with the jobs of a compound one


MISTAKES = {
    "a wrong value in the base": ("rank: 4", "rank: 0", "rank: 0", "model.bias.rank: expected at least 1, found 0"),
    "a wrong key in the base": ("ema: 0.9", "emma: 0.9", "emma", "train.emma: unknown key 'emma'; did you mean 'ema'?"),
    "a task that is not": ("[denoise, deblur]", "[denoise, debluur]", "debluur", "tasks.1: unknown task 'debluur'"),
    "shards that are not": ("shards: shards/*", "shards: no/*", "no/*", "data.shards: No shards"),
    "a set that is not": ("sets: [test]", "sets: [tests]", "[tests]", "evaluate.sets.0: unknown set 'tests'"),
    "a wrong value in a variant": ("mode: mixed", "mode: mixt", "mixt", "train.mode: expected one of mixed, synchronous"),
    "a wrong key in a variant": ("synchronous: {}", "synchronous: {trian: {}}", "trian", "trian: unknown key 'trian'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_with_a_job_is_told_once_with_its_line(base, mistake):
    old, new, where, said = MISTAKES[mistake]
    assert old in COMPARISON
    text = COMPARISON.replace(old, new)

    found = problems(base, text)

    (problem,) = found
    assert problem.startswith(f"job.yaml:{line_of(text, where)}: {said}")


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_lines(base):
    text = COMPARISON
    for mistake in MISTAKES.values():
        text = text.replace(*mistake[:2])

    found = problems(base, text.replace("name: table3", "name: Table"))

    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == sorted(lines)
    for _, _, _, said in MISTAKES.values():
        assert any(said in problem for problem in found), said
    assert found[0].startswith("job.yaml:4: name: expected lower-case letters")


@pytest.mark.parametrize("own", ["apiVersion", "name", "storage", "seed"])
@pytest.mark.parametrize("place", ["base:\n", "mixed: "], ids=["base", "variant"])
def test_what_stands_for_the_whole_stands_in_no_part(base, own, place):
    value = "ipt/v1" if own == "apiVersion" else 1 if own == "seed" else "x"
    text = (
        COMPARISON.replace("base:\n  kind: train", f"base:\n  {own}: {value}\n  kind: train")
        if place == "base:\n"
        else COMPARISON.replace("mixed: {", f"mixed: {{{own}: {value}, ")
    )

    found = problems(base, text)

    assert any(f"'{own}' stands once for the whole job" in problem for problem in found), found


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("  kind: evaluate\n", "expected kind train or finetune for the jobs of which this is made, found 'evaluate'"),
        ("  kind: tune\n", "expected kind train or finetune for the jobs of which this is made, found 'tune'"),
        ("", "expected kind train or finetune for the jobs of which this is made, found nothing"),
    ],
)
def test_a_compound_job_is_made_of_jobs_that_train(base, kind, said):
    found = problems(base, COMPARISON.replace("  kind: train\n", kind))

    assert all(f"kind: {said}" in problem for problem in found), found


def test_a_key_that_the_whole_lacks_is_not_told_of_its_jobs(base):
    found = problems(base, COMPARISON.replace("apiVersion: ipt/v1\n", ""))

    assert len(found) == 1, found
    assert "apiVersion: this key is missing" in found[0]


@pytest.mark.parametrize("seeds", ["[]", "[0]", "[3, 1, 2]"])
def test_seeds_are_those_of_the_file(base, seeds):
    assert [*comparison(base, f"seeds={seeds}").seeds] == parse_yaml(seeds, "").value


def test_a_seed_stands_once(base):
    assert problems(base, COMPARISON, "seeds=[1, 2, 1]") == [
        "--set seeds=[1, 2, 1]: seeds: seed 1 stands twice in the list; the same seed says the same again"
    ]


def test_jobs_at_a_time_are_at_least_one(base):
    assert comparison(base).cluster.max_concurrent is None
    assert comparison(base, "cluster.max_concurrent=2").cluster.max_concurrent == 2
    assert problems(base, COMPARISON, "cluster.max_concurrent=0") == [
        "--set cluster.max_concurrent=0: cluster.max_concurrent: expected at least 1, found 0"
    ]
