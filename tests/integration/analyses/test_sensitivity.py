"""`what: sensitivity`: real trainings in this process over two seeds, and pairs of weights whose difference is known."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.errors import DataError, IptError, SpecError, TrainingError
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import layer_groups, matrices_of
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.spec.job import JOB, FinetuneJob, TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.train.given import begin_run, keeper
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.crops import crops_of
from ipt_platform.tune.members import Outcome
from ipt_platform.tune.sensitivities import write_sensitivity
from tests.integration.analyses.jobs_here import (
    BACKBONE,
    BASE,
    MIXED,
    backbone_in,
    given,
    keep_weights,
    moved,
    of_named,
    page_of,
    report_of,
    rows_of,
    size_of_png,
    table_of,
    train_here,
    trained,
)

TRAINED = {
    "what": "sensitivity",
    "seeds": [0, 3],
    "base": MIXED,
    "before": {},
    "after": {"tasks": ["jpeg"], "train": {"stages": [{"steps": 3, "patch": 32, "images": 2}]}},
    "transplant": {"images": 3, "patch": 32},
}


@pytest.fixture(scope="module")
def seen(base, one_thread) -> Analysis:
    """An analysis that trained both sides with two seeds."""
    analysis = trained(TRAINED, base, "which")
    write_sensitivity(analysis)
    return analysis


def job_of(tasks: list[str]) -> TrainJob:
    job = JOB.validate_python({**MIXED, "apiVersion": "ipt/v1", "name": "by-hand", "tasks": tasks})
    assert isinstance(job, TrainJob)
    return job


def sides(analysis: Analysis, seed: int) -> tuple:
    """Both backbones of a seed, read from the runs that made them."""
    return tuple(backbone_in(RunDir(analysis.run.members / f"{side}-s{seed}")) for side in ("before", "after"))


def cosines(before, after) -> dict[str, float]:
    """Mean cosine of each layer group's matrices (of norms: its vectors), by numpy in float64."""
    groups, found = layer_groups(before), {}
    for group in LAYER_GROUPS:
        names = [name for name, own in groups.items() if own == group]
        names = [name for name in names if before.get_parameter(name).dim() in (2, 4)] or names
        each = []
        for name in names:
            a, b = (side.get_parameter(name).detach().numpy().astype(np.float64).ravel() for side in (before, after))
            if a.any() and b.any():
                each.append(a @ b / np.sqrt((a @ a) * (b @ b)))
        found[group] = float(np.mean(each))
    return found


# Trained here, over two seeds


def test_each_side_was_trained_once_per_seed_and_after_began_with_the_weights_of_before(seen):
    assert [outcome.member.id for outcome in seen.outcomes] == ["before-s0", "after-s0", "before-s3", "after-s3"]
    for seed in (0, 3):
        before, _ = sides(seen, seed)
        beginning, _ = load_backbone(RunDir(seen.run.members / f"after-s{seed}").beginning)
        assert fingerprint(beginning) == fingerprint(before)


def test_the_table_holds_the_cosines_of_the_weights_that_were_trained(seen):
    report = report_of(seen.run)

    assert [*report["seeds"]] == ["0", "3"]
    for seed in (0, 3):
        told = {row["group"]: row["cosine"] for row in report["seeds"][str(seed)]["groups"]}
        assert told == pytest.approx(cosines(*sides(seen, seed)), abs=1e-9)
        assert all(row["norm_ratio"] > 0 for row in report["seeds"][str(seed)]["groups"])
    assert report["seeds"]["0"]["groups"] != report["seeds"]["3"]["groups"]


def test_people_read_mean_and_deviation_over_seeds(seen):
    table = table_of(page_of(seen.run), "layer group")

    both = [{row["group"]: row for row in each["groups"]} for each in report_of(seen.run)["seeds"].values()]
    assert table.keys() == both[0].keys()
    for group, row in table.items():
        for column, key in (("cosine", "cosine"), ("change of norm", "norm_ratio"), ("won back", "won_back")):
            values = [each[group][key] for each in both]
            assert row[column] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}", (group, column)
    assert (table["sampling"]["cosine (paper)"], table["depthwise"]["cosine (paper)"]) == ("0.52", "–")


