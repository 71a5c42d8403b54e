"""From a task file to a version that restores, by the commands that people give: register, submit, restore."""

import json

import pytest
import yaml

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.registry.catalogue import SHEET
from ipt_platform.registry.store import open_catalogue

pytestmark = pytest.mark.slow

TASK = {
    "apiVersion": "ipt/v1",
    "kind": "task",
    "name": "grain",
    "description": "Take the grain away.",
    "stage": "downstream",
    "degradation": {"name": "gaussian-noise", "sigma": {"min": 5, "max": 15}},
    "evaluate": {"sigma": 10},
    "sets": ["test"],
    "gates": ["psnr >= 5"],
}
JOB = {
    "apiVersion": "ipt/v1",
    "kind": "finetune",
    "name": "grain",
    "backbone": "general",
    "task": "grain",
    "bias": {"rank": 4},
    "data": {"shards": "shards/*.tar"},
    "train": {"stages": [{"steps": 4, "patch": 48, "images": 2}], "log_every": 1, "samples": 1},
    "checkpoint": {"every": 2},
}


@pytest.fixture(scope="module")
def trained(workplace) -> str:
    """What the finetune of a registered task says."""
    done = workplace.submit("general", "train.stages=[{steps: 3, patch: 48, images: 2}]", "evaluate.sets=[]")
    assert done.process.returncode == 0, done.stderr
    (workplace.folder / "grain.yaml").write_text(yaml.safe_dump(TASK, sort_keys=False))
    (workplace.folder / "job-grain.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    refused = workplace.do("validate", "job-grain.yaml")
    assert "unknown task 'grain'" in refused.stderr
    registered = workplace.do("task", "register", "grain.yaml", "--shards", "shards/*.tar")
    assert registered.process.returncode == 0, registered.stderr
    done = workplace.do("submit", "job-grain.yaml", "--run", "first-grain", "--json")
    assert done.process.returncode == 0, done.stderr
    return done.stdout


def test_the_pack_is_a_version_with_the_verdict_of_its_gates(workplace, trained):
    assert json.loads(trained)["registered"] == [{"version": "grain@2", "new": True, "missed": []}]
    catalogue = open_catalogue(workplace.folder / "runs")
    first, second = (catalogue.version("grain", number) for number in (1, 2))

    assert second.record.content == first.record.content
    assert catalogue.read("grain", 2, second.seal, SHEET) == catalogue.read("grain", 1, first.seal, SHEET)
    about = catalogue.about_pack(second)
    assert (about["lineage"]["run"], about["lineage"]["step"], about["task"]) == ("first-grain", 4, "grain")
    assert (catalogue.verdict(second) or {})["passed"]
    again = workplace.do("submit", "job-grain.yaml", "--run", "first-grain")
    assert "grain@2 was registered already" in again.stdout
    assert catalogue.known("grain").versions == (1, 2)


def test_it_restores_and_is_verified(workplace, trained):
    restored = workplace.do("restore", "test/t0.png", "-o", "restored.png", "--task", "grain", "--json")

    ((step,),) = [picture["steps"] for picture in json.loads(restored.stdout)["restored"]]
    assert (step["task"], step["version"]) == ("grain", "grain@2")
    assert (workplace.folder / "restored.png").is_file()
    assert "2 versions of grain: all whole" in workplace.do("task", "verify", "grain").stdout


def test_a_run_keeps_the_record_that_it_was_given_with(workplace, trained):
    """Another record is registered under its name; what the run is measured on stays what it was trained on."""
    record = workplace.run("first-grain").tasks / "grain/1/task.json"
    assert json.loads(record.read_bytes())["task"]["degradation"]["sigma"] == {"min": 5.0, "max": 15.0}

    replace_file(workplace.folder / "grain.yaml", yaml.safe_dump({**TASK, "degradation": "rain", "evaluate": {}}).encode())
    assert workplace.do("task", "register", "grain.yaml", "--shards", "shards/*.tar").process.returncode == 0
    measured = workplace.do("evaluate", "first-grain", "--set", "test", "--task", "grain", "--json")
    assert json.loads(measured.stdout)["params"] == {"grain": {"sigma": 10.0}}
