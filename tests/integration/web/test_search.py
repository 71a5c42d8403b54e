"""Searches and analyses on the page: what they have found so far, and when they are over."""

import math
import re

import pytest

from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.tune.outcome import write_outcome
from ipt_platform.tune.trials import Suggestion, suggest
from ipt_platform.web import statuses
from ipt_platform.web.pareto import scatter
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import HTML, client_of, write_run
from tests.searches import TRIALS, plan_of

HOSTILE = "<script>alert(1)</script>{{7*7}}"


def page(client, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text
    assert HOSTILE not in answer.text
    return answer.text


def names(text: str) -> list[str]:
    """The trials of the table, in order."""
    table = text.partition('aria-label="Trials"')[2].partition("</table>")[0]
    return re.findall(r"(t\d{3})(?:</a>)?(?: <span[^>]*>.</span>)*</th>", table)


def begun(storage, kind: str = "tune") -> RunDir:
    run = create(storage, "search")
    append_event(run, "created", 0, kind=kind, steps=3)
    append_event(run, "started", run.new_attempt(), step=0)
    return run


def test_without_a_search_it_is_said_how_to_start_one(client, storage):
    write_run(storage, "training")

    assert "no searches and no analyses" in page(client, "/search")
    page(client, "/search/training", 404)
    page(client, "/search/none", 404)


def test_a_search_is_followed_while_it_runs(client, storage):
    run = begun(storage)
    assert "Nothing was suggested yet" in page(client, "/search/search")

    for number, values in enumerate(
        (
            {"model.bias.targets": ["qkv", "ffn"], "train.optimizer.bias_lr": 0.0096581},
            {"model.bias.rank": 8},
            {"train.ema": None, HOSTILE: HOSTILE},
        ),
        1,
    ):
        suggest(run, Suggestion(f"t{number:03d}", values, "tpe"), 1)
    write_run(run.members, "t001", "finished")
    write_run(run.members, "t002")

    text = page(client, "/search/search/part")
    assert set(names(text)[:2]) == {"t001", "t002"}
    assert names(text)[2] == "t003"  # it has no run and no number yet
    assert 'href="/runs/search:t001"' in text
    assert 'href="/runs/search:t003"' not in text
    assert "<td>qkv+ffn</td>" in text
    assert "<td>0.00966</td>" in text
    assert "27.407" in text  # the mean of what `write_run` writes
    assert "sizes are known when the search is over" in text
    assert 'href="/search/search"' in page(client, "/search")
    assert 'href="/search/search"' in page(client, "/runs/search")


def test_a_search_that_is_over_shows_front_importance_and_files(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    (tmp_path / "test").mkdir()
    plan = plan_of(tmp_path, "search.repeat=[]")
    append_event(plan.run, "created", 0, kind="tune", steps=6)
    attempt = plan.run.new_attempt()
    for trial in TRIALS:
        suggest(plan.run, trial.suggestion, attempt)
    write_outcome(plan, TRIALS, [], attempt)
    client = client_of(Settings(str(tmp_path / "others")))

    text = page(client, "/search/search")

    assert names(text) == ["t002", "t003", "t006", "t001", "t004", "t005"]
    front = re.findall(r'aria-label="(t\d+): [^"]*, on the front"', text)
    assert sorted(front) == ["t001", "t002", "t006"]  # t003 has less dB than t002, and more parameters
    assert text.count('title="chosen"') == 1
    assert 't002 <span title="chosen">' in text
    assert "Importance of the knobs" in text
    assert "=1+1" in text  # the reason of one that failed, in the report
    for name in ("best.yaml", "pareto.png", "report.json", "report.md", "trials.csv"):
        answer = client.get(f"/search/search/files/{name}")
        assert answer.content == (plan.run.path / name).read_bytes()
        assert ("attachment" in answer.headers["content-disposition"]) == (name != "pareto.png")
    assert 'src="/search/search/files/pareto.png"' in text
    for name in ("job.yaml", "events.jsonl", "..%2Fsearch%2Fbest.yaml", ".hidden.md"):
        (plan.run.path / ".hidden.md").write_text("no")
        known = name == "job.yaml" and (plan.run.path / name).is_file()
        assert client.get(f"/search/search/files/{name}", headers=HTML).status_code == (200 if known else 404), name


@pytest.mark.parametrize(
    "report",
    [
        "{",
        "[]",
        '{"best": null, "pareto": null, "trials": null, "importance": null}',
        '{"best": [1], "pareto": {"a": 1}, "trials": {"a": 1}, "importance": []}',
        '{"best": {"trial": null}, "pareto": [[], 1], "trials": [1, {}, {"trial": []}], "importance": {"knobs": 5}}',
        '{"trials": [{"trial": "t001"}, {"trial": "t002", "psnr": "x", "parameters": {}}], "importance": {"knobs": [1, {}]}}',
        '{"trials": [{"trial": "t001", "psnr": [], "parameters": "many"}], "importance": {"knobs": [{"share": "x"}]}}',
        '{"importance": {"step": "x", "knobs": [{"knob": 1, "share": 0.5, "interval": [1]}, {"share": 0.5, "interval": 3}]}}',
        f'{{"trials": [{{"trial": "t001", "psnr": 1, "parameters": 1{"0" * 400}}}, {{"trial": "t002", "psnr": 1}}]}}',
    ],
)
def test_an_odd_report_hides_no_trial(client, storage, report):
    run = begun(storage)
    suggest(run, Suggestion("t001", {"model.bias.rank": 4}, "tpe"), 1)
    with (run.path / "trials.jsonl").open("a") as file:
        file.write(
            '{"values": {"a": 1}}\n{"trial": "t002"}\n{"trial": ["t003"], "values": {}}\n{"trial": "t004", "values": [1]}\n'
        )
    run.report.write_text(report)

    text = page(client, "/search/search")

    assert sorted(names(text)) == ["t001", "t002", "t004"]


def test_of_many_trials_only_those_are_read_that_have_changed(client, storage, monkeypatch):
    run = begun(storage)
    append_event(run, "finished", 1)
    trials = [write_run(run.members, f"t{number:03d}", "finished") for number in range(9)]
    for trial in trials:
        suggest(run, Suggestion(trial.id, {"model.bias.rank": 4}, "tpe"), 1)
    paths = ("/runs/search/parts/summary", "/search/search/part")
    before = [page(client, path) for path in paths]
    read = []
    monkeypatch.setattr(statuses, "run_status", lambda run, **more: read.append(run.id) or run_status(run, **more))

    again = [page(client, path) for path in paths]
    assert again == before
    assert set(read) == {"search"}

    append_event(trials[4], "cancelled", trials[4].new_attempt(), reason="enough")
    read.clear()
    assert all(page(client, path).count("state-cancelled") == 1 for path in paths)
    assert sorted(set(read)) == ["search", "t004"]
    assert read.count("t004") == 1


def test_a_report_is_text_whatever_stands_in_it(client, storage):
    run = begun(storage, "analyze")
    assert "written when all of its jobs are done" in page(client, "/search/search")
    (run.path / "report.md").write_text(
        f"# {HOSTILE}\n\n| a | b |\n|:--|--:|\n| {HOSTILE} | 2 |\n\n"
        "[x](javascript:alert(1)) ![p](../../secret.png) <b>bold</b>\n"
    )

    text = page(client, "/search/search")

    written = text.partition('aria-label="Report">')[2]
    assert "<h2>&lt;script&gt;" in written
    assert "<td>2</td>" in written  # no style of its own
    assert 'href="javascript' not in written
    assert "secret" not in written
    assert "&lt;b&gt;bold" in written


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [{"trial": "a", "psnr": 1.0, "parameters": 1}],
        [{"trial": "a", "psnr": None, "parameters": 1}, {"trial": "b", "psnr": math.inf, "parameters": 1}],
    ],
)
def test_too_little_for_a_picture_gives_none(trials):
    assert scatter(trials, {"a"}) is None


@pytest.mark.parametrize("parameters", [(5, 5), (0, 7_000_000), (100, 101)])
def test_points_stand_where_their_numbers_say(parameters):
    trials = [{"trial": name, "psnr": 20.0 + at, "parameters": at} for name, at in zip("ab", parameters, strict=True)]

    found = scatter(trials, {"b"})

    assert found
    for point, each in zip(found.points, trials, strict=True):
        for at, value, ticks in ((point.x, each["parameters"], found.across), (point.y, each["psnr"], found.up)):
            (low, least), (high, most) = ticks[0], ticks[-1]
            numbers = float(least.replace(",", "")), float(most.replace(",", ""))
            # ticks are words: they are as exact as they are written
            assert (at - low) / (high - low) == pytest.approx((value - numbers[0]) / (numbers[1] - numbers[0]), abs=0.02)
        assert found.left <= point.x <= found.right
        assert found.top <= point.y <= found.bottom
    assert [point.front for point in found.points] == [False, True]