def test_a_transplant_is_the_loss_of_a_backbone_into_which_one_group_was_put(seen, base):
    run = RunDir(seen.run.members / "after-s0")
    job = load_job(run.job, base=base).job
    assert isinstance(job, TrainJob)
    degraded, clean = crops_of(job, (), 3, 32, base, run.tasks)["jpeg"]
    before, after = sides(seen, 0)
    mixed = deepcopy(before)
    for name in matrices_of(before, ["output"]):
        mixed.get_parameter(name).data.copy_(after.get_parameter(name))

    told = report_of(seen.run)["seeds"]["0"]["transplant"]

    def loss(model) -> float:
        return float(((model(degraded) - clean) ** 2 + 1e-6).sqrt().mean())

    assert told["before"] == pytest.approx(loss(before), rel=1e-5)
    assert told["after"] == pytest.approx(loss(after), rel=1e-5)
    assert told["losses"]["output"] == pytest.approx(loss(mixed), rel=1e-5)
    share = (told["before"] - told["losses"]["output"]) / (told["before"] - told["after"])
    assert told["won_back"]["output"] == pytest.approx(share)


def test_the_layers_are_a_table_for_programs_and_the_figure_is_a_picture(seen):
    rows = rows_of(seen.run.path / "layers.csv")

    names = [name for name, _ in sides(seen, 0)[0].named_parameters()]
    assert sorted((row["seed"], row["name"]) for row in rows) == sorted((seed, name) for seed in "03" for name in names)
    (row,) = [row for row in rows if (row["seed"], row["name"]) == ("3", "output.weight")]
    before, after = (side.get_parameter("output.weight").double() for side in sides(seen, 3))
    assert row["group"] == "output"
    assert int(row["parameters"]) == before.numel()
    assert float(row["norm_ratio"]) == pytest.approx(float((after - before).norm() / before.norm()))
    width, height = size_of_png(seen.run.path / "sensitivity.png")
    assert min(width, height) > 200


def test_the_proposal_trains_biases_where_most_seeds_say_on_the_backbone_before(seen, base, tmp_path):
    report = report_of(seen.run)
    loaded = load_job(seen.run.path / "proposal.yaml", base=base)

    job = loaded.job
    assert isinstance(job, FinetuneJob)
    assert [*job.bias.targets] == report["proposal"]["targets"]
    both = [set(each["proposal"]["targets"]) for each in report["seeds"].values()]
    assert {*job.bias.targets} == both[0] & both[1]
    assert ([*job.tasks], job.seed, job.name, job.storage) == (["jpeg"], 0, "which-proposal", "runs")
    assert job.train.stages[0].steps == 3

    run = create(tmp_path, "proposed")
    begin_run(job, run, keeper(loaded, run, base))
    train_here(base)(job, run)
    backbone, info = load_backbone(run.backbone)
    assert info.fingerprint == fingerprint(sides(seen, 0)[0])
    assert (
        job.bias.depthwise
        == report["proposal"]["depthwise"]
        == all(each["proposal"]["depthwise"] for each in report["seeds"].values())
    )
    groups = {*job.bias.targets, *(["depthwise"] if job.bias.depthwise else [])}
    assert load_bias(read_pack(run.pack("jpeg")), backbone).layout.keys() == {*matrices_of(backbone, groups)}


def test_a_training_that_failed_leaves_nothing_to_say(seen, base):
    failed = Outcome(seen.outcomes[1].member, seen.outcomes[1].run, "the disk is full of holes")
    analysis = Analysis(seen.loaded, create(base / "runs", "failed"), base, [seen.outcomes[0], failed], 1)

    with pytest.raises(TrainingError, match=r"after-s0: the disk is full of holes"):
        write_sensitivity(analysis)

    assert not analysis.run.report.exists()


# Weights that differ by hand


@pytest.fixture(scope="module")
def pair(seen, base) -> tuple[Path, RunDir]:
    """A backbone pack, and a run whose backbone differs from it in the sampling layers alone and is better at its task."""
    good = sides(seen, 0)[1]
    torch.manual_seed(0)
    deltas = {name: 0.3 * torch.randn_like(good.get_parameter(name)) for name in matrices_of(good, ["sampling"])}
    write_backbone(base / "spoilt", moved(good, deltas), BACKBONE, {}, "now")
    return base / "spoilt", keep_weights(good, base, "mended", job_of(["jpeg"]))


