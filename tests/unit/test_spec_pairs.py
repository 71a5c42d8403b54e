"""Tasks that read pairs: what their files may say, where they are found, and what a job with them will do."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.cli.main import app
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.pairs import PairedDraw, TaskDraw
from ipt_platform.errors import DataError, SpecError
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.dataset import resolve_set, task_of_set
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.spec.task import load_task, parse_task
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.plan import resolve_plan

TASK = """\
apiVersion: ipt/v1
kind: task
name: rain100l
description: Rain streaks of Rain100L.
stage: downstream
pairs: datasets/rain/*.tar
"""
JOB = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "j",
    "model": {"backbone": "iptv2-tiny"},
    "tasks": {"denoise": 1, "rain100l": 2},
    "data": {"shards": "datasets/clean/*.tar"},
    "train": {"stages": [{"steps": 3, "patch": 16, "images": 2}], "schedule": {"warmup": 0}},
}
CARD = """\
apiVersion: ipt/v1
kind: dataset
name: rain-test
description: Pairs of rain.
shards: rain/*.tar
task: derain
source: Made here.
licence: CC0
"""


def pictures(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 24, 3), number, np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def base(tmp_path) -> Path:
    pictures(tmp_path, *(f"{half}/{number}.png" for half in ("rainy", "norain") for number in range(3)))
    pack_pairs(tmp_path / "rainy", tmp_path / "norain", tmp_path / "datasets/rain", shard_size=1)
    pack(tmp_path / "norain", tmp_path / "datasets/clean")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/rain100l.yaml").write_text(TASK)
    (tmp_path / "datasets/rain-test.yaml").write_text(CARD)
    return tmp_path


def job_of(base: Path, **changes) -> TrainJob:
    (base / "job.yaml").write_text(yaml.safe_dump(JOB | changes, sort_keys=False))
    job = load_job(base / "job.yaml", base=base).job
    assert isinstance(job, TrainJob)
    return job


def problems(base: Path, **changes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        job_of(base, **changes)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TASK.replace("pairs: datasets/rain/*.tar\n", ""), r"^t\.yaml:1: a task needs a `degradation`, or `pairs` on disk"),
        (
            TASK + "degradation: {name: rain}\n",
            r"^t\.yaml:7: degradation: a task either degrades clean photographs or reads `pairs`",
        ),
        (TASK + "evaluate: {density: 0.1}\n", r"^t\.yaml:7: evaluate: pairs on disk have no parameters to replace"),
        (TASK + "quantize: true\n", r"^t\.yaml:7: quantize: pairs on disk are rounded to 8 bits already"),
        (TASK.replace("datasets/rain/*.tar", "3"), r"^t\.yaml:6: pairs: expected a list, found 3"),
        (TASK.replace("pairs:", "pair:"), r"^t\.yaml:6: pair: unknown key 'pair'; did you mean 'pairs'\?"),
    ],
)
def test_a_task_has_a_degradation_or_pairs_and_nothing_that_does_not_go_with_them(text, said):
    with pytest.raises(SpecError, match=said) as caught:
        parse_task(text, "t.yaml")

    assert len(caught.value.problems) == 1


def test_a_task_of_the_user_is_found_below_where_the_command_runs(base, monkeypatch):
    assert load_task("rain100l", base).pairs == ("datasets/rain/*.tar",)
    with pytest.raises(SpecError, match=r"unknown task 'rain100'; did you mean 'rain100l'\?"):
        load_task("rain100", base)
    with pytest.raises(SpecError, match="unknown task 'rain100l'"):
        load_task("rain100l")
    monkeypatch.chdir(base)
    assert load_task("rain100l").name == "rain100l"
    assert load_task("denoise", base).degradation


def test_a_task_of_the_user_may_degrade_too(base):
    text = TASK.replace("pairs: datasets/rain/*.tar", "degradation: {name: rain, density: 0.01}").replace("rain100l", "mine")
    (base / "tasks/mine.yaml").write_text(text)
    draw = draw_of("mine", 2, {"density": 0.002}, base)

    assert isinstance(draw, TaskDraw)
    assert draw.degradation.model_dump(mode="json")["density"] == 0.002


def test_names_are_not_taken_twice_and_are_those_of_the_files(base):
    (base / "tasks/denoise.yaml").write_text(TASK.replace("rain100l", "denoise"))
    with pytest.raises(SpecError, match=r"tasks/denoise\.yaml: 'denoise' is a task that ships with the platform"):
        load_task("denoise", base)
    (base / "tasks/rain100h.yaml").write_text(TASK)
    with pytest.raises(
        SpecError, match=r"tasks/rain100h\.yaml:3: name: expected 'rain100h', as the file is called, found 'rain100l'"
    ):
        load_task("rain100h", base)
    (base / "tasks/list.yaml").write_text("[]")
    with pytest.raises(SpecError, match=r"tasks/list\.yaml:1: expected a mapping"):
        load_task("list", base)


def test_a_job_with_pairs_is_valid_and_says_what_it_will_read(base):
    job = job_of(base)
    planned = resolve_plan(job, base)

    assert warnings(job)[0].startswith("nothing is measured")
    shards = [{"path": str(base / f"datasets/rain/{number:06d}.tar"), "images": 1} for number in range(3)]
    assert planned["pairs"] == {"rain100l": {"shards": shards, "images": 3, "epochs": 2.0}}
    assert planned["stages"][0]["crops_by_task"] == {"denoise": 2, "rain100l": 4}
    draws = batch_maker(job, base, 0, 1).draws
    assert [(type(draw), draw.name, draw.weight) for draw in draws] == [(TaskDraw, "denoise", 1), (PairedDraw, "rain100l", 2)]
    batch = batch_maker(job, base, 0, 1).make(0)
    assert {name: clean.shape for name, (_, clean) in batch.tasks.items()} == {
        "denoise": (2, 16, 16, 3),
        "rain100l": (4, 16, 16, 3),
    }


def test_plan_and_validate_tell_people_of_the_pairs(base, monkeypatch):
    monkeypatch.chdir(base)
    job_of(base)
    said = CliRunner().invoke(app, ["plan", "job.yaml"]).stdout.splitlines()
    assert "rain100l reads pairs: 3 in 3 shards, drawn 2 times" in said
    assert [line.split() for line in said].count(["datasets/rain/000002.tar", "1"]) == 1
    for shard in (base / "datasets/rain").glob("*.tar"):
        shard.unlink()
    wrong = json.loads(CliRunner().invoke(app, ["validate", "job.yaml", "--json"]).stdout)
    assert [(each["file"], each["line"], each["path"]) for each in wrong["problems"]] == [("tasks/rain100l.yaml", 6, "pairs")]
    assert CliRunner().invoke(app, ["validate", "job.yaml", "--json"]).exit_code == 2


def test_where_every_task_reads_pairs_clean_photographs_may_be_left_out(base):
    job = job_of(base, tasks=["rain100l"], data={"carrier": "local"})
    planned = resolve_plan(job, base)

    assert (planned["shards"], planned["images"], planned["epochs"]) == ([], 0, 0.0)
    assert planned["pairs"]["rain100l"]["images"] == 3
    assert set(batch_maker(job, base, 0, 1).make(0).keys) <= {"0", "1", "2"}
    (base / "again.yaml").write_text(dump_job(job))
    assert load_job(base / "again.yaml", base=base).job == job
    assert problems(base, tasks=["rain100l", "denoise", "deblur"], data={}) == [
        "job.yaml:10: data.shards: clean photographs are missing, which denoise, deblur would degrade: name their shards"
    ]


def test_shards_that_are_missing_are_named_where_the_task_names_them(base):
    for shard in (base / "datasets/rain").glob("*.tar"):
        shard.unlink()

    found = problems(base, train={"stages": []})
    assert found[0].startswith("tasks/rain100l.yaml:6: pairs: No shards: datasets/rain/*.tar")
    assert "job.yaml:" in found[1]


def test_pairs_have_no_parameters(base):
    tasks = {"rain100l": {"params": {"density": 1}}}

    assert problems(base, tasks=tasks) == [
        "job.yaml:8: tasks.rain100l.params: task 'rain100l' reads pairs on disk, which have no parameters (found density)"
    ]


def test_shards_without_pairs_are_refused_before_training(base):
    (base / "tasks/rain100l.yaml").write_text(TASK.replace("rain/*.tar", "clean/*.tar"))
    job = job_of(base)

    with pytest.raises(SpecError, match=r"tasks/rain100l\.yaml:6: pairs: no pairs in .*clean/000000\.tar; make paired shards"):
        resolve_plan(job, base)
    with pytest.raises(SpecError, match="no pairs in"):
        batch_maker(job, base, 0, 1)
    with (base / "datasets/clean/000000.tar").open("ab") as tar:
        tar.write(b"more")
    with pytest.raises(DataError, match="no longer matches"):
        resolve_plan(job, base)


def test_a_plan_says_which_tasks_each_set_measures(base):
    def sets(names: list[str], tasks: list[str]) -> dict[str, tuple[bool, list[str]]]:
        planned = resolve_plan(job_of(base, evaluate={"sets": names}, tasks=tasks), base)
        return {each["name"]: (each["pairs"], each["tasks"]) for each in planned["sets"]}

    names = ["norain", "rain-test", "datasets/rain"]
    assert sets(names, ["denoise", "rain100l"]) == {
        "norain": (False, ["denoise"]),
        "rain-test": (True, ["rain100l"]),
        "datasets/rain": (True, ["rain100l"]),
    }
    assert sets(names, ["denoise", "derain", "rain100l"])["rain-test"] == (True, ["derain"])  # as its card says
    assert sets(names, ["denoise", "derain"]) == {
        "norain": (False, ["denoise", "derain"]),
        "rain-test": (True, ["derain"]),
        "datasets/rain": (True, ["denoise", "derain"]),
    }


def test_the_card_of_a_set_names_its_task_and_its_shards(base):
    assert task_of_set("rain-test", base) == task_of_set("datasets/rain-test.yaml", base) == "derain"
    assert [path.name for path in resolve_set("rain-test", base)] == ["000000.tar", "000001.tar", "000002.tar"]
    assert task_of_set("datasets/rain", base) is None
    (base / "rain-test").mkdir()
    assert task_of_set("rain-test", base) is None  # a path that exists wins over a card
