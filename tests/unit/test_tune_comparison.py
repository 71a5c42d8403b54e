"""A comparison of variants, of reports that are written down here: what is judged, shown and proposed."""

import json
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from ipt_platform.errors import RefusedError, SpecError, TrainingError
from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.spec.members import member_chains
from ipt_platform.tune.analyze import Analysis
from ipt_platform.tune.comparison import measured, write_comparison
from ipt_platform.tune.members import Outcome

BASE = {
    "kind": "train",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {"stages": [{"steps": 6, "patch": 32, "images": 2}]},
    "evaluate": {"sets": ["test"]},
}
ONE = {
    "apiVersion": "ipt/v1",
    "kind": "analyze",
    "what": "comparison",
    "name": "table",
    "seeds": [0, 1, 2],
    "base": BASE,
    "variants": {
        "mixed": {"train": {"mode": "mixed"}},
        "two-stage": [{"train": {"mode": "mixed"}}, {"kind": "train", "train": {"mode": "synchronous"}}],
        "synchronous": {},
    },
}
Measured = Mapping[str, Mapping[int, Any]]
"""dB by task, or why it failed, by variant and seed."""

CLEAR = {
    "mixed": {0: {"denoise": 30.0, "deblur": 25.0}, 1: {"denoise": 30.2, "deblur": 25.1}, 2: {"denoise": 30.1, "deblur": 24.9}},
    "two-stage": {
        0: {"denoise": 30.1, "deblur": 25.0},
        1: {"denoise": 30.2, "deblur": 25.0},
        2: {"denoise": 30.1, "deblur": 25.0},
    },
    "synchronous": {
        0: {"denoise": 31.0, "deblur": 26.0},
        1: {"denoise": 31.3, "deblur": 26.0},
        2: {"denoise": 31.0, "deblur": 26.2},
    },
}


@pytest.fixture
def base(tmp_path) -> Path:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "test").mkdir()
    (tmp_path / "other").mkdir()
    return tmp_path


def told(folder: Path, numbers: Measured, sets: tuple[str, ...] = ("test",), **changes: Any) -> Analysis:
    """An analysis whose jobs are over, with these reports; the first job of a chain got 10 dB."""
    (folder / "table.yaml").write_text(yaml.safe_dump({**ONE, **changes}, sort_keys=False))
    loaded, run = load_job(folder / "table.yaml", base=folder), create(folder / "runs", "table")
    outcomes = []
    for chain in member_chains(loaded.document, str(run.members), folder / "runs"):
        for member in chain:
            own, found = RunDir(run.members / member.id), numbers[member.role][member.seed]
            own.path.mkdir(parents=True)
            own.job.write_text(dump_job(JOB.validate_python(member.document.value)))
            if isinstance(found, str) and member is chain[-1]:
                outcomes.append(Outcome(member, own, found))
                continue
            psnr = found if isinstance(found, dict) and member is chain[-1] else {"denoise": 10.0, "deblur": 10.0}
            scores = {
                name: {task: {"psnr": value, "psnr_input": 9.0, "ssim": 0.5, "n": 2} for task, value in psnr.items()}
                for name in sets
            }
            write_report(own.report, make_report("rgb-uint8", scores, 50_000, {}, 6, 1.0, 1.0, 0.0))
            outcomes.append(Outcome(member, own))
    return Analysis(loaded, run, folder, outcomes, run.new_attempt())


def written(folder: Path, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], str]:
    """Both reports of such an analysis."""
    analysis = told(folder, *args, **kwargs)
    with chdir(folder):
        write_comparison(analysis)

    def refuse(word: str) -> None:
        raise AssertionError(f"JSON knows no {word}")

    page = (analysis.run.path / "report.md").read_text()
    return json.loads(analysis.run.report.read_bytes(), parse_constant=refuse), page


def cells(page: str) -> dict[str, dict[str, str]]:
    """The table of variants: by variant and column."""
    lines = page[page.index("| variant |") :].split("\n\n")[0].splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: dict(zip(heads, row, strict=True)) for row in rows}