@pytest.mark.parametrize("transplant", [None, {"images": 20, "patch": 32}])
def test_the_one_group_that_differs_is_found(base, pair, transplant):
    name = "found-by-loss" if transplant else "found-by-angle"
    value = {"what": "sensitivity", "before": "spoilt", "after": "mended"}

    run = of_named(value | ({"transplant": transplant} if transplant else {}), base, name)

    report = report_of(run)["seeds"]["0"]
    rows = {row["group"]: row for row in report["groups"]}
    assert rows["sampling"]["cosine"] < 0.999
    assert {group: row["norm_ratio"] for group, row in rows.items() if row["norm_ratio"]}.keys() == {"sampling"}
    assert all(row["cosine"] == pytest.approx(1, abs=1e-12) for group, row in rows.items() if group != "sampling")
    assert table_of(page_of(run), "layer group")["ffn"]["cosine"] == "1.000"
    job = load_job(run.path / "proposal.yaml", base=base).job
    assert isinstance(job, FinetuneJob)
    assert (job.bias.targets, job.bias.depthwise, [*job.tasks]) == (("sampling",), False, ["jpeg"])
    assert base / job.backbone == pair[0]
    assert report["proposal"]["by"] == ("transplant" if transplant else "cosine")
    if transplant:
        assert {group: row["won_back"] for group, row in rows.items()} == {group: float(group == "sampling") for group in rows}
    assert run_status(run).state == "finished"
    assert not run.members.exists()
    assert min(size_of_png(run.path / "sensitivity.png")) > 200


def test_a_checkpoint_can_be_named_by_its_folder(base, pair):
    named = "runs/mended/checkpoints/step-1"

    run = of_named({"what": "sensitivity", "before": "spoilt", "after": named}, base, "by-folder")

    assert report_of(run)["proposal"]["targets"] == ["sampling"]
    assert (run.path / "proposal.yaml").is_file()


def test_without_the_training_that_made_it_there_is_a_table_and_no_job(base, pair, seen):
    write_backbone(base / "nameless", sides(seen, 0)[1], BACKBONE, {}, "now")
    value = {"what": "sensitivity", "before": "spoilt", "after": "nameless"}

    run = of_named(value, base, "nameless-found")

    assert report_of(run)["proposal"]["targets"] == ["sampling"]
    assert not (run.path / "proposal.yaml").exists()
    assert "no job is proposed: which training made `after` is not known" in page_of(run)
    with pytest.raises(DataError, match=r"nameless: which training made it is not known, so there are no crops"):
        of_named({**value, "transplant": {"images": 2}}, base, "nameless-loss")
    assert [event["type"] for event in read_events(RunDir(base / "runs" / "nameless-loss"))][-1] == "failed"


def test_a_transplant_by_a_task_that_the_training_has_not_is_told_before_anything_is_trained(base):
    """Not after hours of training."""
    with pytest.raises(SpecError, match=r"transplant\.tasks.*deblurr"):
        given({**TRAINED, "transplant": {"tasks": ["deblurr"], "images": 2}}, base, "no-such-task")


def test_a_transplant_by_a_task_that_a_training_had_not_is_told_with_its_name(base, pair):
    value = {"what": "sensitivity", "before": "spoilt", "after": "mended", "transplant": {"tasks": ["denoise"], "images": 2}}

    with pytest.raises(IptError, match="denoise"):
        of_named(value, base, "another-task")


@pytest.mark.parametrize(("shared", "task"), [(MIXED, "jpeg"), (BASE, "lowlight")])
def test_a_bias_that_the_training_will_not_have_is_told_before_anything_is_trained(base, shared, task):
    """Trained in mode mixed there is none, and else there is one of each of its tasks."""
    with pytest.raises(SpecError, match=rf"task: .*{task}"):
        given({**TRAINED, "base": shared, "task": task}, base, "no-such-bias")
