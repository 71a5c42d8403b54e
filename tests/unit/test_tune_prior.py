"""What analyses propose as the first trials: onto the knobs that set it, everything else in its middle."""

import json
from pathlib import Path
from typing import Any

import pytest

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.observe.storage import create
from ipt_platform.spec.load import check_job
from ipt_platform.spec.source import Document
from ipt_platform.spec.tune import SearchSpec
from ipt_platform.tune.prior import as_written, first_trials, proposal
from ipt_platform.tune.space import params_of

SPACE = {
    "model.bias.rank": {"choices": [2, 4, 16, 32]},
    "model.bias.targets": {"subsets": ["qkv", "proj", "ffn", "output"]},
    "train.optimizer.bias_lr": {"min": 1e-4, "max": 1e-2, "log": True},
    "train.ema": {"choices": [None, 0.9, 0.99]},
}


def analysed(storage: Path, name: str, **proposed: Any) -> str:
    """Writes the run of an analysis with its report."""
    run = create(storage, name)
    run.job.write_text("")
    report = {"kind": "analyze", "what": "sensitivity", "proposal": proposed}
    run.report.write_text(json.dumps(report))
    return name


def first(storage: Path, prior: list[str], space: dict[str, Any] = SPACE, base: Path = Path()) -> list[tuple[dict, str]]:
    search = SearchSpec.model_validate({"space": space, "trials": 9, "prior": prior})
    found = first_trials(search, storage, base)
    assert all(params_of(search.space, values) is not None for values, _ in found)  # the space has them
    return found


TRAINING = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "own",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4, "targets": ["ffn", "qkv"]}},
    "tasks": {"denoise": {"weight": 2}},
    "data": {"shards": "shards/*.tar"},
    "train": {"stages": [{"steps": 4, "patch": 32, "images": 2}], "ema": None},
}


@pytest.mark.parametrize(
    ("path", "knob", "value"),
    [
        ("model.bias.rank", {"min": 2, "max": 8}, 4),
        ("model.bias.targets", {"subsets": ["qkv", "proj", "ffn"]}, ["ffn", "qkv"]),
        ("tasks.denoise.weight", {"choices": [1, 2]}, 2),
        ("train.stages.0.images", {"choices": [1, 2]}, 2),
        ("train.ema", {"choices": [None, 0.9]}, None),
    ],
)
def test_the_job_itself_comes_first_where_the_space_has_its_values(base, path, knob, value):
    job = check_job(Document(TRAINING, {}, "job.yaml"), base)
    search = SearchSpec.model_validate({"space": {path: knob}, "trials": 9})

    assert as_written(search, job) == [({path: value}, "as written")]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("path", "knob"),
    [
        ("model.bias.rank", {"min": 5, "max": 8}),
        ("model.bias.ranks.ffn", {"choices": [1, 2]}),
        ("model.bias.targets", {"subsets": ["qkv", "proj"]}),
        ("train.stages.1.images", {"choices": [1, 2]}),
    ],
)
def test_a_job_outside_of_the_space_does_not_come_first(base, path, knob):
    job = check_job(Document(TRAINING, {}, "job.yaml"), base)
    search = SearchSpec.model_validate({"space": {path: knob}, "trials": 9})

    assert as_written(search, job) == []  # pyright: ignore[reportArgumentType]


def test_a_grid_has_the_job_itself_in_its_place(base):
    job = check_job(Document(TRAINING, {}, "job.yaml"), base)
    search = SearchSpec.model_validate({"space": {"model.bias.rank": {"choices": [2, 4]}}, "searcher": "grid"})

    assert as_written(search, job) == []  # pyright: ignore[reportArgumentType]


def test_without_a_prior_nothing_comes_first(tmp_path):
    assert first(tmp_path, []) == []


def test_what_is_proposed_goes_onto_its_knobs_and_half_the_rank_is_tried_too(tmp_path):
    names = [
        analysed(tmp_path, "sense", targets=["ffn", "qkv", "reduction"], depthwise=False),
        analysed(tmp_path, "energy", rank=14),
    ]

    found = first(tmp_path, names)

    assert [source for _, source in found] == ["prior: sense, energy"] * 2
    assert [values["model.bias.rank"] for values, _ in found] == [16, 4]  # nearest to 14 and to 7
    for values, _ in found:
        assert values["model.bias.targets"] == ["qkv", "ffn"]  # of the knob's, in its order
        assert values["train.optimizer.bias_lr"] == pytest.approx(1e-3)  # the middle of a logarithm
        assert values["train.ema"] == 0.9


