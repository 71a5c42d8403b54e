"""Weights that an analysis names: in runs, checkpoints and packs; and what is said of those that cannot be compared."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.state import state_files
from ipt_platform.cluster.submit import prepare_run
from ipt_platform.errors import SpecError
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import matrices_of
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, AnalyzeJob
from ipt_platform.spec.load import LoadedJob, dump_job, load_job
from ipt_platform.tune.weights import Sides, check_sides, sides_of

FILE = """\
apiVersion: ipt/v1
kind: analyze
what: sensitivity
name: which
before: {before}
after: {after}
"""
JOB_OF_RUN = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "trained",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2, "targets": ["output"]}},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": ["shards/*.tar"], "carrier": "local"},
    "train": {"stages": [{"steps": 1, "patch": 32, "images": 1}]},
}


def new_backbone(seed: int, name: str = "iptv2-nano"):
    torch.manual_seed(seed)
    backbone = build_backbone(name)
    torch.nn.init.normal_(backbone.output.weight, 0, 0.05)
    return backbone


def keep(model: BiasedModel, folder: Path, name: str) -> RunDir:
    """A run with this model in its only checkpoint."""
    run = create(folder / "runs", name)
    run.job.write_text(dump_job(JOB.validate_python(JOB_OF_RUN)))
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=1, backbone="iptv2-nano", progress={})
    commit(run.checkpoints, 1, files, nullcontext)
    return run


@pytest.fixture(scope="module")
def model() -> BiasedModel:
    backbone = new_backbone(1)
    layout = dict.fromkeys(matrices_of(backbone, ["output"]), 2)
    biases = {task: TaskBias(backbone, layout) for task in ("denoise", "deblur")}
    for bias in biases.values():
        for factor in bias.parameters():
            torch.nn.init.normal_(factor, 0, 0.1)
    return BiasedModel(backbone, biases)


@pytest.fixture(scope="module")
def base(tmp_path_factory, model) -> Path:
    folder = tmp_path_factory.mktemp("base")
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tar").touch()
    write_backbone(folder / "before", new_backbone(0), "iptv2-nano", {}, "now")
    write_backbone(folder / "larger", new_backbone(0, "iptv2-tiny"), "iptv2-tiny", {}, "now")
    write_backbone(folder / "damaged", new_backbone(2), "iptv2-nano", {}, "now")
    with (folder / "damaged" / "model.safetensors").open("r+b") as file:
        file.seek(-8, 2)
        file.write(b"\xff" * 4)
    keep(model, folder, "trained")
    keep(BiasedModel(new_backbone(3), {}), folder, "mixed")
    return folder


def loaded(base: Path, before: str, after: str, task: str = "") -> LoadedJob:
    (base / "which.yaml").write_text(FILE.format(before=before, after=after) + (f"task: {task}\n" if task else ""))
    return load_job(base / "which.yaml", base=base)


def found(base: Path, before: str, after: str, task: str = "") -> Sides:
    job = loaded(base, before, after, task).job
    assert isinstance(job, AnalyzeJob)
    return sides_of(job, RunDir(base / "runs" / "which"), base, seed=7)


@pytest.mark.parametrize(
    ("before", "after", "task", "line", "path", "said"),
    [
        ("befor", "trained", "", 5, ("before",), "no run 'befor' in"),
        ("before", "traned", "", 6, ("after",), "did you mean trained?"),
        ("damaged", "trained", "", 5, ("before",), "damaged"),
        ("before", "larger", "", 6, ("after",), "it is of the kind iptv2-tiny, and `before` of iptv2-nano"),
        ("before", "trained", "derain", 7, ("task",), "trained has no bias for 'derain'; it has: denoise, deblur"),
        ("before", "mixed", "deblur", 7, ("task",), "mixed has no bias for 'deblur'; it has: none at all"),
    ],
)
def test_what_cannot_be_compared_is_told_with_the_line_that_names_it(base, before, after, task, line, path, said):
    with pytest.raises(SpecError) as caught:
        check_sides(loaded(base, before, after, task), base)

    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (line, ".".join(path))
    assert said in problem.message
    assert problem.file == str(base / "which.yaml")


@pytest.mark.parametrize(
    ("after", "said"), [("before", "which training made it is not known"), ("trained", "its training names no test sets")]
)
def test_what_a_compression_costs_must_be_measurable(base, after, said):
    file = FILE.replace("sensitivity", "rank-energy").format(before="before", after=after)
    (base / "which.yaml").write_text(f"{file}compress: {{rank: 2}}\n")

    with pytest.raises(SpecError) as caught:
        check_sides(load_job(base / "which.yaml", base=base), base)

    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (7, "compress")
    assert problem.message == f"{after}: {said}, so nothing can be measured; leave compress out"


def test_all_that_is_wrong_is_told_at_once(base):
    with pytest.raises(SpecError) as caught:
        check_sides(loaded(base, "befor", "mixed", "deblur"), base)

    assert [problem.line for problem in caught.value.problems] == [5, 7]


@pytest.mark.parametrize("names", [("befor", "trained"), ("before", "larger")])
def test_a_submission_is_refused_before_there_is_a_run(base, monkeypatch, names):
    """As a finetune is whose backbone is not there."""
    monkeypatch.chdir(base)

    with pytest.raises(SpecError, match=r"which\.yaml:[56]: (before|after): "):
        prepare_run(loaded(base, *names), "refused", Path())

    assert not (base / "runs" / "refused").exists()


@pytest.mark.parametrize("after", ["trained", "runs/trained", "runs/trained/checkpoints/step-1", "before"])
def test_runs_checkpoints_and_packs_can_be_named(base, after):
    check_sides(loaded(base, "before", after), base)


@pytest.mark.parametrize("after", ["trained", "runs/trained", "runs/trained/checkpoints/step-1"])
def test_weights_are_those_of_what_is_named_and_the_training_is_known(base, model, after):
    sides = found(base, "before", after)

    assert fingerprint(sides.before) == fingerprint(new_backbone(0))
    assert fingerprint(sides.after) == fingerprint(model.backbone)
    assert sides.seed == 7
    assert sides.job == JOB.validate_python(JOB_OF_RUN)
    assert sides.run
    assert sides.run.path.resolve() == (base / "runs" / "trained").resolve()
    assert sides.found.lineage["source"] == str(base / "before")
    assert not any(weight.requires_grad for side in (sides.before, sides.after) for weight in side.parameters())


def test_of_a_pack_no_training_is_known(base):
    sides = found(base, "trained", "before")

    assert (sides.job, sides.run) == (None, None)


def test_the_bias_of_a_task_is_merged_and_nothing_else(base, model):
    sides = found(base, "before", "trained", "deblur")

    bias = model.bias("deblur")
    for name, weight in model.backbone.named_parameters():
        want = weight.detach()
        if name in bias.layout:
            delta = bias.factor(name, "B1").detach().flatten(1) @ bias.factor(name, "B2").detach().flatten(1)
            want = want + delta.view_as(want)
        assert torch.allclose(sides.after.get_parameter(name), want, atol=1e-6), name
    assert fingerprint(found(base, "before", "trained").after) == fingerprint(model.backbone)


def test_weights_can_be_compared_though_the_photographs_are_gone_that_made_them(base, model):
    shards = (base / "shards").rename(base / "moved")
    try:
        sides = found(base, "before", "trained")
    finally:
        shards.rename(base / "shards")

    assert fingerprint(sides.after) == fingerprint(model.backbone)
