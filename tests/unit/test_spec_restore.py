"""`kind: restore` as a file: what is wrong with one is told by line, and `task` is short for one rule."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ipt_platform.errors import SpecError
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.spec.schema import job_schema
from ipt_platform.spec.source import load_yaml

HEAD = "apiVersion: ipt/v1\nkind: restore\nname: mine\n"
PLACES = "input: photos\noutput: restored\n"


@pytest.fixture
def here(tmp_path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "file").touch()
    return tmp_path


def written(here: Path, text: str) -> Path:
    path = here / "job.yaml"
    path.write_text(HEAD + text)
    return path


def loaded(here: Path, text: str) -> RestoreJob:
    job = load_job(written(here, text), base=here).job
    assert isinstance(job, RestoreJob)
    return job


def problems(here: Path, text: str) -> dict[tuple[int, str], str]:
    with pytest.raises(SpecError) as error:
        load_job(written(here, text), base=here)
    return {(each.line, each.path): each.message for each in error.value.problems}


def test_a_job_has_its_rules_in_order_and_comes_back_from_what_a_run_keeps(here):
    job = loaded(here, PLACES + "tasks:\n  - {match: rainy/**, task: derain@prod}\n  - {task: denoise}\n")

    assert [(rule.match, rule.task) for rule in job.tasks] == [("rainy/**", "derain@prod"), (None, "denoise")]
    assert warnings(job) == []
    kept = here / "kept.yaml"
    kept.write_text(dump_job(job))
    assert load_job(kept, base=here).job == job


def test_one_task_is_short_for_one_rule_and_both_are_valid_by_the_schema(here):
    job = loaded(here, PLACES + "task: denoise\n")

    assert job == loaded(here, PLACES + "tasks: [{task: denoise}]\n")
    schema = Draft202012Validator(job_schema())
    for text in ("task: denoise\n", "tasks: [{task: denoise}]\n"):
        schema.validate(load_yaml(written(here, PLACES + text)).value)
    assert not schema.is_valid(load_yaml(written(here, PLACES + "tasks: [{task: De noise}]\n")).value)


def test_without_a_rule_for_every_picture_some_may_be_left_alone(here):
    job = loaded(here, PLACES + "tasks: [{match: rainy/*, task: derain}]\n")

    assert warnings(job) == ["pictures that no rule of tasks matches are left alone; a rule without match takes the rest"]


def test_everything_that_is_wrong_is_told_with_its_line(here):
    found = problems(
        here,
        "input: nowhere\noutput: file\nrun: first\ntile: 700\ntasks:\n"
        "  - {task: denoise}\n  - {match: a/*, task: derain@2}\ncluster: {actor: 2}\n",
    )

    assert found.keys() == {
        (4, "input"),
        (5, "output"),
        (7, "tile"),
        (10, "tasks.1"),
        (10, "tasks.1.task"),
        (11, "cluster.actor"),
    }
    assert found[4, "input"].startswith("there is no folder nowhere")
    assert found[5, "output"] == "file is a file; name a folder"
    assert "the nearest tile is 704" in found[7, "tile"]
    assert found[10, "tasks.1"] == "is never reached: a rule before it takes every picture"
    assert "did you mean 'actors'?" in found[11, "cluster.actor"]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("input: photos\noutput: ./photos\ntask: denoise\n", "output", "is the input"),
        ("input: photos\noutput: photos/../photos\ntask: denoise\n", "output", "is the input"),
        ("input: photos/*.tar\noutput: restored\ntask: denoise\n", "input", "No shards: "),
        ("input: file\noutput: restored\ntask: denoise\n", "input", "restores single files"),
        ("input: ftp://a/b\noutput: restored\ntask: denoise\n", "input", "name a path, or s3://BUCKET/KEY"),
        ("input: photos\noutput: s3://Bucket!/x\ntask: denoise\n", "output", "cannot be the name of a bucket"),
        (PLACES + "task: denoise@\n", "tasks.0.task", "expected a task, as in derain, derain@3 or derain@prod"),
        (PLACES + "tasks: [{match: ../*, task: denoise}]\n", "tasks.0.match", "expected a glob over names below the input"),
        (PLACES + "task: denoise\noverlap: 20\ntile: 148\n", "overlap", "expected a multiple of 16"),
        (PLACES + "task: denoise\ntasks: [{task: denoise}]\n", "task", "unknown key 'task'"),
        (PLACES + "task: denoise\nseed: 1\n", "seed", "unknown key 'seed'"),
    ],
)
def test_what_the_schema_cannot_know_is_checked(here, text, path, words):
    ((_, where), message), *more = problems(here, text).items()

    assert more == []
    assert where == path
    assert words in message
