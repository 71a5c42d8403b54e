"""What a job takes of a cluster, and what it is called there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.cluster.render.names import kube_name, memory
from ipt_platform.cluster.render.places import Place, check_places, local_places
from ipt_platform.cluster.render.shape import Group, Shape, groups_of, shape_of
from ipt_platform.errors import SpecError, UsageError
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.load import LoadedJob, load_job
from ipt_platform.spec.source import parse_yaml
from ipt_platform.train.slots import needed
from tests.unit.render_jobs import ANALYZE, EVALUATE, RESTORE, TRAIN, TUNE

ROOT = Path(__file__).parents[2]
JOB = parse_yaml("name: tiny\nstorage: runs\ndata:\n  shards: photos\n", "job.yaml")


def loaded(folder: Path, job: dict[str, Any], *overrides: str) -> LoadedJob:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return load_job(path, overrides, folder, data_here=False)


def test_a_training_takes_what_it_asks_ray_for(tmp_path):
    job = loaded(tmp_path, TRAIN)
    assert isinstance(job.job, LearningJob)
    need, shape = needed(job.job), shape_of(job, tmp_path)

    assert (shape.processes, shape.cpus, shape.gpus, shape.head_cpus) == (4, 3.5, 1, 0)
    assert (4 * shape.cpus, 4 * shape.gpus, 4 * shape.store_bytes) == (need.cpus, need.gpus, need.store_bytes)


def test_local_batches_take_no_more_than_the_worker(tmp_path):
    shape = shape_of(loaded(tmp_path, TRAIN, "data.carrier=local"), tmp_path)

    assert (shape.cpus, shape.store_bytes) == (2, 0)


def test_every_kind_of_job_has_a_shape(tmp_path):
    tune = shape_of(loaded(tmp_path, TUNE), tmp_path)
    analyze = shape_of(loaded(tmp_path, ANALYZE), tmp_path)
    restore = shape_of(loaded(tmp_path, RESTORE), tmp_path)

    assert (tune.processes, tune.gpus, tune.head_cpus) == (12, 1, 1)  # three trials of four workers, and who watches them
    assert (analyze.processes, analyze.gpus) == (4, 2)  # one job at a time, each as large as the largest
    assert (restore.processes, restore.cpus, restore.gpus) == (5, 3, 0.5)
    assert shape_of(loaded(tmp_path, EVALUATE), tmp_path) == Shape(0)


@pytest.mark.parametrize(
    ("processes", "gpus", "expected"),
    [
        (64, 1, [Group(8, 8)]),
        (12, 1, [Group(2, 6)]),
        (9, 1, [Group(1, 5), Group(1, 4)]),
        (11, 1, [Group(1, 6), Group(1, 5)]),
        (3, 8, [Group(3, 1)]),
        (5, 3, [Group(2, 2), Group(1, 1)]),
        (20, 0.5, [Group(2, 10)]),
        (3, 0, [Group(3, 1)]),
        (0, 1, []),
    ],
)
def test_processes_are_spread_evenly_over_few_machines(processes, gpus, expected):
    assert groups_of(Shape(processes, 1, gpus), gpus=8) == expected


def test_a_process_too_large_for_a_machine_names_its_key():
    with pytest.raises(UsageError, match=r"^cluster\.gpus_per_actor: one process asks for 9 GPUs"):
        groups_of(Shape(1, 1, 9, key="cluster.gpus_per_actor"), gpus=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sync-1", "sync-1"),
        ("a" * 47, "a" * 47),
        ("first.run", r"first-run-\w{8}"),
        ("2026", r"run-2026-\w{8}"),
        ("a-", r"a-\w{8}"),
    ],
)
def test_names_of_kubernetes(text, expected):
    assert re.fullmatch(expected, kube_name(text))


def test_long_names_that_differ_at_their_end_stay_different():
    names = {kube_name("x" * 100 + end) for end in ("a", "b", "")}

    assert len(names) == 3
    assert {len(name) for name in names} == {47}


def test_memory_is_never_rounded_down():
    assert [memory(size) for size in (1, 1 << 20, (1 << 20) + 1, 1 << 30)] == ["1Mi", "1Mi", "2Mi", "1024Mi"]


def keys(job: LoadedJob, base: Path) -> list[str]:
    return [place.key for place in local_places(job.job, base)]


def test_every_path_of_this_machine_is_found(tmp_path):
    assert keys(loaded(tmp_path, TRAIN), tmp_path) == ["storage", "data.shards", "evaluate.sets"]
    assert keys(loaded(tmp_path, RESTORE), tmp_path) == ["storage", "output"]
    assert keys(loaded(tmp_path, EVALUATE), tmp_path) == ["storage", "sets", "checkpoint"]
    assert keys(loaded(tmp_path, TUNE), tmp_path) == ["storage", "base.data.shards", "base.evaluate.sets"]
    finetune = {key: value for key, value in TRAIN.items() if key != "model"} | {"kind": "finetune", "backbone": "first"}
    pack = {"start": {"pack": "packs/denoise"}}
    assert keys(loaded(tmp_path, finetune | pack), tmp_path) == ["storage", "data.shards", "start.pack", "evaluate.sets"]
    variants = {"one": {"data": {"shards": "b/*.tar"}}, "two": [{}, {"evaluate": {"sets": ["c"]}}]}
    places = local_places(loaded(tmp_path, ANALYZE | {"variants": variants}).job, tmp_path)
    assert Place("variants.one.data.shards", "b/*.tar") in places
    assert Place("variants.two.1.evaluate.sets", "c") in places


TASK = """\
apiVersion: ipt/v1
kind: task
name: NAME
description: Mine.
stage: downstream
"""


def test_own_tasks_and_the_pairs_that_tasks_name_are_paths_too(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.yaml").write_text(
        f"{TASK}degradation: {{name: gaussian-noise, sigma: 25}}\n".replace("NAME", "mine")
    )
    (tmp_path / "tasks" / "paired.yaml").write_text(
        f"{TASK}pairs: [pairs/*.tar, 's3://bucket/p.tar']\n".replace("NAME", "paired")
    )
    own = Place("tasks", "tasks/mine.yaml", other="")

    places = local_places(loaded(tmp_path, TRAIN | {"tasks": ["denoise", "mine", "paired"]}).job, tmp_path)

    assert [place for place in places if place.key == "tasks"] == [
        *(own, Place("tasks", "tasks/paired.yaml", other=""), Place("tasks", "pairs/*.tar")),
    ]
    variants = {"one": {"tasks": {"mine": 2}}, "two": [{}, {"kind": "finetune", "tasks": ["mine"]}]}
    analysis = local_places(loaded(tmp_path, ANALYZE | {"variants": variants}).job, tmp_path)
    for where in ("variants.one.tasks", "variants.two.1.tasks"):
        assert Place(where, "tasks/mine.yaml", other="") in analysis
    check_places([own], "/data", "--volume-claim NAME:/path", JOB)  # below the volume, as other relative paths
    with pytest.raises(SpecError) as raised:
        check_places([own], None, "--volume-claim NAME:/path", JOB)
    assert "tasks/mine.yaml" in str(raised.value)
    assert "s3://" not in str(raised.value)


def test_runs_from_which_a_search_begins_are_paths_where_they_are_folders(tmp_path):
    search = TUNE | {"search": TUNE["search"] | {"prior": ["looked", "elsewhere/looked"]}}

    places = local_places(loaded(tmp_path, search).job, tmp_path)

    assert [place.path for place in places if place.key == "search.prior"] == ["elsewhere/looked"]


def test_the_id_of_a_run_is_no_path_unless_a_folder_has_that_name(tmp_path):
    job = loaded(tmp_path, TRAIN | {"start": "first"})
    assert "start" not in keys(job, tmp_path)

    (tmp_path / "first").mkdir()
    assert "start" in keys(job, tmp_path)


def test_paths_that_the_cluster_does_not_have_are_all_told_with_their_keys():
    places = [Place("storage", "runs"), Place("data.shards", "/photos/*.tar")]

    with pytest.raises(SpecError) as raised:
        check_places(places, None, "--volume-claim NAME:/path", JOB)

    assert [(problem.line, problem.path) for problem in raised.value.problems] == [(2, "storage"), (4, "data.shards")]
    assert all("--volume-claim" in str(problem) and "s3://" in str(problem) for problem in raised.value.problems)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("runs", True),
        ("/data/runs", True),
        ("/data", True),
        ("/database/runs", False),
        ("../runs", False),
        ("/data/../x", False),
    ],
)
def test_a_path_must_lie_on_the_volume(path, there):
    if there:
        check_places([Place("storage", path)], "/data", "--efs", JOB)
        return
    with pytest.raises(SpecError, match="storage"):
        check_places([Place("storage", path)], "/data", "--efs", JOB)


def test_a_job_whose_data_is_elsewhere_can_be_read_and_is_else_checked_as_ever(tmp_path):
    assert loaded(tmp_path, TRAIN).job.name == "tiny"
    with pytest.raises(SpecError, match="No shards"):
        load_job(tmp_path / "job.yaml", (), tmp_path)
    with pytest.raises(SpecError, match="cannot be shared equally"):
        loaded(tmp_path, TRAIN, "cluster.workers=5")
    with pytest.raises(SpecError, match="no-such"):
        loaded(tmp_path, TRAIN | {"tasks": ["no-such"]})


@pytest.mark.parametrize("file", sorted(ROOT.glob("jobs/*.yaml")), ids=lambda file: file.name)
def test_the_jobs_that_ship_have_a_shape(file):
    assert shape_of(load_job(file, (), ROOT, data_here=False), ROOT).processes > 0