def test_the_last_job_of_a_chain_counts(base):
    variants, quantities = measured(told(base, CLEAR))

    assert quantities == ["denoise", "deblur", "mean"]
    assert variants == {
        name: {
            **{task: {seed: each[task] for seed, each in seeds.items()} for task in ("denoise", "deblur")},
            "mean": {seed: pytest.approx((each["denoise"] + each["deblur"]) / 2) for seed, each in seeds.items()},
        }
        for name, seeds in CLEAR.items()
    }


def test_of_several_sets_each_is_a_column(base):
    data = {**BASE, "evaluate": {"sets": ["test", "other"]}}

    variants, quantities = measured(told(base, CLEAR, sets=("test", "other"), base=data))

    assert quantities == ["denoise, test", "deblur, test", "denoise, other", "deblur, other", "mean"]
    assert variants["mixed"]["deblur, other"] == {0: 25.0, 1: 25.1, 2: 24.9}
    assert variants["mixed"]["mean"][0] == pytest.approx(27.5)


def test_of_one_task_the_mean_is_all(base):
    numbers = {name: {seed: {"denoise": each["denoise"]} for seed, each in seeds.items()} for name, seeds in CLEAR.items()}

    variants, quantities = measured(told(base, numbers, base={**BASE, "tasks": ["denoise"]}))

    assert quantities == ["mean"]
    assert variants["synchronous"]["mean"] == {0: 31.0, 1: 31.3, 2: 31.0}


def test_claims_are_judged_on_the_mean_by_a_paired_test(base):
    claims = ["synchronous > mixed", "synchronous > two-stage > mixed", "mixed > synchronous", "two-stage >= mixed"]

    report, page = written(base, CLEAR, claims=claims)

    overall = {text: judged["overall"] for text, judged in report["claims"].items()}
    assert overall == dict(zip(claims, ("holds", "undecided", "does not hold", "holds"), strict=True))
    assert [f"* `{text}`: **{word}**" in page for text, word in overall.items()] == [True] * 4
    (step,) = report["claims"]["synchronous > mixed"]["steps"]
    means = [[(each["denoise"] + each["deblur"]) / 2 for each in CLEAR[name].values()] for name in ("synchronous", "mixed")]
    assert step["paired"]["p"] == pytest.approx(stats.ttest_rel(means[0], means[1]).pvalue)
    assert "two-stage >= mixed: holds (not lower beyond the noise;" in page


def test_what_contradicts_a_claim_is_listed_though_every_step_holds(base):
    psnr = {"synchronous": (30.0, 30.0, 30.0), "two-stage": (30.0, 30.3, 30.1), "mixed": (30.31, 30.30, 30.32)}
    numbers = {name: {seed: {"denoise": v, "deblur": v} for seed, v in enumerate(values)} for name, values in psnr.items()}

    report, page = written(base, numbers, claims=["synchronous >= two-stage >= mixed"])

    (judged,) = report["claims"].values()
    assert [step["outcome"] for step in judged["steps"]] == ["holds", "holds"]
    assert "synchronous >= mixed: does not hold (lower beyond the noise;" in page


def test_an_attempt_that_was_taken_over_writes_nothing(base):
    analysis = told(base, CLEAR)
    analysis.run.new_attempt()

    with chdir(base), pytest.raises(RefusedError, match="no longer owns run table"):
        write_comparison(analysis)

    assert not [*analysis.run.path.glob("report.*"), *analysis.run.path.glob("proposal.yaml")]


def test_only_what_is_higher_beyond_the_noise_is_bold(base):
    _, page = written(base, CLEAR)

    table = cells(page)
    assert table["synchronous"]["mean (dB)"].startswith("**28.583 ± ")
    assert [name for name, row in table.items() for cell in row.values() if "**" in cell] == ["synchronous"] * 3


