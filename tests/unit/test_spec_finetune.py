"""`kind: finetune` as a file: its spellings, what is wrong with it and on which line, its schema, its plan."""

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import ValidationError

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.data.pack import pack
from ipt_platform.errors import SpecError
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import JOB, FinetuneJob
from ipt_platform.spec.load import dump_job, job_diff, load_job
from ipt_platform.spec.schema import job_schema
from ipt_platform.train.layout import bias_layout
from ipt_platform.train.plan import resolve_plan

TEXT = """\
apiVersion: ipt/v1
kind: finetune
name: rainy
backbone: backbone
task: derain
bias: {rank: 8}
data: {shards: shards/*.tar}
train:
  stages: [{steps: 10, patch: 64, images: 4}]
  optimizer: {bias_lr: 2.0e-3}
"""
RAW = yaml.safe_load(TEXT)
SCHEMA = jsonschema.Draft202012Validator(job_schema())


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "photos").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "photos" / "p.png")
    pack(folder / "photos", folder / "shards")
    torch.manual_seed(0)
    write_backbone(folder / "backbone", build_backbone("iptv2-tiny"), "iptv2-tiny", {}, "now")
    return folder


def job_of(base: Path, text: str = TEXT, *overrides: str) -> FinetuneJob:
    (base / "job.yaml").write_text(text)
    job = load_job(base / "job.yaml", overrides, base).job
    assert isinstance(job, FinetuneJob)
    return job


def problems(base: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        job_of(base, text, *overrides)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


def test_a_frozen_backbone_is_not_shared_out(base):
    (problem,) = problems(base, TEXT, "train.sharding=fsdp")

    assert problem.startswith("job.yaml:8: train: sharding is for kind: train; a frozen backbone has no gradients")


@pytest.mark.parametrize("text", ["tasks: [derain]", "tasks: {derain: 1}", "tasks: {derain: {weight: 1}}", "tasks: {derain: }"])
def test_one_task_is_short_for_a_list_of_one(base, text):
    assert job_of(base, TEXT.replace("task: derain", text)) == job_of(base)
    assert list(job_of(base).tasks) == ["derain"]


def test_a_job_is_its_dump(base):
    job = job_of(base, TEXT + "start: {pack: packs/denoise}\n")

    again = job_of(base, dump_job(job))

    assert again == job
    assert job_diff(job, again) == []
    assert [line.partition(":")[0] for line in dump_job(job).splitlines() if line[0].isalpha()][:7] == [
        *("apiVersion", "kind", "name", "seed", "backbone", "tasks", "bias"),
    ]


@pytest.mark.parametrize(
    ("start", "task", "folder"),
    [("zero", None, None), ({}, None, None), ({"task": "denoise"}, "denoise", None), ({"pack": "p"}, None, "p")],
)
def test_what_biases_begin_from(base, start, task, folder):
    job = job_of(base, yaml.safe_dump(RAW | {"start": start}))

    assert (job.start.task, job.start.pack) == (task, folder)
    assert SCHEMA.is_valid(RAW | {"start": start})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "derian"}, "job.yaml:5: tasks.0: unknown task 'derian'; did you mean 'derain'?"),
        ({"task": 3}, "job.yaml:5: task: unknown key 'task'; did you mean 'tasks'?"),
        ({"tasks": ["derain"]}, "job.yaml:5: task: unknown key 'task'; did you mean 'tasks'?"),
        ({"start": {"task": "a", "pack": "b"}}, "both `task` and `pack` are named"),
        ({"start": "nought"}, "start: expected a mapping of keys to values, found 'nought'"),
        ({"start": {"packs": "b"}}, "start.packs: unknown key 'packs'; did you mean 'pack'?"),
        ({"backbone": None}, "job.yaml:4: backbone: expected text, found null (nothing)"),
        ({"model": {"backbone": "iptv2-tiny"}}, "model: unknown key 'model'"),
        ({"train": RAW["train"] | {"mode": "mixed"}}, "train.mode: unknown key 'mode'"),
        ({"bias": {"targets": ["norm"]}}, "bias.targets: 'norm' weights are vectors"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(base, change, said):
    found = problems(base, yaml.safe_dump(RAW | change, sort_keys=False))

    assert any(said in problem for problem in found), found


def test_all_that_is_wrong_is_told_at_once(base):
    text = TEXT.replace("derain", "derian").replace("shards/*.tar", "none/*.tar").replace("images: 4", "images: 3")
    found = problems(base, text + "cluster: {workers: 2}\nevaluate: {sets: [nowhere]}\n")

    assert [problem.partition(": ")[0] for problem in found] == [f"job.yaml:{line}" for line in (5, 7, 9, 12)]


def test_a_task_can_be_set_from_the_command_line(base):
    assert list(job_of(base, TEXT, "task=dehaze").tasks) == ["dehaze"]
    assert problems(base, TEXT, "task=dehazy") == ["--set task=dehazy: tasks.0: unknown task 'dehazy'; did you mean 'dehaze'?"]


def test_the_schema_takes_one_task_or_tasks_and_not_both():
    many = {key: value for key, value in RAW.items() if key != "task"} | {"tasks": ["derain"]}

    assert SCHEMA.is_valid(RAW)
    assert SCHEMA.is_valid(many)
    assert not SCHEMA.is_valid(many | {"task": "derain"})
    assert not SCHEMA.is_valid({key: value for key, value in RAW.items() if key != "task"})
    assert not SCHEMA.is_valid(RAW | {"task": "De rain"})
    for wrong in ({"model": {}}, {"start": "nought"}, {"start": {"pack": ""}}):
        assert not SCHEMA.is_valid(RAW | wrong)
        with pytest.raises(ValidationError):
            JOB.validate_python(many | wrong)


def test_what_has_no_effect_is_told(base):
    said = warnings(job_of(base, TEXT, "data={shards: shards/*.tar, carrier: local, cpus: 2}"))

    assert [each.partition(" is ")[0] for each in said] == ["nothing"]


def test_the_plan_counts_what_is_trained_and_what_stays(base):
    before = torch.random.get_rng_state()

    plan = resolve_plan(job_of(base), base)

    torch.manual_seed(0)
    backbone = build_backbone("iptv2-tiny")
    own = TaskBias(backbone, bias_layout(backbone, job_of(base).bias))
    assert plan["parameters"] == {"backbone": count_parameters(backbone), "bias": {"derain": count_parameters(own)}}
    assert (plan["mode"], plan["backbone"], plan["fingerprint"]) == ("bias-only", "iptv2-tiny", fingerprint(backbone))
    assert plan["source"] == str(base / "backbone")
    assert (plan["steps"], plan["crops"], plan["workers"]) == (10, 40, 1)
    torch.random.set_rng_state(before)
    resolve_plan(job_of(base), base)
    assert torch.equal(torch.random.get_rng_state(), before)
