"""`job diff`: two files, a file and a run, two runs; by what they mean and not by how they are written."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ipt_platform.cli.jobs import app
from ipt_platform.errors import NotFoundError, SpecError
from ipt_platform.observe.storage import create
from ipt_platform.spec.load import dump_job, read_job

JOB = """\
apiVersion: ipt/v1
kind: train
name: gone
model: {backbone: iptv2-nano}
tasks: [denoise]
data: {shards: nowhere/*.tar}
train: {stages: [{steps: 8, patch: 48, images: 2}]}
evaluate: {sets: [nowhere]}
"""


def call(*arguments: object) -> str:
    words = ["diff", *(str(each) for each in arguments)]
    result = CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job whose shards are not there: what was trained once can still be compared."""
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path / "job.yaml"


def run_of(job: Path, name: str) -> None:
    create(job.parent / "runs", name).job.write_text(dump_job(read_job(job)))


def test_a_file_and_the_run_of_it_are_the_same_job(job: Path):
    run_of(job, "demo")

    assert call(job, "demo", "--storage", job.parent / "runs") == f"{job} and demo are the same job\n"
    assert json.loads(call(job, job, "--json"))["differences"] == []


def test_every_value_that_differs_is_named_with_both(job: Path):
    run_of(job, "before")
    job.write_text(
        JOB.replace("steps: 8", "steps: 9").replace("[denoise]", "[denoise, deblur]").replace("kind:", "seed: 3\nkind:")
    )
    run_of(job, "after")
    storage = ("--storage", job.parent / "runs")

    lines = call("before", "after", *storage).splitlines()
    differences = json.loads(call("before", "after", *storage, "--json"))["differences"]

    assert lines[0].split() == ["before", "after"]
    said = [" ".join((each["path"], each["before"], each["after"])) for each in differences]
    assert [" ".join(line.split()) for line in lines[1:]] == said
    found = {each["path"]: (each["before"], each["after"]) for each in differences}
    assert found["train.stages.0.steps"] == ("8", "9")
    assert found["seed"] == ("0", "3")
    assert {path.split(".")[0] for path in found} == {"train", "seed", "tasks"}


def test_what_is_neither_file_nor_run_nor_job_is_an_error(job: Path):
    with pytest.raises(NotFoundError, match="no run 'nothing' in"):
        call(job, "nothing", "--storage", job.parent)
    (job.parent / "other.yaml").write_text("kind: train\nnmae: x\n")
    with pytest.raises(SpecError, match=r"other.yaml:2: .*did you mean 'name'"):
        call(job, job.parent / "other.yaml")


def test_it_is_a_group_of_commands():
    assert list(typer.main.get_command(app).commands) == ["diff"]
