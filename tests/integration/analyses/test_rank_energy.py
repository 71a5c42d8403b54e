"""`what: rank-energy`: differences of a rank that is known, and what a bias pack made of a full finetune gives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.errors import DataError
from ipt_platform.evaluate.testset import frozen_task, open_testsets
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.spec.job import JOB, FinetuneJob, TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.rank_energy import write_rank_energy
from tests.integration.analyses.jobs_here import (
    BACKBONE,
    MIXED,
    backbone_in,
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

TARGETS = ["output", "sampling", "reduction", "qkv", "proj", "ffn"]
RANK = 2
FULL = 4096  # is capped at each layer's full rank
TASKS = ["denoise", "jpeg"]


@pytest.fixture(scope="module")
def job() -> TrainJob:
    made = JOB.validate_python({**MIXED, "apiVersion": "ipt/v1", "name": "by-hand", "tasks": TASKS})
    assert isinstance(made, TrainJob)
    return made


@pytest.fixture(scope="module")
def before(base, job, one_thread) -> IPTV2:
    """A backbone that was trained a little, kept as the pack "before"."""
    run = create(base / "runs", "general")
    train_here(base)(job, run)
    backbone = backbone_in(run)
    write_backbone(base / "before", backbone, BACKBONE, {}, "now")
    return backbone


@pytest.fixture(scope="module")
def of_rank_two(base, before, job) -> RunDir:
    """A run whose backbone differs from that before by two directions of equal length in each matrix of the targets."""
    torch.manual_seed(0)
    deltas = {name: of_rank(before.get_parameter(name), RANK) for name in matrices_of(before, TARGETS)}
    return keep_weights(moved(before, deltas), base, "two-directions", job)


def of_rank(weight: torch.Tensor, rank: int) -> torch.Tensor:
    """A difference with `rank` equal singular values."""
    matrix = weight.flatten(1)
    left, right = (torch.linalg.qr(torch.randn(size, rank)).Q for size in matrix.shape)
    return 0.5 * (left @ right.T).view(weight.shape)


def psnr(restored: np.ndarray, clean: np.ndarray) -> float:
    """As protocol rgb-uint8 has it, written down once more: [H, W, 3], float in [0, 1] and uint8."""
    error = np.rint(np.clip(restored, 0, 1).astype(np.float64) * 255) - clean
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def measured(model, task: str, base: Path) -> float:
    """Mean dB of a model over the pictures of the test set, each in one piece."""
    frozen = frozen_task(task, base=base)
    (testset,) = open_testsets(["test"], base, [frozen])
    found = []
    for item in testset.items(frozen):
        degraded = torch.from_numpy(item.degraded).permute(2, 0, 1)[None]
        with torch.no_grad():
            restored = model(degraded)[0].permute(1, 2, 0).numpy()
        found.append(psnr(restored, item.clean))
    return float(np.mean(found))


def test_the_rank_of_a_difference_is_found(base, of_rank_two, before):
    run = of_named({"what": "rank-energy", "before": "before", "after": "two-directions"}, base, "found")

    report = report_of(run)
    (seed,) = report["seeds"].values()
    layers = {layer["name"]: layer for layer in seed["layers"]}
    assert layers.keys() == {*matrices_of(before, TARGETS)}
    for layer in layers.values():
        # one direction holds half of the energy, both all of it
        assert [layer[f"rank_{share}"] for share in (90, 95, 99)] == [RANK] * 3
        assert layer["effective_rank"] == pytest.approx(RANK, rel=0.05)
        assert layer["share"] == pytest.approx(1 / len(layers), rel=1e-3)
    kept = {budget["rank"]: budget["constant"] for budget in seed["budgets"]}
    assert kept[1]["energy"] == pytest.approx(0.5, abs=1e-3)
    assert kept[RANK]["energy"] == pytest.approx(1, abs=1e-6)
    assert all(share == pytest.approx(1, abs=1e-5) for share in kept[RANK]["layers"].values())
    assert all(budget["proportional"]["parameters"] <= budget["constant"]["parameters"] for budget in seed["budgets"])
    assert report["proposal"] == {"rank": RANK}
    assert report["compressed"] == []


def test_the_rank_is_proposed_as_a_job(base, of_rank_two):
    run = of_named({"what": "rank-energy", "before": "before", "after": "two-directions"}, base, "proposed")

    job = load_job(run.path / "proposal.yaml", base=base).job

    assert isinstance(job, FinetuneJob)
    assert (job.bias.rank, [*job.bias.targets], [*job.tasks]) == (RANK, TARGETS, TASKS)
    assert base / job.backbone == base / "before"
    rows = rows_of(run.path / "layers.csv")
    assert {row["rank_90"] for row in rows} == {str(RANK)}
    assert min(size_of_png(run.path / "rank-energy.png")) > 200
    assert table_of(page_of(run), "rank")["2"]["constant: energy"] == "100.0%"


def test_only_the_layer_groups_that_are_asked_for_are_looked_at(base, of_rank_two, before):
    value = {"what": "rank-energy", "before": "before", "after": "two-directions", "targets": ["qkv", "output"]}

    run = of_named(value, base, "some-groups")

    assert {row["name"] for row in rows_of(run.path / "layers.csv")} == {*matrices_of(before, ["qkv", "output"])}
    job = load_job(run.path / "proposal.yaml", base=base).job
    assert isinstance(job, FinetuneJob)
    assert [*job.bias.targets] == ["qkv", "output"]


@pytest.mark.parametrize(("rank", "exact"), [(FULL, True), (RANK, True), (1, False)])
def test_a_bias_of_the_differences_own_rank_costs_nothing(base, of_rank_two, rank, exact):
    name = f"compressed-{rank}"
    value = {"what": "rank-energy", "before": "before", "after": "two-directions", "compress": {"rank": rank}}

    run = of_named(value, base, name)

    costs = report_of(run)["compressed"]
    assert [(cost["task"], cost["set"], cost["seed"]) for cost in costs] == [(task, "test", 0) for task in TASKS]
    for cost in costs:
        assert cost["lost"] == cost["full"] - cost["compressed"]
        # values that lie between two grey levels may be rounded to either
        assert (abs(cost["lost"]) < 0.002) == exact, cost
        assert cost["before"] != pytest.approx(cost["full"], abs=0.01)
    said = page_of(run)
    share = "100.0%" if exact else "50.0%"
    assert f"keeps {share} of the energy of all weights" in said
    assert table_of(said, "task, set")["jpeg, test"]["full"] == f"{costs[1]['full']:.2f}"


def test_the_pack_fits_the_backbone_that_is_kept_beside_it_and_gives_the_numbers_of_the_report(base, of_rank_two, before):
    value = {"what": "rank-energy", "before": "before", "after": "two-directions", "compress": {"rank": 1, "targets": TARGETS}}

    run = of_named(value, base, "packed")

    backbone, _ = load_backbone(run.backbone)
    assert fingerprint(backbone) == fingerprint(before)
    for cost in report_of(run)["compressed"]:
        pack = read_pack(run.pack(cost["task"]))
        assert (pack.info.rank, pack.info.task, pack.info.lineage.run) == (1, cost["task"], "packed")
        model = BiasedModel(backbone, {"it": load_bias(pack, backbone)})
        assert measured(merged_for(model, "it"), cost["task"], base) == pytest.approx(cost["compressed"], abs=0.002)
        assert measured(backbone, cost["task"], base) == pytest.approx(cost["before"], abs=0.002)
        assert measured(backbone_in(of_rank_two), cost["task"], base) == pytest.approx(cost["full"], abs=0.002)


def test_packs_need_the_training_that_made_the_weights(base, before, of_rank_two):
    write_backbone(base / "nameless", backbone_in(of_rank_two), BACKBONE, {}, "now")
    value = {"what": "rank-energy", "before": "before", "after": "nameless", "compress": {"rank": 2}}

    with pytest.raises(DataError, match="nameless: which training made it is not known, so nothing can be measured"):
        of_named(value, base, "nameless-found")


# Trained here


@pytest.fixture(scope="module")
def seen(base) -> Analysis:
    """An analysis that trained both sides with two seeds; its bias holds every weight, so that nothing is lost."""
    every = {"targets": [], "replace": [*LAYER_GROUPS]}
    after = {"tasks": ["jpeg"], "train": {"stages": [{"steps": 3, "patch": 32, "images": 2}]}}
    value = {"what": "rank-energy", "seeds": [1, 2], "base": MIXED, "before": {}, "after": after, "compress": every}
    analysis = trained(value, base, "of-what-rank")
    write_rank_energy(analysis)
    return analysis


def test_a_bias_that_replaces_every_weight_loses_nothing_of_a_training(seen, base):
    costs = report_of(seen.run)["compressed"]

    assert [(cost["seed"], cost["task"]) for cost in costs] == [(1, "jpeg"), (2, "jpeg")]
    assert all(abs(cost["lost"]) < 0.002 for cost in costs)
    for cost in costs:
        told = report_of(RunDir(seen.run.members / f"after-s{cost['seed']}"))["sets"]["test"]["jpeg"]
        assert (cost["full"], cost["degraded"]) == pytest.approx((told["psnr"], told["psnr_input"]), abs=1e-6)
    assert "keeps 100.0% ± 0.0%" in page_of(seen.run) or "keeps 100.0% of the energy" in page_of(seen.run)


def test_the_pack_is_of_the_first_seed(seen):
    backbone, info = load_backbone(seen.run.backbone)
    before, after = (backbone_in(RunDir(seen.run.members / f"{side}-s1")) for side in ("before", "after"))
    bias = load_bias(read_pack(seen.run.pack("jpeg")), backbone)

    bias.merge_into(backbone)

    assert info.fingerprint == fingerprint(before)
    for name, weight in backbone.named_parameters():
        assert torch.allclose(weight, after.get_parameter(name), rtol=0, atol=1e-6), name


def test_what_the_seeds_say_is_told_with_its_deviation(seen):
    both = [each["budgets"] for each in report_of(seen.run)["seeds"].values()]

    table = table_of(page_of(seen.run), "rank")

    for number, budget in enumerate(both[0]):
        values = [100 * each[number]["constant"]["energy"] for each in both]
        told = table[str(budget["rank"])]["constant: energy"]
        assert told == f"{np.mean(values):.1f}% ± {np.std(values, ddof=1):.1f}%"
    ranks = [each["proposal"]["rank"] for each in report_of(seen.run)["seeds"].values()]
    assert report_of(seen.run)["proposal"]["rank"] == round(float(np.median(ranks)))
