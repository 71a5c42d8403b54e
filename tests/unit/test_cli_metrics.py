"""`metrics`: each step once as it counts, the same numbers as a table, as JSON and as CSV; curves in one line."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from ipt_platform.cli.metrics import metrics, show_coming
from ipt_platform.cli.sparkline import BARS, sparkline
from ipt_platform.errors import UsageError
from ipt_platform.observe.curves import follow_reports, report_of, reports_of
from ipt_platform.observe.events import append_event
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.observe.submitted import Submitted, keep_submitted

app = typer.Typer()
app.command()(metrics)


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    assert result.stderr == ""
    if result.exception:
        raise result.exception
    return result.stdout


def training(step: int, attempt: int = 1, loss: float = 0.05) -> dict:
    line = {"attempt": attempt, "step": step, "steps": 200, "loss": {"denoise": loss}, "lr": 3e-4, "bias_lr": None}
    return {**line, "images_per_second": 33.25, "data_wait_share": 0.013}


def evaluation(step: int, psnr: float, attempt: int = 1) -> dict:
    return {"attempt": attempt, "step": step, "evaluation": {"test": {"denoise": {"psnr": psnr, "ssim": 0.9}}}}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = create(tmp_path, "demo")
    append_event(run, "started", run.new_attempt(), steps=200)
    for line in (training(10, loss=0.09), training(20, loss=math.inf), evaluation(20, 28.514), training(30)):
        append_metrics(run, line)
    return run


def test_the_table_joins_an_evaluation_to_its_step(run: RunDir):
    lines = call("demo", "--storage", run.path.parent).splitlines()

    assert lines[0].split("  ")[-1] == "psnr test denoise"
    assert [line.split() for line in lines[1:4]] == [
        ["10", "0.0900", "3.00e-04", "33.2", "1.3%", "-"],
        ["20", "inf", "3.00e-04", "33.2", "1.3%", "28.51"],
        ["30", "0.0500", "3.00e-04", "33.2", "1.3%", "-"],
    ]
    assert lines[4] == ""
    assert lines[5].split() == ["loss", "denoise", "0.0900", f"{BARS[-1]}x{BARS[0]}", "0.0500"]


def test_only_the_last_reports(run: RunDir):
    assert [line.split()[:1] for line in call(run.path, "--tail", 1).splitlines()[:2]] == [["step"], ["30"]]
    assert [each["step"] for each in json.loads(call(run.path, "--tail", 2, "--json"))["reports"]] == [20, 30]


def test_json_and_csv_hold_the_same_numbers(run: RunDir):
    reports = json.loads(call(run.path, "--json"), parse_constant=lambda word: pytest.fail(word))["reports"]
    rows = list(csv.DictReader(io.StringIO(call(run.path, "--csv"))))

    assert [each["loss"]["denoise"] for each in reports] == [0.09, None, 0.05]
    assert [row["loss denoise"] for row in rows] == ["0.09", "", "0.05"]
    assert [each["psnr"] for each in reports] == [{}, {"test": {"denoise": 28.514}}, {}]
    assert [row["psnr test denoise"] for row in rows] == ["", "28.514", ""]
    assert [(each["step"], each["attempt"], each["time"]) for each in reports] == [
        (int(row["step"]), int(row["attempt"]), row["time"]) for row in rows
    ]
    assert list(rows[0])[3:] == ["loss denoise", "lr", "images_per_second", "data_wait_share", "psnr test denoise"]


def test_forms_that_exclude_each_other(run: RunDir):
    for pair in (("--csv", "--json"), ("--follow", "--json"), ("--follow", "--csv")):
        with pytest.raises(UsageError, match="give one of --follow, --csv and --json"):
            call(run.path, *pair)


def test_a_run_without_reports_says_why(tmp_path: Path):
    create(tmp_path, "new").new_attempt()

    assert call("new", "--storage", tmp_path).startswith("no reports yet: attempt 1 is led by process")


def test_following_ends_with_the_run_and_shows_what_came(run: RunDir):
    follower = Follower(run.metrics, from_end=True)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        append_metrics(run, training(40) if len(pauses) == 1 else evaluation(40, 29.0))
        if len(pauses) == 2:
            append_event(run, "finished", 1, step=40)

    seen = list(follow_reports(run, follower, sleep))

    assert [(each.step, each.loss, each.psnr) for each in seen] == [
        (40, {"denoise": 0.05}, {}),
        (40, {}, {"test": {"denoise": 29.0}}),
    ]


def test_following_waits_for_a_run_that_a_cluster_has_not_begun(tmp_path: Path):
    run = create(tmp_path, "demo")
    append_event(run, "created", 0)
    keep_submitted(run, Submitted("gpu", "http://h:1", "demo-1-abc123", "me@here"))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            append_event(run, "started", run.new_attempt(), step=0)
            append_metrics(run, training(10))
        if len(pauses) == 3:
            append_event(run, "finished", 1, step=10)

    assert [each.step for each in follow_reports(run, Follower(run.metrics), sleep)] == [10]
    assert len(pauses) == 3


def test_a_set_that_was_restored_perfectly_is_infinite(run: RunDir):
    append_metrics(run, {**evaluation(30, 0.0), "evaluation": {"test": {"denoise": {"psnr": None, "ssim": 1.0}}}})

    assert call("demo", "--storage", run.path.parent).splitlines()[3].split()[-1] == "inf"
    assert json.loads(call("demo", "--storage", run.path.parent, "--json"))["reports"][-1]["psnr"] == {
        "test": {"denoise": None}
    }


def test_rows_that_come_stand_under_headings_of_their_own():
    out = io.StringIO()

    show_coming(Console(file=out, soft_wrap=True), map(report_of, [training(40), evaluation(40, 29.0), training(50)]))

    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["step", "40", "step", "40", "50"]
    assert lines[1].split() == ["40", "0.0500", "3.00e-04", "33.2", "1.3%"]
    assert lines[3].split() == ["40", "-", "-", "-", "-", "29.00"]
    assert len({len(line) for line in lines[2:]}) == 1


def test_following_a_run_that_has_ended_shows_the_table(run: RunDir):
    append_event(run, "finished", 1, step=30)

    assert [line.split()[0] for line in call(run.path, "--follow", "--tail", 1).splitlines()] == ["step", "30"]


def test_steps_that_are_done_again_replace_all_that_was_reported_of_them():
    first = [training(1), training(2), evaluation(2, 20.0), training(3), training(4)]
    again = [training(3, attempt=2), evaluation(3, 25.0, attempt=2)]

    reports = reports_of([*first, *again])

    assert [(each.step, each.attempt) for each in reports] == [(1, 1), (2, 1), (3, 2)]
    assert [each.psnr for each in reports] == [{}, {"test": {"denoise": 20.0}}, {"test": {"denoise": 25.0}}]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
def test_every_step_stands_once_and_in_order_with_its_last_word(lines):
    """The second way to it: a step counts if no line after its last one has a smaller step."""
    given_lines = [
        evaluation(step, number) if measures else training(step, loss=number) for number, (measures, step) in enumerate(lines)
    ]

    reports = reports_of(given_lines)

    steps = [step for _, step in lines]
    counted = sorted({step for number, step in enumerate(steps) if min(steps[number:]) == step})
    assert [report.step for report in reports] == counted
    for report in reports:
        losses = [number for number, (measures, step) in enumerate(lines) if not measures and step == report.step]
        if losses and min(steps[losses[-1] :]) == report.step:
            assert report.loss == {"denoise": losses[-1]}


@given(st.lists(st.floats(), max_size=100), st.integers(1, 60))
def test_a_curve_has_a_bar_for_every_value_until_there_are_too_many(values, width):
    line = sparkline(values, width)

    assert len(line) == min(len(values), width)
    assert set(line) <= {*BARS, "x"}
    if len(values) <= width:
        assert [bar == "x" for bar in line] == [not math.isfinite(value) for value in values]
        finite = [value for value in values if math.isfinite(value)]
        shown = [BARS.index(bar) for bar in line if bar != "x"]
        assert all(shown[i] <= shown[j] for i, a in enumerate(finite) for j, b in enumerate(finite) if a <= b)


def test_curves_in_closed_form():
    assert sparkline(range(8)) == BARS
    assert sparkline([8, 8, 8]) == BARS[4] * 3
    assert sparkline([0, 0, 1, 1], width=2) == BARS[0] + BARS[-1]
    assert sparkline([]) == ""
