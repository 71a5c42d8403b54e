"""A user's own task files go with the run, as records of registered tasks do: who brings it to its end needs no others."""

from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.cluster.submit import prepare_run, resume_run
from ipt_platform.data.pack import pack
from ipt_platform.errors import SpecError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.restore.model import upscale_of
from ipt_platform.spec.load import load_job
from ipt_platform.spec.task import load_task
from tests.unit.test_spec_registered import register

TASK = {"apiVersion": "ipt/v1", "kind": "task", "name": "mine", "description": "Mine.", "stage": "downstream"}
HEAD = {"apiVersion": "ipt/v1", "name": "j", "tasks": ["denoise", "mine"]}
TRAIN = HEAD | {
    "kind": "train",
    "model": {"backbone": "iptv2-nano"},
    "train": {"stages": [{"steps": 1, "patch": 32, "images": 1}]},
}
EVALUATE = HEAD | {"kind": "evaluate", "checkpoint": "elsewhere"}


def write_task(folder: Path, degradation: Any) -> None:
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "mine.yaml").write_text(yaml.safe_dump({**TASK, "degradation": degradation}))


@pytest.fixture
def home(tmp_path) -> Path:
    """A folder with a task of one's own; shards, test set and runs lie elsewhere."""
    from PIL import Image

    for folder in ("home", "far", "test"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 40), (9, 99, 199)).save(tmp_path / "test" / "a.png")
    pack(tmp_path / "test", tmp_path / "shards")
    write_task(tmp_path / "home", "rain")
    return tmp_path / "home"


def submitted(home: Path, job: dict[str, Any]) -> RunDir:
    there = home.parent
    where = {"data": {"shards": f"{there}/shards/*.tar"}} if job["kind"] == "train" else {"sets": [f"{there}/test"]}
    (home / "job.yaml").write_text(yaml.safe_dump({**job, **where, "storage": f"{there}/runs"}))
    with chdir(home):
        return prepare_run(load_job("job.yaml"), "first", Path())


@pytest.mark.parametrize("job", [TRAIN, EVALUATE], ids=["train", "evaluate"])
def test_a_run_goes_on_where_there_are_no_task_files(home, job):
    run = submitted(home, job)
    with chdir(home):
        given = load_job("job.yaml").job

    with chdir(home.parent / "far"):
        assert resume_run(run, Path()) == given
        with pytest.raises(SpecError, match="unknown task 'mine'"):
            load_task("mine")
        kept = load_task("mine", Path(), run.tasks)

    assert kept.degradation == {"name": "rain"}
    assert [path.name for path in run.tasks.iterdir()] == ["mine.yaml"]


def test_a_file_that_is_changed_changes_nothing_under_a_run(home):
    run = submitted(home, TRAIN)
    write_task(home, "snow")

    again = submitted(home, TRAIN)

    assert again.path == run.path
    assert load_task("mine", home, run.tasks).degradation == {"name": "rain"}
    assert load_task("mine", home).degradation == {"name": "snow"}


def test_a_task_that_is_registered_is_kept_as_its_record(home):
    register(home.parent, 1, degradation="haze")

    run = submitted(home, TRAIN)

    assert [path.name for path in run.tasks.iterdir()] == ["mine"]
    assert load_task("mine", home, run.tasks).degradation == {"name": "haze"}


def test_what_restores_enlarges_as_the_task_that_its_run_keeps(home):
    write_task(home, {"name": "low-resolution", "scale": 2})
    checkpoint = submitted(home, TRAIN).checkpoints / "step-1"

    with chdir(home.parent / "far"):
        assert upscale_of(checkpoint, "mine") == 2
        assert upscale_of(create(home.parent / "runs", "other").checkpoints / "step-1", "mine") == 1
