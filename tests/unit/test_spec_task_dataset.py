"""Task files and dataset cards: those that ship are right, wrong ones are named, and sets are found."""

import re
from pathlib import Path

import pytest

from ipt_platform.data.sample import PHOTOGRAPHS
from ipt_platform.errors import SpecError
from ipt_platform.spec.dataset import find_shards, load_card, resolve_set
from ipt_platform.spec.task import load_task, parse_task, task_names

REPOSITORY = Path(__file__).parents[2]

TASK = """\
apiVersion: ipt/v1
kind: task
name: mine
description: Mine.
stage: downstream
degradation: {name: gaussian-noise, sigma: 10}
"""
CARD = "apiVersion: ipt/v1\nkind: dataset\nname: {name}\ndescription: d\nshards: {shards}\nsource: s\nlicence: l\n{more}"


@pytest.mark.parametrize("name", task_names())
def test_every_task_that_ships_can_be_built_for_training_and_for_testing(name):
    task = load_task(name)

    assert task.name == name
    spelled = "chain" if isinstance(task.degradation, list) else task.degradation["name"]
    assert task.training({}).name == task.testing({}).name == spelled
    assert len(task.instructions) >= 2


def test_the_elementary_tasks_are_the_papers():
    assert {name for name in task_names() if load_task(name).stage == "elementary"} == {"denoise", "deblur"}


def test_parameters_of_a_job_win_over_those_of_the_task():
    task = load_task("denoise")

    assert task.training({"sigma": 7}).model_dump()["sigma"] == 7
    assert task.testing({}).model_dump()["sigma"] == task.evaluate["sigma"]
    assert task.testing({"sigma": 7}).model_dump()["sigma"] == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TASK.replace("gaussian-noise", "gausian-noise"), r"t\.yaml:6: degradation.name: .*gaussian-noise"),
        (
            TASK.replace("sigma: 10", "sigma: 300"),
            r"t\.yaml:6: degradation.sigma: expected numbers between 0 and 255, found 300",
        ),
        (TASK + "evaluate: {sgma: 25}\n", r"t\.yaml:7: evaluate.sgma: unknown key 'sgma'"),
        (TASK + "evaluate: {name: rain}\n", r"t\.yaml:7: evaluate: 'name' cannot be replaced"),
        (TASK + "quantise: true\n", r"t\.yaml:7: quantise: unknown key 'quantise'; did you mean 'quantize'\?"),
        (TASK.replace("downstream", "down"), r"t\.yaml:5: stage: expected one of elementary, downstream"),
        ("[]", r"t\.yaml:1: expected a mapping"),
    ],
)
def test_a_wrong_task_file_is_named_with_its_line(text, said):
    with pytest.raises(SpecError, match=said) as caught:
        parse_task(text, "t.yaml")

    assert len(caught.value.problems) == 1


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(SpecError, match="unknown task 'deblurr'; did you mean 'deblur'"):
        load_task("deblurr")
    with pytest.raises(SpecError, match=r"unknown task '\.\./denoise'"):
        load_task("../denoise")


@pytest.mark.parametrize("part", PHOTOGRAPHS)
def test_the_sample_cards_credit_every_photograph(part):
    card = load_card(REPOSITORY / "datasets" / f"sample-{part}.yaml")

    assert card.name == f"sample-{part}"
    assert [credit.file for credit in card.credits] == [file for _, file in PHOTOGRAPHS[part]]
    assert card.shards == (f"sample/{part}-*.tar",)


def set_up(base: Path) -> None:
    for folder in ("datasets/tars", "pictures", "packed"):
        (base / folder).mkdir(parents=True)
    for tar in ("datasets/tars/b.tar", "datasets/tars/a.tar", "packed/p.tar", "one.tar"):
        (base / tar).touch()
    (base / "datasets" / "mine.yaml").write_text(CARD.format(name="mine", shards="tars/*.tar", more=""))
    (base / "datasets" / "gone.yaml").write_text(CARD.format(name="gone", shards="no/*.tar", more="prepare: make it\n"))


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("mine", ["datasets/tars/a.tar", "datasets/tars/b.tar"]),
        ("datasets/mine.yaml", ["datasets/tars/a.tar", "datasets/tars/b.tar"]),
        ("datasets/tars/*.tar", ["datasets/tars/a.tar", "datasets/tars/b.tar"]),
        ("one.tar", ["one.tar"]),
        ("pictures", ["pictures"]),
        ("packed", ["packed/p.tar"]),
    ],
)
def test_a_set_is_a_path_or_a_card(tmp_path, monkeypatch, name, paths):
    base = tmp_path / "odd [name] {x}"
    base.mkdir()
    set_up(base)

    assert resolve_set(name, base) == [base / path for path in paths]
    monkeypatch.chdir(base)
    assert resolve_set(name, Path()) == [Path(path) for path in paths]


def test_a_path_that_exists_wins_over_a_card(tmp_path):
    set_up(tmp_path)
    (tmp_path / "mine").mkdir()

    assert resolve_set("mine", tmp_path) == [tmp_path / "mine"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mein", r"unknown set 'mein': .* did you mean 'mine'\?"),
        ("gone", "the shards of set 'gone' are missing; make them with `make it`"),
        ("none/*.tar", "No shards"),
    ],
)
def test_a_set_that_is_not_there(tmp_path, name, said):
    set_up(tmp_path)

    with pytest.raises(SpecError, match=said):
        resolve_set(name, tmp_path)


def test_shards_come_once_each_and_all_missing_ones_are_named(tmp_path):
    set_up(tmp_path)

    assert find_shards(("one.tar", "datasets/tars/*.tar", "*.tar"), tmp_path) == [
        tmp_path / path for path in ("one.tar", "datasets/tars/a.tar", "datasets/tars/b.tar")
    ]
    with pytest.raises(SpecError) as caught:
        find_shards(("x.tar", "one.tar", "y-{0..1}.tar"), tmp_path)
    assert len(caught.value.problems) == 2
    assert re.search(r"x\.tar", str(caught.value.problems[0]))
