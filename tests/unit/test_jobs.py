"""Job files that ship: each is valid, can be planned, and those of the literature's settings have its tasks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.cli.main import main
from ipt_platform.data.pack import pack
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.anyfile import check_file
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import JOB, AnalyzeJob, CompoundJob, FinetuneJob, TrainJob
from ipt_platform.spec.load import check_job, load_job
from ipt_platform.spec.members import member_chains
from ipt_platform.spec.source import load_yaml
from ipt_platform.spec.task import load_task
from ipt_platform.train.plan import resolve_plan
from ipt_platform.tune.forecast import compound_plan

JOBS = Path(__file__).parents[2] / "jobs"

SETTINGS = {
    "three-tasks": {"denoise", "derain", "dehaze"},
    "four-tasks": {"derain", "dehaze", "raindrop", "desnow"},
    "five-tasks": {"denoise", "derain", "dehaze", "deblur", "lowlight"},
    "ten-tasks": {
        *("deblur", "dehaze", "jpeg", "lowlight", "denoise", "raindrop", "derain", "deshadow", "desnow", "inpaint"),
    },
}


PAPER = JOBS / "paper"
FILES = sorted(file for file in JOBS.rglob("*.yaml") if file.parent.name != "tasks")
LEARNING = ["data.shards=shards/*.tar", "evaluate.sets=[photos]"]
OWN = {
    "train": LEARNING,
    "finetune": [*LEARNING, "backbone=backbone"],
    "evaluate": ["sets=[photos]"],
    "tune": [f"base.{each}" for each in (*LEARNING, "backbone=backbone")],
    "analyze": [f"base.{each}" for each in LEARNING],
}
"""What takes the place of data and weights that do not ship, by kind of job."""


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "photos").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "photos" / "p.png")
    pack(folder / "photos", folder / "shards")
    write_backbone(folder / "backbone", build_backbone("iptv2-tiny"), "iptv2-tiny", {}, "now")
    shutil.copytree(PAPER / "tasks", folder / "jobs" / "paper" / "tasks")
    return folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(JOBS)))
def test_every_job_file_is_valid_and_can_be_planned(file, here, monkeypatch):
    monkeypatch.chdir(here)
    own = OWN.get(load_yaml(file).value["kind"], [])

    whole = load_job(file, own)

    loaded = whole.job
    assert warnings(loaded) == []
    plan = compound_plan(whole, Path()) if isinstance(loaded, CompoundJob) else resolve_plan(loaded)
    match loaded.kind:
        case "evaluate":
            assert [*plan["tasks"]] == [*loaded.tasks]
        case "restore":
            assert (plan["pictures"], sum(plan["tasks"].values())) == (1, 1)
        case "tune" | "analyze":
            assert min(plan["jobs"], plan["steps"], plan["at_a_time"]) > 0
        case _:
            assert plan["crops"] > 0
    assert loaded.name == file.stem


@pytest.mark.parametrize("scale", ["cpu", "a100"])
@pytest.mark.parametrize("file", sorted(PAPER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_job_of_the_paper_is_valid_and_can_be_planned_by_command_at_each_scale(file, scale, here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    changes = [word for change in (*OWN["analyze"], f"scale={scale}") for word in ("--set", change)]

    said = []
    for command in ("validate", "plan"):
        with pytest.raises(SystemExit) as end:
            main([command, str(file), *changes, "--json"])
        out, err = capsys.readouterr()
        assert (end.value.code, err) == (0, "")
        said.append(json.loads(out))

    checked, plan = said
    assert (checked["valid"], checked["kind"], checked["warnings"]) == (True, "analyze", [])
    job = JOB.validate_python(plan["job"])
    assert isinstance(job, AnalyzeJob)
    assert job.scaled_to == scale
    assert len(job.seeds) >= 3  # so that it is known what is noise
    assert {row["seed"] for row in plan["members"]} == {*job.seeds}
    assert plan["jobs"] == len(plan["members"]) == len({row["job"] for row in plan["members"]})
    assert plan["steps"] == sum(row["steps"] for row in plan["members"])


@pytest.mark.parametrize("scale", ["cpu", "a100"])
@pytest.mark.parametrize("file", sorted(PAPER.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_jobs_of_a_paper_job_use_what_they_set(file, scale, here, monkeypatch):
    """But for biases that a base has for other variants than the mixed one."""
    monkeypatch.chdir(here)
    document = load_job(file, [*OWN["analyze"], f"scale={scale}"]).document

    jobs = [check_job(member.document) for chain in member_chains(document, "runs/it/runs", Path("runs")) for member in chain]

    said = {each for job in jobs for each in warnings(job)}
    assert {each for each in said if not each.startswith("model.bias is ignored: train.mode mixed")} == set()
    assert all(isinstance(job, FinetuneJob) or job.kind == "train" for job in jobs)


@pytest.mark.parametrize("file", sorted(PAPER.glob("*.yaml")), ids=lambda file: file.stem)
def test_what_the_paper_found_is_of_variants_that_are_compared(file):
    job = load_yaml(file).value

    assert {*job.get("paper", {}).get("rows", {})} <= {*job.get("variants", {})}
    assert all(len(row) == len(job["paper"]["columns"]) for row in job.get("paper", {}).get("rows", {}).values())


@pytest.mark.parametrize("file", sorted((PAPER / "tasks").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_task_of_the_paper_jobs_is_valid_and_found_by_its_name(file, here):
    checked = check_file(file)

    assert (checked.kind, checked.name, checked.warnings) == ("task", file.stem, [])
    assert load_task(file.stem, here).name == file.stem


def setting(name: str) -> TrainJob:
    job = JOB.validate_python(load_yaml(JOBS / "settings" / f"{name}.yaml").value)
    assert isinstance(job, TrainJob)
    return job


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_has_the_tasks_of_the_literature_and_grows_its_crops(name):
    job = setting(name)

    assert job.tasks.keys() == SETTINGS[name]
    assert job.train.mode == "synchronous"
    assert job.train.precision == "bf16"
    patches, images = [stage.patch for stage in job.train.stages], [stage.images for stage in job.train.stages]
    assert patches == sorted({*patches})
    assert images == sorted(images, reverse=True)
    assert patches[0] == 128
    assert patches[-1] == 384


def test_every_setting_that_ships_is_one_of_these():
    assert {file.stem for file in (JOBS / "settings").glob("*.yaml")} == SETTINGS.keys()


def test_noise_has_the_strengths_of_each_setting():
    assert [setting(name).tasks["denoise"].params["sigma"] for name in ("three-tasks", "five-tasks", "ten-tasks")] == [
        {"choices": [15, 25, 50]},
        25,
        50,
    ]
