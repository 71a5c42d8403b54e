"""From a trained backbone to a bias pack, a restored picture and numbers, by the commands that people give."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.errors import ExitCode
from ipt_platform.model.bias import BiasedModel
from ipt_platform.observe.rundir import RunDir
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.restore.model import choose_device
from ipt_platform.restore.tiles import restore_array

pytestmark = pytest.mark.slow

JOB = {
    "apiVersion": "ipt/v1",
    "kind": "finetune",
    "name": "weather",
    "backbone": "general",
    "tasks": ["derain", "dehaze"],
    "start": {"task": "deblur"},
    "bias": {"rank": 4},
    "data": {"shards": "shards/*.tar"},
    "train": {"stages": [{"steps": 6, "patch": 48, "images": 2}], "log_every": 1, "samples": 1},
    "evaluate": {"sets": ["test"]},
    "checkpoint": {"every": 3},
    "cluster": {"workers": 2, "cpus_per_worker": 1},
}


@pytest.fixture(scope="module")
def general(workplace) -> RunDir:
    stages = "train.stages=[{steps: 3, patch: 48, images: 2}]"
    done = workplace.submit("general", stages, "evaluate.sets=[]")
    assert done.process.returncode == 0, done.stderr
    (workplace.folder / "finetune.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    return workplace.run("general")


@pytest.fixture(scope="module")
def finetuned(workplace, general):
    return workplace.do("submit", "finetune.yaml", "--run", "weather")


@pytest.fixture(scope="module")
def run(workplace, finetuned) -> RunDir:
    assert finetuned.process.returncode == 0, finetuned.stderr
    return workplace.run("weather")


def test_validate_and_plan_look_at_the_backbone(workplace, general):
    checked = workplace.do("validate", "finetune.yaml")
    planned = workplace.do("plan", "finetune.yaml")

    assert checked.stdout == "finetune.yaml: a valid finetune job, 'weather'\n"
    assert "weather: bias-only training of iptv2-nano on 2 workers" in planned.stdout
    assert re.search(r"frozen backbone sha256:\w{64} from .*/runs/general/checkpoints/step-3", planned.stdout)
    assert re.search(r"bias of derain +[\d,]+ +\d+\.\d%", planned.stdout)


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [
        ("validate", "backbone=generol", r"--set backbone=generol: backbone: no run 'generol' in runs: did you mean general\?"),
        ("plan", "start={task: denois}", r"start\.task: .*has no bias for task 'denois'; did you mean 'denoise'\?"),
        ("submit", "start={pack: nowhere}", r"start\.pack: nowhere: this is no bias pack: bias\.json is missing"),
        ("submit", "tasks=[derian]", r"tasks\.0: unknown task 'derian'; did you mean 'derain'\?"),
    ],
)
def test_what_is_not_there_is_told_with_its_place_before_anything_is_made(workplace, general, command, change, said):
    before = sorted((workplace.folder / "runs").iterdir())

    done = workplace.do(command, "finetune.yaml", "--set", change)

    assert done.process.returncode == ExitCode.USAGE
    assert re.search(said, done.stderr), done.stderr
    assert sorted((workplace.folder / "runs").iterdir()) == before


def test_a_submission_names_its_packs_and_leaves_nothing_running(workplace, finetuned, run):
    assert [line for line in finetuned.stdout.splitlines() if "pack" in line] == [
        "bias pack of derain: runs/weather/packs/derain",
        "bias pack of dehaze: runs/weather/packs/dehaze",
    ]
    assert finetuned.left(grace=20) == []
    for task in ("derain", "dehaze"):
        info = read_pack(run.pack(task)).info
        assert (info.lineage.step, info.lineage.job["cluster"]["workers"]) == (6, 2)
        assert info.metrics[0].psnr == json.loads(run.report.read_text())["sets"]["test"][task]["psnr"]


def test_the_backbone_of_the_run_is_the_one_that_it_named(run, general):
    backbone, info = load_backbone(run.backbone)

    assert Path(info.lineage["source"]) == general.checkpoints / "step-3"
    assert read_pack(run.pack("derain")).info.backbone.fingerprint == info.fingerprint
    load_bias(read_pack(run.pack("derain")), backbone)


def test_a_finetune_that_is_finished_is_only_reported_and_another_job_is_refused(workplace, run):
    again = workplace.do("submit", "finetune.yaml", "--run", "weather", "--json")
    other = workplace.do("submit", "finetune.yaml", "--run", "weather", "--set", "bias.rank=2", "--set", "start=zero")

    assert json.loads(again.stdout)["steps"] == 6
    assert other.process.returncode == ExitCode.REFUSED
    assert "bias.rank: 4 -> 2" in other.stderr


def test_restore_and_evaluate_work_on_the_run(workplace, run):
    source = workplace.folder / "test" / "t0.png"

    restored = workplace.do("restore", str(source), "-o", "out.png", "--run", "weather", "--task", "derain")
    measured = workplace.do("evaluate", "weather", "--set", "test", "--json")

    assert restored.process.returncode == 0, restored.stderr
    backbone, _ = load_backbone(run.backbone)
    model = merged_for(BiasedModel(backbone, {"derain": load_bias(read_pack(run.pack("derain")), backbone)}), "derain")
    rgb = np.divide(cv2.imread(str(source))[..., ::-1], 255, dtype=np.float32)
    want = np.rint(np.clip(restore_array(model, rgb, choose_device("cpu")), 0, 1) * 255)
    assert np.abs(cv2.imread(str(workplace.folder / "out.png"))[..., ::-1] - want).max() <= 1  # threads differ
    found = json.loads(measured.stdout)
    assert set(found["sets"]["test"]) == {"derain", "dehaze"}
    for task, numbers in json.loads(run.report.read_text())["sets"]["test"].items():
        assert found["sets"]["test"][task]["psnr"] == pytest.approx(numbers["psnr"], abs=0.01)


def test_a_task_of_another_run_is_named_with_those_there_are(workplace, run):
    done = workplace.do("restore", "test", "-o", "nothing", "--run", "weather", "--task", "denoise")

    assert done.process.returncode == ExitCode.NOT_FOUND
    assert "step-6 has no bias for task 'denoise'; known: dehaze, derain" in done.stderr
