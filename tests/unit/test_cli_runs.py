"""`ls`, `status` and `logs` as a user calls them."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from ipt_platform.cli.logs import logs
from ipt_platform.cli.output import duration, table
from ipt_platform.cli.runs import ls, status
from ipt_platform.errors import NotFoundError, TrainingError, UsageError
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.logs import follow_lines
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.observe.submitted import Submitted, keep_submitted

LINE = {
    "attempt": 1,
    "step": 120,
    "steps": 200,
    "loss": {"denoise": 0.05, "deblur": 0.0712},
    "images_per_second": 33.25,
    "data_wait_share": 0.013,
    "eta_seconds": 187.0,
}

app = typer.Typer()
for command in (ls, status, logs):
    app.command()(command)


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    assert result.stderr == ""
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = create(tmp_path, "demo")
    append_event(run, "started", run.new_attempt(), steps=200)
    append_metrics(run, LINE)
    append_metrics(run, {"step": 120, "evaluation": {"sample-test": {"denoise": {"psnr": 28.514}}}})
    run.logs(1, 0).write_text("first\nsecond\n")
    run.logs(1, "driver").write_text("hello [bold]\x1b[2J\n")
    return run


def test_ls_lists_one_run_per_line(run: RunDir):
    create(run.path.parent, "later").new_attempt()

    lines = call("ls", "--storage", run.path.parent).splitlines()

    assert lines[0].split() == ["run", "state", "step", "%", "eta", "attempt", "loss", "psnr", "updated"]
    assert [line.split()[0] for line in lines[1:]] == ["later", "demo"]
    assert lines[2].split()[1:6] == ["running", "120/200", "60%", "3m07s", "1"]
    assert "denoise 0.0500, deblur 0.0712" in lines[2]
    assert "28.51" in lines[2]


def test_ls_of_nothing(tmp_path: Path):
    assert "no runs in" in call("ls", "--storage", tmp_path / "nowhere")
    assert json.loads(call("ls", "--storage", tmp_path / "nowhere", "--json")) == []


def test_json_is_one_document_with_the_whole_state(run: RunDir):
    storage = run.path.parent

    listed = json.loads(call("ls", "--storage", storage, "--json"))
    shown = json.loads(call("status", "demo", "--storage", storage, "--json"))
    logged = json.loads(call("logs", "demo", "--storage", storage, "--json"))

    assert [each["run_id"] for each in listed] == ["demo"]
    assert (shown["state"], shown["step"], shown["steps"], shown["eta"]) == ("running", 120, 200, 187.0)
    assert shown["psnr"] == {"sample-test": {"denoise": 28.514}}
    assert shown["events"][-1]["type"] == "started"
    assert {each["rank"]: each["lines"] for each in logged["logs"]}["0"] == ["first", "second"]


def test_numbers_beyond_json_become_null(run: RunDir):
    append_metrics(run, {**LINE, "loss": {"denoise": float("nan")}})

    shown = json.loads(call("status", run.path, "--json"), parse_constant=lambda word: pytest.fail(word))

    assert shown["loss"] == {"denoise": None}


def test_status_says_in_one_sentence_why(run: RunDir):
    append_ending(run, 1, TrainingError("the loss of deblur is not finite"), step=120)

    lines = call("status", "demo", "--storage", run.path.parent).splitlines()

    assert lines[0].startswith("demo: failed: the loss of deblur is not finite (after step 120 of 200); submitting")
    assert any(line.split() == ["PSNR", "on", "sample-test", "denoise", "28.51", "dB"] for line in lines)
    assert any(line.split() == ["failure", "user"] for line in lines)
    assert lines[-1].endswith("failed step 120 class=user exit_code=5: the loss of deblur is not finite")


def test_a_run_that_is_not_there(run: RunDir):
    with pytest.raises(NotFoundError, match="did you mean demo"):
        call("status", "dmo", "--storage", run.path.parent)


def test_logs_of_all_ranks_carry_the_rank_and_cannot_steer_the_terminal(run: RunDir):
    lines = call("logs", "demo", "--storage", run.path.parent).splitlines()

    assert lines == ["0 | first", "0 | second", "driver | hello [bold]\\x1b[2J"]


def test_logs_of_one_rank(run: RunDir):
    storage = run.path.parent
    assert call("logs", "demo", "--rank", 0, "-n", 1, "--storage", storage) == "second\n"

    with pytest.raises(NotFoundError, match="no log '3'; there are: 0, driver"):
        call("logs", "demo", "--rank", 3, "--storage", storage)
    with pytest.raises(NotFoundError, match="no logs of attempt 2"):
        call("logs", "demo", "--attempt", 2, "--storage", storage)
    with pytest.raises(UsageError, match="--follow"):
        call("logs", "demo", "--follow", "--json", "--storage", storage)


def test_logs_follow_ends_with_the_run(run: RunDir):
    append_event(run, "finished", 1, step=200)

    assert call("logs", "demo", "--rank", 0, "--follow", "--storage", run.path.parent) == "first\nsecond\n"


def test_what_is_logged_while_following_comes_once_and_to_the_last_line(tmp_path: Path):
    path = tmp_path / "0.log"
    path.write_text("old\n")
    follower = Follower(path, from_end=True)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        with path.open("a") as file:
            file.write(f"new {len(pauses)}\n")

    seen = list(follow_lines({(1, "0"): follower}, dict, lambda: len(pauses) < 3, sleep))

    assert seen == [((1, "0"), "new 1"), ((1, "0"), "new 2"), ((1, "0"), "new 3")]


def test_a_rank_whose_log_appears_while_following_is_followed_too(run: RunDir):
    for path in run.log_files(1).values():
        path.unlink()
    run.logs(1, 0).write_text("old\n")
    followers = {(1, "0"): Follower(run.logs(1, 0), from_end=True)}
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        for rank in range(len(pauses)):
            with run.logs(1, rank).open("a") as file:
                file.write(f"rank {rank} says {len(pauses)}\n")

    def appeared() -> dict[tuple[int, str], Path]:
        return {(1, name): path for name, path in run.log_files(1).items()}

    seen = list(follow_lines(followers, appeared, lambda: len(pauses) < 3, sleep))

    assert [(name, line) for (_, name), line in seen] == [
        ("0", "rank 0 says 1"),
        ("0", "rank 0 says 2"),
        ("1", "rank 1 says 2"),
        ("0", "rank 0 says 3"),
        ("1", "rank 1 says 3"),
        ("2", "rank 2 says 3"),
    ]


def test_a_table_off_a_terminal_keeps_one_row_per_line():
    out = io.StringIO()

    table(Console(file=out, width=20), ("a", "b"), [("x" * 50, "1\n2"), ("[red]", "y")], right=("b",))

    assert out.getvalue().splitlines() == ["a" + " " * 49 + "     b", "x" * 50 + "  1\\n2", "[red]" + " " * 45 + "     y"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m00s"), (187, "3m07s"), (7505, "2h05m"), (356400, "4d03h"), (None, "-")],
)
def test_durations(seconds: float | None, text: str):
    assert duration(seconds) == text


def test_time_is_utc(run: RunDir):
    assert datetime.fromisoformat(json.loads(call("status", run.path, "--json"))["updated"]).tzinfo == UTC


LOGGED = """\
2026-11-26 11:00:00,100 INFO a: begun
2026-11-26 11:00:01,100 ERROR a: ended by an error
ValueError: nothing
2026-11-26 11:00:02,100 INFO a: cleared up
"""


def test_logs_of_a_level_and_above_come_with_their_tracebacks(run: RunDir):
    run.logs(1, 0).write_text(LOGGED)
    of = ("demo", "--rank", 0, "--storage", run.path.parent)

    assert call("logs", *of, "--level", "error").splitlines() == LOGGED.splitlines()[1:3]
    assert call("logs", *of, "--level", "error", "-n", 1) == "ValueError: nothing\n"
    assert call("logs", *of, "--grep", "begun|up$").splitlines() == LOGGED.splitlines()[::3]
    assert json.loads(call("logs", *of, "--since", "2026-11-26T11:00:02", "--json"))["logs"][0]["lines"] == [
        LOGGED.splitlines()[3]
    ]
    assert call("logs", *of, "--since", "2026-11-26T11:00:03") == ""
    with pytest.raises(UsageError, match="--grep"):
        call("logs", *of, "--grep", "[")


def test_following_shows_what_is_asked_for_and_nothing_else(run: RunDir):
    run.logs(1, 0).write_text(LOGGED)
    append_event(run, "finished", 1, step=200)

    assert call("logs", "demo", "--follow", "--level", "error", "--storage", run.path.parent).splitlines() == [
        f"0 | {line}" for line in LOGGED.splitlines()[1:3]
    ]


@pytest.mark.parametrize("rank", [None, "0"])
def test_following_goes_on_where_lost_workers_are_replaced(run: RunDir, monkeypatch, rank: str | None):
    run.logs(1, 0).write_text("of the first\n")
    turns = iter(range(4))

    def turn(seconds: float) -> None:
        match next(turns):
            case 0:
                append_event(run, "worker-lost", 1, reason="killed")
            case 1:
                append_event(run, "resumed", run.new_attempt(), step=100)
                run.logs(2, "driver").write_text("replaced\n")
                with run.logs(1, 0).open("a") as log:
                    log.write("the last of the first\n")
            case 2:
                run.logs(2, 0).write_text("of the second\n")
            case 3:
                append_event(run, "finished", 2, step=200)

    monkeypatch.setattr("ipt_platform.cli.logs.time.sleep", turn)

    said = call("logs", "demo", "--follow", *(["--rank", rank] if rank else []), "--storage", run.path.parent).splitlines()

    wanted = ["of the first", "the last of the first", "of the second"]
    if rank:
        assert said == wanted
    else:
        assert said == [
            "0 | of the first",
            "driver | hello [bold]\\x1b[2J",
            f"0 | {wanted[1]}",
            "driver | replaced",
            f"0 | {wanted[2]}",
        ]


def test_following_waits_for_a_run_that_a_cluster_has_not_begun(tmp_path: Path, monkeypatch):
    run = create(tmp_path, "demo")
    append_event(run, "created", 0, kind="train", steps=200)
    with pytest.raises(NotFoundError, match="run demo has no logs of attempt 0"):
        call("logs", "demo", "--follow", "--storage", tmp_path)
    keep_submitted(run, Submitted("gpu", "http://h:1", "demo-1-abc123", "me@here"))
    turns = iter(range(3))

    def turn(seconds: float) -> None:
        match next(turns):
            case 1:
                append_event(run, "started", run.new_attempt(), step=0)
                run.logs(1, 0).write_text("begun\n")
            case 2:
                append_event(run, "finished", 1, step=200)

    monkeypatch.setattr("ipt_platform.cli.logs.time.sleep", turn)

    assert call("logs", "demo", "--follow", "--storage", tmp_path) == "0 | begun\n"


def test_a_picture_that_was_restored_perfectly_is_shown_as_infinite(run: RunDir):
    """`evaluate.run.summarise` writes null where no picture of a set has an error."""
    append_metrics(run, {"step": 130, "evaluation": {"sample-test": {"denoise": {"psnr": None}, "deblur": {"psnr": 30.0}}}})
    other = create(run.path.parent, "other")
    append_event(other, "started", other.new_attempt(), step=0)
    append_metrics(other, {"step": 1, "evaluation": {"sample-test": {"denoise": {"psnr": 60.0}}}})
    here = ("--storage", run.path.parent)

    assert "denoise inf, deblur 30.00" in call("ls", *here)
    assert listed(*here, "--sort", "psnr") == ["demo", "other"]
    assert "denoise inf, deblur 30.00 dB" in call("status", run.path)
    assert json.loads(call("status", run.path, "--json"))["psnr"] == {"sample-test": {"denoise": None, "deblur": 30.0}}


def listed(*arguments: object) -> list[str]:
    return [each["run_id"] for each in json.loads(call("ls", *arguments, "--json"))]


def test_ls_shows_the_runs_that_are_asked_for_in_the_order_that_is_asked_for(tmp_path: Path):
    for number, (name, kind, ending, psnr) in enumerate(
        [("rain-1", "train", "failed", 20.0), ("rain-2", "tune", "finished", 30.0), ("haze-1", "train", "finished", None)]
    ):
        made = create(tmp_path, name)
        append_event(made, "created", 0, kind=kind, steps=100, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
        attempt = made.new_attempt()
        if psnr:
            append_metrics(made, {"step": 1, "evaluation": {"s": {"t": {"psnr": psnr}}}})
        append_event(made, ending, attempt, step=100 - number, clock=lambda n=number: datetime(2027, 1, 1 + n, tzinfo=UTC))
    here = ("--storage", tmp_path)

    assert listed(*here) == ["haze-1", "rain-2", "rain-1"]
    assert listed(*here, "--state", "finished") == ["haze-1", "rain-2"]
    assert listed(*here, "--state", "finished", "--state", "failed", "--kind", "train") == ["haze-1", "rain-1"]
    assert listed(*here, "--name", "rain-*", "-n", 1) == ["rain-2"]
    assert listed(*here, "--sort", "psnr") == ["rain-2", "rain-1", "haze-1"]
    assert listed(*here, "--sort", "progress") == ["rain-1", "rain-2", "haze-1"]
    assert listed(*here, "--sort", "name") == ["haze-1", "rain-1", "rain-2"]
    assert call("ls", *here, "--kind", "restore") == f"no such runs in {tmp_path}\n"
    with pytest.raises(UsageError, match="there is no state 'finishd'; did you mean 'finished'"):
        call("ls", *here, "--state", "finishd")
    with pytest.raises(UsageError, match="there is no order 'loss'; known: kind, name, progress"):
        call("ls", *here, "--sort", "loss")
