"""What a search leaves: CSV, best.yaml, report.json and report.md of trials that are made up here."""

import csv
import io
import json
import re
import statistics
from pathlib import Path

import cv2
import numpy as np
import pytest

from ipt_platform.errors import RefusedError
from ipt_platform.evaluate.report import make_report, read_report, write_report
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import FinetuneJob, TrainJob
from ipt_platform.spec.load import LoadedJob, load_job
from ipt_platform.spec.members import MemberFile
from ipt_platform.spec.source import Document
from ipt_platform.tune.members import Outcome
from ipt_platform.tune.outcome import csv_of, find_best, markdown_of, write_outcome
from ipt_platform.tune.plan import Plan
from ipt_platform.tune.trials import Suggestion, Trial
from tests.searches import TEXT, TRIALS, made, plan_of, scores


@pytest.fixture
def base(tmp_path) -> Path:
    """A working directory with shards (only their names matter here) and a folder of pictures."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "test").mkdir()
    return tmp_path


def repeated(plan: Plan, name: str, seed: int, psnr: float | None) -> Outcome:
    """A trial that was repeated with another seed; None: it failed."""
    run = create(plan.run.members, f"{name}-s{seed}")
    if psnr is not None:
        write_report(run.report, make_report("rgb-uint8", scores(psnr), 10, {}, 30, 1.0, 1.0, 0.0))
    member = MemberFile(run.id, Document({}, {}, ""), seed, name)
    return Outcome(member, run, "" if psnr is not None else "the loss is not finite")


# Which is the best


def test_without_repetitions_the_best_has_the_most_decibels(base):
    plan = plan_of(base, "search.repeat=[]")

    assert find_best(plan, TRIALS, []).best.name == "t002"


def test_trials_that_were_stopped_or_failed_are_never_the_best(base):
    trials = [made(1, 20.0, 9), made(2, 99.0, 9, "stopped", 10), made(3, 98.0, 9, "failed", 20)]

    assert find_best(plan_of(base, "search.repeat=[]"), trials, []).best.name == "t001"


def test_with_repetitions_the_best_has_the_highest_mean_over_seeds(base):
    """t002 was the best with the seed of the search, by luck."""
    plan = plan_of(base)
    repeats = [repeated(plan, "t002", 7, 25.0), repeated(plan, "t002", 8, 25.0)]
    repeats += [repeated(plan, "t003", 7, 26.4), repeated(plan, "t003", 8, 26.6)]

    found = find_best(plan, TRIALS, repeats)

    assert found.best.name == "t003"
    assert found.seeds == {"t002": {3: 27.0, 7: 25.0, 8: 25.0}, "t003": {3: 26.5, 7: 26.4, 8: 26.6}}


def test_a_trial_whose_repetition_failed_is_no_better_than_one_that_never_does(base):
    plan = plan_of(base)
    repeats = [repeated(plan, "t002", 7, None), repeated(plan, "t002", 8, None)]
    repeats += [repeated(plan, "t003", 7, 26.4), repeated(plan, "t003", 8, None)]

    found = find_best(plan, TRIALS, repeats)

    assert found.seeds == {"t002": {3: 27.0}, "t003": {3: 26.5, 7: 26.4}}
    assert found.best.name == "t003"


def test_only_the_best_of_the_search_are_repeated(base):
    plan = plan_of(base)

    members = [member for (member,) in plan.repeats(TRIALS)]

    assert [(member.id, member.seed, member.role) for member in members] == [
        ("t002-s7", 7, "t002"),
        ("t002-s8", 8, "t002"),
        ("t003-s7", 7, "t003"),
        ("t003-s8", 8, "t003"),
    ]
    assert [member.document.value["seed"] for member in members] == [7, 8, 7, 8]
    assert [member.document.value["model"]["bias"]["rank"] for member in members] == [2, 2, 3, 3]
    assert {member.document.value["storage"] for member in members} == {str(plan.run.members)}
    assert plan.total == 12 + 2 * 2


def test_the_front_is_of_those_that_finished(base):
    plan = plan_of(base)

    assert [trial.name for trial in find_best(plan, TRIALS, []).front] == ["t001", "t006", "t002"]


def test_knobs_are_judged_at_the_last_step_that_all_were_measured_at(base):
    """Those that were stopped early count too."""
    trials = [
        made(number, 20.0 + number, 9, "stopped" if number % 2 else "finished", 20 if number % 2 else 30)
        for number in range(1, 11)
    ]

    found = find_best(plan_of(base), trials, [])

    assert found.judged_at == 20
    (rank, *others) = found.knobs
    assert (rank.knob, rank.n, rank.beyond_chance) == ("model.bias.rank", 10, True)
    assert {each.knob for each in others} == {"model.bias.targets:qkv", "model.bias.targets:ffn", "train.ema"}
    assert all(each.why_not == "only one value was tried" for each in others)


def test_where_no_step_is_common_nothing_is_said_of_knobs(base):
    trials = [made(1, 25.0, 9), Trial(made(2, 1.0, 9).suggestion, RunDir(Path("r")), "stopped", curve={5: 24.0}, steps=30)]

    found = find_best(plan_of(base), trials, [])

    assert (found.judged_at, [*found.knobs]) == (0, [])


# The files


def rows_of(text: str) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(text))]


def test_the_csv_has_a_row_for_each_trial(base):
    rows = rows_of(csv_of(plan_of(base), TRIALS))

    assert [(row["trial"], row["state"], row["step"], row["steps"]) for row in rows] == [
        ("t001", "finished", "30", "30"),
        ("t002", "finished", "30", "30"),
        ("t003", "finished", "30", "30"),
        ("t004", "stopped", "10", "30"),
        ("t005", "failed", "0", "30"),
        ("t006", "finished", "30", "30"),
    ]
    one, failed = rows[0], rows[4]
    assert (float(one["psnr"]), float(one["psnr test denoise"]), float(one["psnr test deblur"])) == (25.0, 26.0, 24.0)
    assert (one["parameters"], float(one["share"]), float(one["seconds"])) == ("100", 0.1, 45.0)
    assert (one["model.bias.rank"], one["model.bias.targets"], one["train.ema"], one["source"]) == ("1", "ffn", "", "tpe")
    assert failed["reason"] == "step 3: the loss is not finite | =1+1"
    assert failed["psnr"] == failed["psnr test denoise"] == ""


def test_all_files_are_written_and_the_best_job_is_ready_to_be_submitted(base):
    plan = plan_of(base)
    repeats = [repeated(plan, name, seed, 26.0 + seed / 10) for name in ("t002", "t003") for seed in (7, 8)]

    write_outcome(plan, TRIALS, repeats, plan.run.new_attempt())

    files = {path.name for path in plan.run.path.iterdir() if path.is_file()}
    assert files == {"best.yaml", "pareto.png", "report.json", "report.md", "trials.csv"}
    best = load_job(plan.run.path / "best.yaml", base=base).job
    assert isinstance(best, TrainJob)
    assert (best.name, best.storage, best.seed) == ("search-best", "others", 3)
    assert (best.model.bias.rank, best.model.bias.targets, best.train.ema) == (2, ("ffn",), None)
    assert best.tasks.keys() == {"denoise", "deblur"}
    picture = cv2.imdecode(np.frombuffer((plan.run.path / "pareto.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert min(picture.shape[:2]) > 300
    assert rows_of((plan.run.path / "trials.csv").read_text()) == rows_of(csv_of(plan, TRIALS))


def test_an_attempt_that_was_taken_over_writes_nothing(base):
    plan = plan_of(base)
    stale, _ = plan.run.new_attempt(), plan.run.new_attempt()

    with pytest.raises(RefusedError, match="no longer owns run"):
        write_outcome(plan, TRIALS, [], stale)

    assert not [*plan.run.path.glob("report.*"), *plan.run.path.glob("best.yaml")]


def test_the_best_of_a_search_over_biases_alone_names_its_backbone_as_a_job_does(base):
    text = TEXT.replace("kind: train", "kind: finetune\n  backbone: general").replace(
        "  model: {backbone: iptv2-nano, bias: {rank: 4}}\n", ""
    )
    create(base / "others", "general").job.write_text("")
    plan = plan_of(base, text=text.replace("model.bias", "bias"))
    tried = Suggestion("t001", {"bias.rank": 5, "bias.targets": ["qkv"], "train.ema": None}, "tpe")
    trials = [Trial(tried, RunDir(base), "finished", curve={30: 25.0}, steps=30, parameters=9, backbone=99)]

    write_outcome(plan, trials, [], plan.run.new_attempt())

    best = load_job(plan.run.path / "best.yaml", base=base).job
    assert isinstance(best, FinetuneJob)
    assert (best.bias.rank, best.bias.targets) == (5, ("qkv",))
    assert (base / best.backbone).resolve() == (base / "others" / "general").resolve()


def test_a_long_name_is_cut_so_that_the_best_job_has_one(base):
    plan = plan_of(base, text=TEXT.replace("name: search", f"name: {'a' * 63}"))

    write_outcome(plan, TRIALS, [], plan.run.new_attempt())

    assert load_job(plan.run.path / "best.yaml", base=base).job.name == f"{'a' * 58}-best"


def test_the_report_for_programs(base):
    plan = plan_of(base)
    repeats = [repeated(plan, "t002", 7, 27.5), repeated(plan, "t002", 8, 28.0)]
    repeats += [repeated(plan, "t003", 7, 26.0), repeated(plan, "t003", 8, 26.8)]

    write_outcome(plan, TRIALS, repeats, plan.run.new_attempt())

    report = read_report(plan.run.report)
    assert (report["kind"], report["protocol"]) == ("tune", "rgb-uint8")
    assert report["best"] == {"trial": "t002", "values": TRIALS[1].suggestion.values, "psnr": 27.0}
    assert report["pareto"] == ["t001", "t006", "t002"]
    assert [(each["trial"], each["state"], each["psnr"]) for each in report["trials"]] == [
        *(("t001", "finished", 25.0), ("t002", "finished", 27.0), ("t003", "finished", 26.5)),
        *(("t004", "stopped", 22.0), ("t005", "failed", None), ("t006", "finished", 26.0)),
    ]
    assert report["trials"][0]["curve"] == {"10": 23.0, "20": 24.0, "30": 25.0}
    assert report["trials"][4]["reason"] == TRIALS[4].reason
    assert (report["steps"], report["steps_of_all"]) == (130, 180)
    assert report["sets"] == scores(27.0)
    seeds = report["seeds"]["t002"]
    assert seeds["psnr"] == {"3": 27.0, "7": 27.5, "8": 28.0}
    assert (seeds["mean"], seeds["n"]) == (pytest.approx(27.5), 3)
    assert seeds["deviation"] == pytest.approx(statistics.stdev([27.0, 27.5, 28.0]))
    (pair,) = report["paired"]
    assert (pair["one"], pair["other"], pair["n"]) == ("t002", "t003", 3)
    assert pair["mean"] == pytest.approx(statistics.mean([0.5, 1.5, 1.2]))
    assert report["importance"]["step"] == 10  # that at which the stopped one was measured
    assert {each["knob"] for each in report["importance"]["knobs"]} >= {"model.bias.rank", "train.ema"}


def section(page: str, heading: str) -> str:
    return page.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_the_report_for_people(base):
    plan = plan_of(base)
    repeats = [repeated(plan, name, seed, 26.0 + seed / 10 + (name == "t002")) for name in ("t002", "t003") for seed in (7, 8)]

    page = markdown_of(plan, find_best(plan, TRIALS, repeats))

    assert page.startswith("# search: rank 2, targets ffn, ema None\n")
    assert "6 trials (4 finished, 1 stopped, 1 failed)" in page
    assert "130 of 180 steps were trained" in page
    front = section(page, "Best and Pareto front")
    assert re.findall(r"^\| (t\d+)", front, re.MULTILINE) == ["t001", "t006", "t002"]
    assert "| t002 (best) | rank 2, targets ffn, ema None | 27.000 | 200 (20.0%) | 30/30 | finished |" in front
    trials = section(page, "Trials")
    assert re.findall(r"^\| (t\d+)", trials, re.MULTILINE) == [trial.name for trial in TRIALS]
    assert r"failed: step 3: the loss is not finite \| =1+1 |" in trials  # a bar would end the cell
    assert "at step 10," in section(page, "Importance of the knobs")
    seeds = section(page, "Over seeds")
    assert re.findall(r"^\| (t\d+)", seeds, re.MULTILINE) == ["t002", "t003"]
    mean = statistics.mean([27.0, 27.7, 27.8])
    assert f"| t002 | {mean:.3f} ± {statistics.stdev([27.0, 27.7, 27.8]):.3f} | 3 |" in seeds


def test_without_repetitions_the_page_speaks_of_no_seeds(base):
    plan = plan_of(base, "search.repeat=[]")

    assert "Over seeds" not in markdown_of(plan, find_best(plan, TRIALS, []))


def test_every_cell_of_the_page_stands_in_a_table_of_as_many_columns(base):
    plan = plan_of(base)
    page = markdown_of(plan, find_best(plan, TRIALS, [repeated(plan, "t002", 7, 27.0)]))

    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_a_plan_is_refused_no_value_that_a_job_can_have(base):
    plan = plan_of(base)

    assert plan.possible({"model.bias.rank": 9, "train.ema": None})
    assert not plan.possible({"model.bias.rank": 0})
    assert not plan.possible({"model.bias.targets": ["norm"]})


def test_the_report_is_json_that_every_reader_takes(base):
    plan = plan_of(base)
    write_outcome(plan, TRIALS, [], plan.run.new_attempt())

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(plan.run.report.read_text(), parse_constant=refuse)


def test_a_whole_grid_is_counted(base):
    text = TEXT.replace("model.bias.rank: {min: 1, max: 64}", "model.bias.rank: {choices: [1, 2]}").replace(
        "  trials: 12\n", "  searcher: grid\n"
    )
    plan = plan_of(base, "search.repeat=[]", text=text)

    assert plan.total == 2 * 3 * 2
    assert isinstance(plan.loaded, LoadedJob)
