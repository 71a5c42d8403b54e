"""Job files that ship: each is valid, can be planned, and those of the literature's settings have its tasks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.data.pack import pack
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.spec.source import load_yaml
from ipt_platform.train.plan import resolve_plan

JOBS = Path(__file__).parents[2] / "jobs"

SETTINGS = {
    "three-tasks": {"denoise", "derain", "dehaze"},
    "four-tasks": {"derain", "dehaze", "raindrop", "desnow"},
    "five-tasks": {"denoise", "derain", "dehaze", "deblur", "lowlight"},
    "ten-tasks": {
        *("deblur", "dehaze", "jpeg", "lowlight", "denoise", "raindrop", "derain", "deshadow", "desnow", "inpaint"),
    },
}


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "photos").mkdir()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "photos" / "p.png")
    pack(folder / "photos", folder / "shards")
    write_backbone(folder / "backbone", build_backbone("iptv2-tiny"), "iptv2-tiny", {}, "now")
    return folder


@pytest.mark.parametrize("file", sorted(JOBS.rglob("*.yaml")), ids=lambda file: str(file.relative_to(JOBS)))
def test_every_job_file_is_valid_and_can_be_planned(file, here, monkeypatch):
    monkeypatch.chdir(here)
    job = load_yaml(file).value
    learning = ["data.shards=shards/*.tar", "evaluate.sets=[photos]"]
    own = {"train": learning, "finetune": [*learning, "backbone=backbone"], "evaluate": ["sets=[photos]"]}

    loaded = load_job(file, own.get(job["kind"], [])).job

    assert warnings(loaded) == []
    plan = resolve_plan(loaded)
    match loaded.kind:
        case "evaluate":
            assert [*plan["tasks"]] == [*loaded.tasks]
        case "restore":
            assert (plan["pictures"], sum(plan["tasks"].values())) == (1, 1)
        case _:
            assert plan["crops"] > 0
    assert loaded.name == file.stem


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
