"""The models of a job that restores: chosen once, kept by the run, loaded once for all tasks of a backbone."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.load import load_model, merged_for
from ipt_platform.checkpoint.state import state_files
from ipt_platform.errors import DataError, NotFoundError, SpecError
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.about import Facts, Lineage, OnBackbone
from ipt_platform.registry.pack import write_pack
from ipt_platform.restore.models import Chosen, Models, choose_models, keep_models, kept_models
from ipt_platform.spec.load import LoadedJob, load_job

CPU = torch.device("cpu")
PICTURE = torch.rand(1, 3, 64, 64)
LAYOUT = {"output.weight": 2, "embed.weight": 1}


def biased(*tasks: str) -> BiasedModel:
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-tiny")
    biases = {task: TaskBias(backbone, LAYOUT) for task in tasks}
    for parameter in (backbone.output.weight, *(factor for bias in biases.values() for factor in bias.parameters())):
        parameter.data.normal_(0, 0.05)
    return BiasedModel(backbone, biases)


def write_run(storage: Path, name: str, model: BiasedModel) -> RunDir:
    run = create(storage, name)
    run.new_attempt()
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=3, backbone="iptv2-tiny", progress={})
    commit(run.checkpoints, 3, files, nullcontext)
    return run


def loaded(here: Path, text: str) -> LoadedJob:
    (here / "photos").mkdir(exist_ok=True)
    path = here / "job.yaml"
    path.write_text(f"apiVersion: ipt/v1\nkind: restore\nname: r\ninput: photos\noutput: out\n{text}")
    return load_job(path, base=here)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_run(folder / "runs", "first", biased("denoise", "deblur"))
    write_run(folder / "runs", "plain", biased())
    return folder


def test_what_a_run_was_submitted_with_is_kept_and_comes_back(here, tmp_path):
    chosen = choose_models(loaded(here, "run: first\ntasks: [{match: a/*, task: deblur}, {task: denoise}]\n"), here)

    keep_models(tmp_path / "models.json", chosen)

    checkpoint = str(here / "runs" / "first" / "checkpoints" / "step-3")
    assert chosen == {task: Chosen(task, 1, checkpoint=checkpoint) for task in ("deblur", "denoise")}
    assert kept_models(tmp_path / "models.json") == chosen


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("run: fist\ntask: denoise\n", 6, "run: no run 'fist' in "),
        ("run: first\ntask: denoize\n", 7, "has no bias for task 'denoize'; did you mean 'denoise'?"),
        ("task: denoise\n", 6, "A run that was trained for the task can be named too (--run; in a job `run`)."),
    ],
)
def test_a_model_that_cannot_be_used_is_told_with_the_line_that_names_it(here, text, line, words):
    with pytest.raises(SpecError) as error:
        choose_models(loaded(here, text), here)

    assert f"job.yaml:{line}: " in str(error.value)
    assert words in str(error.value)


def test_a_damaged_list_of_models_is_refused(tmp_path):
    path = tmp_path / "models.json"
    with pytest.raises(NotFoundError, match="submit the job as a new run"):
        kept_models(path)

    for text in ("", "[]", '{"format": "ipt-models/2", "models": {}}', '{"format": "ipt-models/1", "models": {"a": {"x": 1}}}'):
        path.write_text(text)
        with pytest.raises(DataError, match="damaged"):
            kept_models(path)


def test_many_changes_of_task_load_a_checkpoint_once_and_give_what_a_fresh_load_gives(here):
    chosen = choose_models(loaded(here, "run: first\ntasks: [{match: a/*, task: deblur}, {task: denoise}]\n"), here)
    models, checkpoint = Models(chosen, CPU), here / "runs" / "first" / "checkpoints" / "step-3"
    want = {task: load_model(checkpoint, task)(PICTURE) for task in chosen}

    for task in ("deblur", "denoise", "denoise", "deblur", "denoise"):
        assert torch.equal(models.restorer(task)(PICTURE), want[task])

    assert models.loads == 1
    assert not torch.equal(want["deblur"], want["denoise"])


def test_plain_training_has_one_model_for_all_of_its_tasks(here):
    chosen = choose_models(loaded(here, "run: plain\ntasks: [{match: a/*, task: deblur}, {task: denoise}]\n"), here)
    models = Models(chosen, CPU)

    assert models.restorer("deblur") is models.restorer("denoise")
    assert torch.equal(models.restorer("denoise")(PICTURE), merged_for(biased(), "denoise")(PICTURE))


def test_versions_of_one_backbone_share_it_and_each_has_its_own_bias(tmp_path):
    model = biased("denoise", "deblur")
    info = write_backbone(tmp_path / "backbone", model.backbone, "iptv2-tiny", {}, "now")
    chosen = {}
    for number, task in enumerate(("denoise", "deblur"), 1):
        lineage = Lineage(run="first", attempt=1, step=7, job={}, version="0.1.0")
        facts = Facts(
            task="mine",
            backbone=OnBackbone(name="iptv2-tiny", fingerprint=info.fingerprint, checkpoint="runs/first"),
            rank=2,
            allocation="constant",
            targets=("output",),
            depthwise=False,
            upscale=1,
            quantize=False,
            metrics=(),
            lineage=lineage,
            created="2026-01-01T00:00:00+00:00",
        )
        write_pack(tmp_path / task, model.bias(task), facts, {})
        version = f"mine@{number}"
        chosen[version] = Chosen("mine", 1, None, version, str(tmp_path / task), str(tmp_path / "backbone"))
    models = Models(chosen, CPU)

    for version, task in (("mine@1", "denoise"), ("mine@2", "deblur"), ("mine@1", "denoise")):
        assert torch.equal(models.restorer(version)(PICTURE), merged_for(model, task)(PICTURE))

    assert models.loads == 1
    assert fingerprint(model.backbone) == info.fingerprint
    gone = replace(chosen["mine@1"], backbone=str(tmp_path / "gone"))
    with pytest.raises(NotFoundError, match="no backbone pack"):
        Models({"mine@1": gone}, CPU).restorer("mine@1")