def test_with_one_seed_nothing_is_bold_and_no_claim_holds(base):
    report, page = written(base, CLEAR, seeds=[0], claims=["synchronous > mixed"])

    assert report["claims"]["synchronous > mixed"]["overall"] == "undecided"
    assert not any("**" in cell for row in cells(page).values() for cell in row.values())
    assert report["seeds"] == [0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_a_variant_that_failed_is_shown_and_the_others_are_judged(base, seeds):
    numbers = {**CLEAR, "two-stage": {**CLEAR["two-stage"], **dict.fromkeys(seeds, "the loss is not finite")}}
    claims = ["synchronous > mixed", "synchronous > two-stage"]

    report, page = written(base, numbers, claims=claims)

    assert report["failures"] == {f"two-stage-s{seed}-2": "the loss is not finite" for seed in seeds}
    assert f"* two-stage-s{seeds[-1]}-2: the loss is not finite" in page
    assert report["claims"]["synchronous > mixed"]["overall"] == "holds"
    (step,) = report["claims"]["synchronous > two-stage"]["steps"]
    assert step["paired"]["n"] == 3 - len(seeds)
    row = cells(page)["two-stage"]
    assert (row["mean (dB)"] == "–") == (len(seeds) == 3)
    assert report["best"] == "synchronous"


def test_where_every_variant_failed_that_is_said_with_a_reason(base):
    """The first job of each chain came to its end, the second did not."""
    chains = {name: [{}, {"kind": "train"}] for name in ("one", "other")}
    numbers = {name: dict.fromkeys((0, 1, 2), "the loss is not finite") for name in chains}

    with pytest.raises(TrainingError, match="none of the variants came to its end: the loss is not finite"):
        written(base, numbers, variants=chains)


def test_a_comparison_without_test_sets_is_refused_before_anything_is_trained(base):
    """Its variants could not be told apart."""
    with pytest.raises(SpecError, match=r"evaluate\.sets"):
        told(base, CLEAR, base={**BASE, "evaluate": {}})


def test_the_best_variant_is_ready_to_be_submitted(base):
    written(base, CLEAR)

    job = load_job(base / "runs" / "table" / "proposal.yaml", base=base).job

    assert isinstance(job, TrainJob)
    assert (job.name, job.storage, job.seed, job.train.mode) == ("table-synchronous", "runs", 0, "synchronous")


def test_a_chain_that_is_best_is_named_and_no_one_job(base):
    numbers = {**CLEAR, "two-stage": CLEAR["synchronous"], "synchronous": CLEAR["two-stage"]}

    report, _ = written(base, numbers)

    assert report["best"] == "two-stage"
    assert not (base / "runs" / "table" / "proposal.yaml").exists()


def test_the_numbers_of_the_paper_stand_beside_ours(base):
    paper = {
        "table": "Table 3",
        "columns": ["GoPro", "HIDE"],
        "rows": {"mixed": [32.81, 30.75], "synchronous": [33.86, None]},
        "differs": "the backbone is five hundred times smaller.",
    }

    report, page = written(base, CLEAR, paper=paper)

    table = cells(page)
    assert [table["mixed"][f"paper: {column}"] for column in paper["columns"]] == ["32.81", "30.75"]
    assert table["synchronous"]["paper: GoPro"] == "33.86"
    assert table["synchronous"]["paper: HIDE"] == table["two-stage"]["paper: GoPro"] != "33.86"
    assert page.startswith("# table: Table 3 of the paper\n")
    assert "What differs from the paper: the backbone is five hundred times smaller." in page
    assert "paper" not in report


def test_how_it_was_trained_stands_above_the_table(base):
    _, page = written(base, CLEAR, scale="cpu", scales={"cpu": {}})

    assert "Tasks denoise, deblur; seeds 0, 1, 2; PSNR as `rgb-uint8` on test." in page
    assert "Scale `cpu`." in page


def test_the_report_for_programs_has_every_number(base):
    report, _ = written(base, CLEAR)

    assert (report["kind"], report["what"], report["seeds"], report["scale"]) == ("analyze", "comparison", [0, 1, 2], None)
    assert report["variants"]["mixed"]["denoise"] == {"0": 30.0, "1": 30.2, "2": 30.1}
    assert report["bias_share"]["mixed"] == 0
    assert 0 < report["bias_share"]["synchronous"] == report["bias_share"]["two-stage"] < 1
    assert report["failures"] == {}


def test_relative_paths_of_the_jobs_are_relative_to_the_base_wherever_the_process_runs(base, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    write_comparison(told(base, CLEAR))

    assert (base / "runs" / "table" / "report.md").is_file()
