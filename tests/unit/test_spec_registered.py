"""Registered tasks where jobs look for them: the newest that counts, before what ships, and nothing that is damaged."""

import json
from pathlib import Path

import pytest
import yaml

from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.errors import SpecError, UsageError
from ipt_platform.observe.storage import create
from ipt_platform.registry.catalogue import COMMIT as CATALOGUE_COMMIT
from ipt_platform.registry.catalogue import RECORD as CATALOGUE_RECORD
from ipt_platform.registry.catalogue import TASKS
from ipt_platform.registry.record import PairedShards, Signature, TaskRecord, parse_record
from ipt_platform.registry.store import FOLDER as CATALOGUE_FOLDER
from ipt_platform.registry.store import open_registry
from ipt_platform.spec.load import load_job
from ipt_platform.spec.registered import COMMIT, FOLDER, RECORD, find_registered, registered_names
from ipt_platform.spec.task import load_task, parse_task

TASK = {"apiVersion": "ipt/v1", "kind": "task", "name": "mine", "description": "Mine.", "stage": "downstream"}


def register(base: Path, version: int, name: str = "mine", **changes) -> TaskRecord:
    task = parse_task(yaml.safe_dump({**TASK, "name": name, **changes}), "mine.yaml")
    record = TaskRecord(
        id=f"{version:032x}",
        name=name,
        version=version,
        owner="anna",
        created="2026-01-02T00:00:00+00:00",
        signature=Signature(scale=1),
        task=task,
        sets=(),
        pairs=PairedShards(shards=1, pictures=1, digest="0" * 64) if task.pairs else None,
    )
    open_registry(base / "runs", None).add_version(record, {})
    return record


def test_jobs_look_where_the_registry_writes():
    assert Path(CATALOGUE_FOLDER, TASKS) == FOLDER
    assert (CATALOGUE_RECORD, CATALOGUE_COMMIT) == (RECORD, COMMIT)


def test_the_newest_version_that_counts_is_found_by_number(tmp_path):
    folder = tmp_path / "runs" / FOLDER
    assert find_registered(folder, "mine") is None
    for version in (1, 2, 10):
        register(tmp_path, version, degradation={"name": "rain", "density": version / 1000})
    (folder / "mine/11").mkdir()
    (folder / "mine/11/task.json").write_text("{}")
    (folder / "empty").mkdir()

    found = find_registered(folder, "mine")
    assert found
    assert found.version == 10
    assert load_task("mine", tmp_path, folder).degradation["density"] == 0.01
    assert registered_names(folder) == ["mine"]


def test_what_was_registered_wins_over_a_file_of_that_name(tmp_path):
    register(tmp_path, 1, degradation={"name": "rain", "density": 0.003})
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.yaml").write_text(yaml.safe_dump({**TASK, "degradation": "snow"}))

    assert load_task("mine", tmp_path).degradation["name"] == "snow"
    assert load_task("mine", tmp_path, tmp_path / "runs" / FOLDER).degradation["name"] == "rain"
    with pytest.raises(SpecError, match="did you mean 'mine'"):
        load_task("mime", tmp_path, tmp_path / "runs" / FOLDER)


def test_a_damaged_record_is_told_by_its_file(tmp_path):
    register(tmp_path, 1, degradation="rain")
    record = tmp_path / "runs" / FOLDER / "mine/1/task.json"
    record.write_bytes(record.read_bytes().replace(b"rain", b"snow"))

    with pytest.raises(SpecError, match=r"mine/1/task\.json: damaged: its sha256"):
        load_task("mine", tmp_path, tmp_path / "runs" / FOLDER)


def job(base: Path, **changes) -> Path:
    document = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "j",
        "model": {"backbone": "iptv2-tiny"},
        "tasks": {"mine": {"params": {"density": 0.01}}},
        "data": {"shards": "shards/*.tar"},
        "train": {"stages": [{"steps": 1, "patch": 32, "images": 1}]},
    }
    (base / "job.yaml").write_text(json.dumps({**document, **changes}))
    return base / "job.yaml"


def test_a_job_may_name_a_task_that_is_registered_in_its_storage(tmp_path, picture):
    pack(picture, tmp_path / "shards")
    with pytest.raises(SpecError, match="unknown task 'mine'"):
        load_job(job(tmp_path), base=tmp_path)
    register(tmp_path, 1, degradation="rain")

    assert list(load_job(job(tmp_path), base=tmp_path).job.tasks) == ["mine"]
    with pytest.raises(SpecError, match="unknown task 'mine'"):
        load_job(job(tmp_path, storage="elsewhere"), base=tmp_path)
    with pytest.raises(SpecError, match="did you mean 'density'"):
        load_job(job(tmp_path, tasks={"mine": {"params": {"densty": 0.01}}}), base=tmp_path)


def test_a_task_that_reads_pairs_comes_back_from_its_record(tmp_path, picture):
    pack_pairs(picture, picture.with_name("clean"), tmp_path / "pairs")
    record = register(tmp_path, 1, pairs="pairs/*.tar")

    assert parse_record(record.to_bytes(), "task.json") == record
    assert load_task("mine", tmp_path, tmp_path / "runs" / FOLDER) == record.task
    assert load_job(job(tmp_path, tasks=["mine"], data={}), base=tmp_path).job.data.shards is None


def test_no_run_takes_the_place_of_the_registry(tmp_path):
    with pytest.raises(UsageError, match="'registry' is where the registered tasks are"):
        create(tmp_path, "registry")


@pytest.fixture
def picture(tmp_path) -> Path:
    """A folder with a picture, and one called `clean` beside it with the same."""
    from PIL import Image

    for name in ("photos", "clean"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), (9, 99, 199)).save(tmp_path / name / "a.png")
    return tmp_path / "photos"
