"""What a compound job would train, of each shape: its jobs, their steps, what they begin with, and how many at a time."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.load import load_job
from ipt_platform.tune.forecast import PLACE, compound_plan

STEPS = 40
BASE = {
    "kind": "train",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {"stages": [{"steps": STEPS - 10, "patch": 32, "images": 2}, {"steps": 10, "patch": 32, "images": 1}]},
    "evaluate": {"sets": ["test"], "every": 10},
}
WITHOUT_TASKS = {key: value for key, value in BASE.items() if key != "tasks"}
TASK = """\
apiVersion: ipt/v1
kind: task
name: {name}
description: Remove noise that is not there outside of this test.
stage: elementary
degradation: {{name: gaussian-noise, sigma: 15}}
"""
SHORT = {"train": {"stages": [{"steps": 7, "patch": 32, "images": 2}]}}
ONE_AT_A_TIME = {"cluster": {"max_concurrent": 1}}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tar").touch()
    (folder / "test").mkdir()
    write_backbone(folder / "backbone", build_backbone("iptv2-nano"), "iptv2-nano", {}, "now")
    return folder


def planned(folder: Path, **value: Any) -> dict[str, Any]:
    kind = "tune" if "search" in value else "analyze"
    (folder / "job.yaml").write_text(
        yaml.safe_dump({"apiVersion": "ipt/v1", "kind": kind, "name": "planned", **value}, sort_keys=False)
    )
    return compound_plan(load_job(folder / "job.yaml", base=folder), folder)


def rows(plan: dict[str, Any], *keys: str) -> list[tuple]:
    return [tuple(member[key] for key in keys) for member in plan["members"]]


@pytest.mark.parametrize("what", ["sensitivity", "rank-energy"])
def test_both_sides_are_trained_for_each_seed_one_after_the_other(base, what):
    plan = planned(base, what=what, seeds=[3, 5], base=BASE, before={}, after=SHORT, **ONE_AT_A_TIME)

    assert (plan["kind"], plan["what"], plan["name"]) == ("analyze", what, "planned")
    assert rows(plan, "job", "role", "seed", "steps", "begins_with") == [
        ("before-s3", "before", 3, STEPS, "random weights"),
        ("after-s3", "after", 3, 7, f"{PLACE}/before-s3"),
        ("before-s5", "before", 5, STEPS, "random weights"),
        ("after-s5", "after", 5, 7, f"{PLACE}/before-s5"),
    ]
    assert (plan["jobs"], plan["steps"], plan["at_a_time"]) == (4, 2 * (STEPS + 7), 1)


def test_what_its_jobs_make_nothing_of_is_said_once(base):
    machines = {"gpus_per_worker": 2}

    plan = planned(base, what="comparison", base={**BASE, "cluster": machines}, variants={"one": {}, "two": SHORT})

    assert plan["warnings"] == ["cluster.gpus_per_worker 2: a worker computes on one GPU, the others stand idle"]
    assert planned(base, what="comparison", base=BASE, variants={"one": {}, "two": SHORT})["warnings"] == []


def test_a_side_that_is_named_is_not_trained(base):
    plan = planned(base, what="sensitivity", base=BASE, before="backbone", after=SHORT)

    assert rows(plan, "job", "begins_with") == [("after-s0", "backbone")]
    assert (plan["jobs"], plan["steps"]) == (1, 7)


def test_weights_that_are_both_there_need_no_training(base):
    plan = planned(base, what="rank-energy", before="backbone", after="backbone")

    assert (plan["members"], plan["jobs"], plan["steps"]) == ([], 0, 0)


def test_interference_is_each_task_each_pair_and_all(base):
    tasks = ["denoise", "deblur", "derain"]

    plan = planned(base, what="interference", seeds=[0, 1], base=WITHOUT_TASKS, tasks=tasks)

    roles = [*tasks, *("+".join(pair) for pair in combinations(tasks, 2)), "all tasks"]
    names = [*tasks, *("-".join(pair) for pair in combinations(tasks, 2)), "together"]
    told = [(f"{name}-s{seed}", role, seed) for seed in (0, 1) for name, role in zip(names, roles, strict=True)]
    assert rows(plan, "job", "role", "seed") == told
    assert (plan["jobs"], plan["steps"]) == (14, 14 * STEPS)
    assert {member["begins_with"] for member in plan["members"]} == {"random weights"}


@pytest.mark.parametrize("tasks", [["a", "b-c", "a-b", "c"], ["a", "together"]])
def test_no_two_trainings_of_an_interference_have_one_name(base, tasks):
    """A pair of tasks whose names hold dashes, or a task, may be called as another training is."""
    (base / "tasks").mkdir(exist_ok=True)
    for name in tasks:
        (base / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name))

    jobs = [job for (job,) in rows(planned(base, what="interference", base=WITHOUT_TASKS, tasks=tasks), "job")]

    assert len({*jobs}) == len(jobs) == len(tasks) + len([*combinations(tasks, 2)]) + 1


def test_a_comparison_is_its_variants_and_a_list_is_a_chain(base):
    finetune = {"kind": "finetune", **SHORT}

    plan = planned(base, what="comparison", base=BASE, variants={"one": {}, "chain": [SHORT, SHORT, finetune]})

    assert rows(plan, "job", "role", "steps", "begins_with") == [
        ("one-s0", "one", STEPS, "random weights"),
        ("chain-s0-1", "chain", 7, "random weights"),
        ("chain-s0-2", "chain", 7, f"{PLACE}/chain-s0-1"),
        ("chain-s0-3", "chain", 7, f"{PLACE}/chain-s0-2"),
    ]
    assert (plan["jobs"], plan["steps"]) == (4, STEPS + 21)


def test_of_a_search_one_trial_stands_for_all(base):
    space = {
        "model.bias.rank": {"choices": [2, 4]},
        "model.bias.targets": {"subsets": ["output", "qkv"]},
        "train.optimizer.bias_lr": {"min": 1.0e-3, "max": 1.0e-2, "log": True},
    }

    plan = planned(base, base=BASE, search={"space": space, "trials": 12, "repeat": [1, 2]}, **ONE_AT_A_TIME)

    best = 2  # of the trials are repeated
    assert rows(plan, "job", "role", "steps") == [("t001", "every trial", STEPS)]
    assert (plan["jobs"], plan["steps"], plan["at_a_time"]) == (12 + 2 * best, (12 + 2 * best) * STEPS, 1)
    assert plan["knobs"] == {
        "model.bias.rank": "2, 4",
        "model.bias.targets": "subsets of output, qkv",
        "train.optimizer.bias_lr": "0.001 to 0.01, logarithmic",
    }
    assert "what" not in plan


def test_a_grid_has_as_many_trials_as_cells(base):
    space = {"model.bias.rank": {"choices": [1, 2, 4]}, "model.bias.targets": {"subsets": ["output", "qkv"]}}

    plan = planned(base, base=BASE, search={"space": space, "searcher": "grid", "scheduler": "none"})

    assert plan["jobs"] == 3 * 3  # without the empty subset


def test_a_job_that_takes_more_than_the_machine_has_runs_alone(base):
    large = {**BASE, "cluster": {"cpus_per_worker": 1024}}

    assert planned(base, what="comparison", base=large, variants={"one": {}, "other": {}})["at_a_time"] == 1


def test_fractions_of_a_core_let_more_run_at_a_time(base):
    small = {**BASE, "cluster": {"cpus_per_worker": 0.25}}
    variants = {f"v{number}": {} for number in range(8)}

    plan = planned(base, what="comparison", base=small, variants=variants, cluster={"max_concurrent": 3})

    assert plan["at_a_time"] == 3
