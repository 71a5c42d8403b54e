"""`validate`, `plan` and `schema` as a person and as a script call them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ipt_platform.cli.job import plan, schema, validate
from ipt_platform.data.index import ShardIndex, write_index
from ipt_platform.errors import SpecError, UsageError
from ipt_platform.spec.load import load_job
from ipt_platform.spec.schema import SCHEMAS

APP = typer.Typer(pretty_exceptions_enable=False)
for command in (validate, plan, schema):
    APP.command()(command)

JOB = """\
apiVersion: ipt/v1
kind: train
name: cli
model: {backbone: iptv2-tiny}
tasks: [denoise, deblur]
data: {shards: "*.tar"}
train: {stages: [{steps: 2000, patch: 64, images: 4}]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB)
    for name in "abcdefghij":
        (tmp_path / f"{name}.tar").touch()
        write_index(tmp_path / f"{name}.tar", ShardIndex(shard=f"{name}.tar", bytes=0, members=[]))
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(APP, list(arguments), catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_validate_says_what_is_right_and_what_has_no_effect():
    code, out = run("validate", "job.yaml")
    assert code == 0
    assert out.splitlines() == [
        "job.yaml: a valid train job, 'cli'",
        "note: nothing is measured: evaluate.sets is empty; name a test set to get PSNR and SSIM",
    ]
    code, out = run("validate", "job.yaml", "--set", "evaluate.sets=[a.tar]", "--json")
    assert code == 0
    assert json.loads(out) == {"valid": True, "file": "job.yaml", "kind": "train", "name": "cli", "warnings": []}


def test_validate_knows_tasks_and_cards_by_their_kind(here):
    task = "apiVersion: ipt/v1\nkind: task\nname: dusk\ndescription: d\nstage: downstream\ndegradation: [lowlight, rain]\n"
    (here / "dusk.yaml").write_text(task)
    (here / "wrong.yaml").write_text(task.replace("rain", "rian"))
    (here / "set.yaml").write_text(
        "apiVersion: ipt/v1\nkind: dataset\nname: mine\ndescription: d\nshards: a.tar\nsource: s\nlicence: l\n"
    )

    assert run("validate", "dusk.yaml") == (0, "dusk.yaml: a valid task, 'dusk'\n")
    assert run("validate", "set.yaml") == (0, "set.yaml: a valid dataset card, 'mine'\n")
    _, out = run("validate", "dusk.yaml", "--json")
    assert json.loads(out) == {"valid": True, "file": "dusk.yaml", "kind": "task", "name": "dusk", "warnings": []}
    with pytest.raises(
        SpecError, match=r"^wrong.yaml:6: degradation.1.name: unknown degradation 'rian'; did you mean 'rain'\?$"
    ):
        run("validate", "wrong.yaml")
    with pytest.raises(SpecError, match=r"--set name=x: replaces a value of a job, and dusk.yaml is a task"):
        run("validate", "dusk.yaml", "--set", "name=x")


@pytest.mark.parametrize(("text", "said"), [("kind: tsak\n", "expected one of train"), ("- a\n", "job.yaml:1: ")])
def test_a_file_of_no_known_kind_is_judged_as_a_job(here, text, said):
    (here / "job.yaml").write_text(text)

    with pytest.raises(SpecError, match=said):
        run("validate", "job.yaml")


def test_validate_needs_neither_torch_nor_ray():
    program = "import sys, ipt_platform.cli.job; print({'torch', 'ray', 'boto3', 'starlette'} & set(sys.modules))"

    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout

    assert out == "set()\n"


def test_validate_names_every_problem_to_people_by_its_error_and_to_scripts_as_json():
    wrong = ("validate", "job.yaml", "--set", "train.stages.0.patch=1", "--set", "nam=x")

    with pytest.raises(SpecError) as caught:
        run(*wrong)
    code, out = run(*wrong, "--json")

    assert code == 2
    assert json.loads(out) == {"valid": False, "file": "job.yaml", "problems": [vars(each) for each in caught.value.problems]}
    assert {each.path for each in caught.value.problems} == {"train.stages.0.patch", "nam"}


def test_plan_shows_the_job_in_numbers():
    code, out = run("plan", "job.yaml", "--set", "tasks={denoise: 2, deblur: 1}")

    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert out.startswith("cli: synchronous training of iptv2-tiny on 1 worker\n2,000 steps, 8,000 images drawn")
    assert ["0", "0", "2,000", "64", "4", "4", "12", "denoise", "8,", "deblur", "4"] in lines
    assert any(line[:3] == ["bias", "of", "deblur"] for line in lines)
    assert ["h.tar", "0"] in lines
    assert ["i.tar", "0"] not in lines  # a plan of ten thousand shards still fits on a screen
    assert "and 2 more shards (all of them with --json)" in out


def test_plan_as_json_holds_the_resolved_job():
    code, out = run("plan", "job.yaml", "--set", "seed=7", "--json")

    found = json.loads(out)
    assert code == 0
    assert found["steps"] == 2000
    assert len(found["shards"]) == 10
    assert found["job"] == load_job("job.yaml", ["seed=7"]).job.model_dump(mode="json")


def test_the_resolved_job_is_a_job_file(here):
    code, out = run("plan", "job.yaml", "--set", "seed=7", "--resolved")

    (here / "resolved.yaml").write_text(out)
    assert code == 0
    assert load_job("resolved.yaml").job == load_job("job.yaml", ["seed=7"]).job


@pytest.mark.parametrize("what", SCHEMAS)
def test_schema_prints_json_either_way(what):
    assert json.loads(run("schema", what)[1]) == SCHEMAS[what]() == json.loads(run("schema", what, "--json")[1])


def test_an_unknown_schema_is_refused():
    with pytest.raises(UsageError, match="there is no schema of 'jobb'; did you mean 'job'"):
        run("schema", "jobb")