def test_groups_alone_give_one_trial(tmp_path):
    (found,) = first(tmp_path, [analysed(tmp_path, "sense", targets=["output"])])

    assert found[0]["model.bias.targets"] == ["output"]
    assert found[0]["model.bias.rank"] in (4, 16)  # the middle


def test_a_rank_alone_leaves_all_groups_in(tmp_path):
    found = first(tmp_path, [analysed(tmp_path, "energy", rank=4)])

    assert [(values["model.bias.rank"], values["model.bias.targets"]) for values, _ in found] == [
        (4, ["qkv", "proj", "ffn", "output"]),
        (2, ["qkv", "proj", "ffn", "output"]),
    ]


def test_a_rank_of_one_has_no_half(tmp_path):
    assert len(first(tmp_path, [analysed(tmp_path, "energy", rank=1)])) == 1


def test_where_too_few_of_the_groups_are_proposed_all_are_taken(tmp_path):
    space = {"bias.targets": {"subsets": ["qkv", "ffn", "proj"], "at_least": 2}}

    ((values, _),) = first(tmp_path, [analysed(tmp_path, "sense", targets=["ffn"])], space)

    assert values == {"bias.targets": ["qkv", "ffn", "proj"]}


def test_ranks_of_single_groups_are_set_too(tmp_path):
    space = {
        "bias.ranks.qkv": {"min": 1, "max": 8},
        "bias.ranks.ffn": {"choices": [4, 64]},
        "bias.rank": {"min": 1, "max": 10.0},
    }

    found = first(tmp_path, [analysed(tmp_path, "energy", rank=10)], space)

    assert [values for values, _ in found] == [
        {"bias.ranks.qkv": 8, "bias.ranks.ffn": 4, "bias.rank": 10},
        {"bias.ranks.qkv": 5, "bias.ranks.ffn": 4, "bias.rank": 5},
    ]


def test_groups_that_are_choices_are_set_too(tmp_path):
    space = {"bias.targets": {"choices": [["qkv", "ffn"], ["qkv"], ["ffn", "output"]]}}

    ((values, _),) = first(tmp_path, [analysed(tmp_path, "sense", targets=["output", "ffn"])], space)

    assert values == {"bias.targets": ["ffn", "output"]}


def test_ranges_begin_in_their_middle(tmp_path):
    space = {
        "a.count": {"min": 1, "max": 6},
        "a.share": {"min": 0.0, "max": 0.5},
        "a.power": {"min": 1, "max": 100, "log": True},
    }

    ((values, _),) = first(tmp_path, [analysed(tmp_path, "sense", targets=["qkv"])], space)

    assert values["a.share"] == 0.25
    assert values["a.power"] == 10
    assert values["a.count"] in (3, 4)
    assert all(isinstance(values[key], int) for key in ("a.count", "a.power"))


def test_a_run_is_found_by_its_id_or_by_its_folder(tmp_path):
    analysed(tmp_path / "runs", "sense", targets=["qkv"])
    want = {"targets": ["qkv"], "run": "sense"}

    for named in ("sense", "runs/sense", str(tmp_path / "runs" / "sense")):
        assert proposal(named, tmp_path / "runs", tmp_path) == want


def test_a_prior_that_is_not_there_is_told(tmp_path):
    analysed(tmp_path, "sense", targets=["qkv"])

    with pytest.raises(NotFoundError, match=r"no run 'sence'.*did you mean sense"):
        first(tmp_path, ["sence"])


def test_a_prior_without_a_report_is_told(tmp_path):
    run = create(tmp_path, "sense")
    run.job.write_text("")

    with pytest.raises(NotFoundError, match="this prior has no report yet; it is written when its run finishes"):
        first(tmp_path, ["sense"])


@pytest.mark.parametrize(
    "report",
    ["{", "[]", "{}", '{"proposal": {}}', '{"proposal": {"tasks": ["denoise"]}}', '{"proposal": null}', '{"proposal": []}'],
)
def test_a_report_that_proposes_nothing_is_told(tmp_path, report):
    analysed(tmp_path, "sense")
    create(tmp_path, "sense").report.write_text(report)

    with pytest.raises(DataError, match="expected the report of an analysis of sensitivity or rank energy"):
        first(tmp_path, ["sense"])
