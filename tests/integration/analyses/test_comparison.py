"""`what: comparison`: variants that are trained in this process, one of which fails, and a chain of two jobs."""

from contextlib import chdir
from pathlib import Path

import pytest

from ipt_platform.data.index import load_index
from ipt_platform.data.pack import pack
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import FinetuneJob, TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.comparison import measured, write_comparison
from tests.integration.analyses.jobs_here import BASE, make_base, page_of, report_of, table_of, trained

VARIANTS = {
    "mixed": {"train": {"mode": "mixed"}},
    "two-stage": [
        {"train": {"mode": "mixed", "stages": [{"steps": 2, "patch": 32, "images": 2}]}},
        {
            "kind": "finetune",
            "train": {"stages": [{"steps": 3, "patch": 32, "images": 2}]},
            "bias": {"rank": 2, "targets": ["output"]},
        },
    ],
    "damaged": {"data": {"shards": "damaged/*.tar", "max_bad": 0.0}},
}
SEEDS = [0, 1]
JOBS = [("mixed", ""), ("two-stage", "-1"), ("two-stage", "-2"), ("damaged", "")]


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    """A working directory with a second shard, in which a picture is damaged."""
    folder = make_base(tmp_path_factory.mktemp("base"), photograph)
    pack(folder / "photos", folder / "damaged")
    (shard,) = (folder / "damaged").glob("*.tar")
    with shard.open("r+b") as file:
        file.seek(load_index(shard).members[1].offset + 8)
        file.write(bytes(64))
    return folder


@pytest.fixture(scope="module")
def seen(base, one_thread) -> Analysis:
    value = {
        "what": "comparison",
        "seeds": SEEDS,
        "base": BASE,
        "variants": VARIANTS,
        "claims": ["two-stage > mixed", "mixed > damaged"],
    }
    analysis = trained(value, base, "side-by-side")
    with chdir(base):
        write_comparison(analysis)
    return analysis


def sets_of(analysis: Analysis, job: str) -> dict:
    return report_of(RunDir(analysis.run.members / job))["sets"]["test"]


def test_a_chain_goes_on_with_the_weights_of_the_job_before_it(seen, base):
    ids = [outcome.member.id for outcome in seen.outcomes]

    assert ids == [f"{job}-s{seed}{number}" for seed in SEEDS for job, number in JOBS]
    second = load_job(seen.run.members / "two-stage-s1-2" / "job.yaml", base=base).job
    assert isinstance(second, FinetuneJob)
    assert base / second.backbone == seen.run.members / "two-stage-s1-1"
    assert (second.seed, second.bias.rank, second.bias.targets) == (1, 2, ("output",))


def test_a_chain_counts_by_its_last_job(seen):
    variants, quantities = measured(seen)

    assert quantities == ["denoise", "jpeg", "mean"]
    for seed in SEEDS:
        told = sets_of(seen, f"two-stage-s{seed}-2")
        for task in ("denoise", "jpeg"):
            assert variants["two-stage"][task][seed] == told[task]["psnr"]
            assert variants["mixed"][task][seed] == sets_of(seen, f"mixed-s{seed}")[task]["psnr"]
        assert variants["two-stage"]["mean"][seed] == pytest.approx((told["denoise"]["psnr"] + told["jpeg"]["psnr"]) / 2)
        assert told != sets_of(seen, f"two-stage-s{seed}-1")


def test_a_variant_that_failed_is_a_row_with_its_reason_and_the_others_are_judged(seen):
    report, page = report_of(seen.run), page_of(seen.run)

    assert report["failures"].keys() == {"damaged-s0", "damaged-s1"}
    assert all("more than data.max_bad 0 allows" in reason for reason in report["failures"].values())
    assert report["variants"]["damaged"] == {}
    row = table_of(page, "variant")["damaged"]
    assert [cell for head, cell in row.items() if "(dB)" in head] == ["–"] * 3
    assert "* damaged-s1: " in page
    assert len(report["claims"]["two-stage > mixed"]["steps"]) == 1
    assert report["claims"]["two-stage > mixed"]["steps"][0]["paired"]["n"] == len(SEEDS)
    assert report["claims"]["mixed > damaged"]["overall"] == "undecided"
    assert report["best"] in ("mixed", "two-stage")


def test_shares_of_the_backbone_are_those_of_one_task_bias(seen):
    shares = report_of(seen.run)["bias_share"]

    parameters = report_of(RunDir(seen.run.members / "two-stage-s0-2"))["parameters"]
    assert shares["mixed"] == 0
    assert shares["two-stage"] == pytest.approx(parameters["bias"]["jpeg"] / parameters["backbone"])
    assert table_of(page_of(seen.run), "variant")["mixed"]["bias, share of backbone"] == "–"


def test_the_best_variant_is_proposed_where_one_job_is_all_of_it(seen, base):
    best = report_of(seen.run)["best"]
    proposal = seen.run.path / "proposal.yaml"

    assert proposal.is_file() == (best == "mixed")
    if proposal.is_file():
        job = load_job(proposal, base=base).job
        assert isinstance(job, TrainJob)
        assert (job.name, job.storage, job.train.mode) == ("side-by-side-mixed", "runs", "mixed")
