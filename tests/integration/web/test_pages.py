"""What each page shows of the files, whatever stands in them."""

import json
from contextlib import nullcontext

import pytest

from ipt_platform.checkpoint.files import commit
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import HTML, JOB, client_of, post, report, write_run

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def page(client, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def rows(text: str) -> list[str]:
    """The runs of a list, in order."""
    return [
        part.partition('"')[0]
        for part in text.partition("<tbody>")[2].split('<th scope="row" class="wrap"><a href="/runs/')[1:]
    ]


def test_an_empty_storage_says_what_to_do(client, storage):
    assert "Nothing runs" in page(client, "/")
    assert "No Prometheus is configured" in page(client, "/")
    assert "There are no runs in" in page(client, "/runs")
    missing = client_of(Settings(str(storage / "nowhere")))
    assert "There are no runs in" in page(missing, "/runs")


def test_the_list_shows_filters_and_sorts(client, storage):
    write_run(storage, "rain-1", "finished", steps=20)
    write_run(storage, "rain-2", "failed", steps=5)
    write_run(storage, "haze", steps=10)
    create(storage, "waiting").attempts.mkdir()

    text = page(client, "/runs?sort=name&down=0")
    assert rows(text) == ["haze", "rain-1", "rain-2", "waiting"]
    assert "100 of 200 (50%)" in text
    assert "denoise&nbsp;28.51" in text
    assert "3 min 7 s" in text
    assert rows(page(client, "/runs?sort=progress")) == ["rain-1", "haze", "rain-2", "waiting"]
    assert rows(page(client, "/runs?sort=progress&down=0")) == ["rain-2", "haze", "rain-1", "waiting"]
    assert rows(page(client, "/runs?q=rain&sort=name")) == ["rain-1", "rain-2"]
    assert rows(page(client, "/runs?q=*-2")) == ["rain-2"]
    assert rows(page(client, "/runs?state=failed&state=created&sort=name&down=0")) == ["rain-2", "waiting"]
    assert rows(page(client, "/runs?kind=train&sort=name")) == ["haze", "rain-1", "rain-2"]
    assert "None of the 4 runs is so" in page(client, "/runs?q=snow")


@pytest.mark.parametrize(
    "query",
    ["page=x", "page=99", "page=-1", "sort=%00", "down=2", "state=none", f"q={'a' * 500}", "q=[", "kind=%3Cb%3E", "page=9" * 9],
)
def test_a_query_that_cannot_be_read_breaks_nothing(client, storage, query):
    write_run(storage, "demo")

    assert client.get(f"/runs?{query}").status_code == 200


def test_long_lists_come_in_pages(client, storage):
    for number in range(60):
        create(storage, f"run-{number:02d}").attempts.mkdir()

    first, second = page(client, "/runs?sort=name&down=0"), page(client, "/runs?sort=name&down=0&page=2")

    assert rows(first) == [f"run-{number:02d}" for number in range(50)]
    assert rows(second) == [f"run-{number:02d}" for number in range(50, 60)]
    assert "Page 2 of 2" in second


def test_the_list_follows_the_files(client, storage):
    run = write_run(storage, "demo", "cancelled")
    assert "state-cancelled" in page(client, "/parts/runs")

    append_event(run, "resumed", run.new_attempt(), step=30)
    assert "state-running" in page(client, "/parts/runs")

    append_metrics(run, report(110, 2))
    assert "110 of 200" in page(client, "/parts/runs")


def test_a_run_is_shown_whole(client, storage):
    run = write_run(storage, "demo", steps=6)
    commit(run.checkpoints, 60, {"weights.bin": b"w" * 4000, "state.json": {"step": 60}}, nullcontext)

    text = page(client, "/runs/demo")

    assert "60 of 200 (30%)" in text
    assert "attempt 1 is led by" in text
    assert "an attempt" not in text
    assert "started" in text
    charts = client.get("/runs/demo/series").json()["charts"]
    assert charts[0]["title"] == "Training loss"
    assert charts[0]["steps"] == [10, 20, 30, 40, 50, 60]
    assert charts[0]["curves"][1] == {
        "label": "denoise",
        "values": [pytest.approx(1 / step, rel=1e-5) for step in range(10, 61, 10)],
        "low": None,
        "high": None,
        "last": [60, "0.01667"],
    }
    assert client.get("/runs/demo/series?from=25&to=40").json()["charts"][0]["steps"] == [30, 40]
    assert "seed: 4" in page(client, "/runs/demo/job")


def test_checkpoints_say_whether_they_can_be_used(client, storage):
    run = write_run(storage, "demo", steps=6)
    for step in (20, 40, 60):
        commit(run.checkpoints, step, {"weights.bin": bytes([step]) * 4000}, nullcontext)
    (run.checkpoints / "step-40" / "weights.bin").write_bytes(b"x" * 4000)
    (run.checkpoints / "step-80").mkdir()

    assert "uncommitted" in page(client, "/runs/demo/parts/checkpoints")
    looked = client.app.state.services.checkpoints
    while "checking" in (states := [each.state for each in looked.of(run)]):
        pass
    assert states == ["uncommitted", "usable", "damaged", "usable"]
    text = page(client, "/runs/demo/parts/checkpoints")
    assert "has sha256" in text
    assert text.count("denoise&nbsp;28.51") == 1

    (run.checkpoints / "step-20" / "weights.bin").write_bytes(b"y" * 4000)
    assert "checking" in [each.state for each in looked.of(run)]


def test_what_has_not_changed_is_not_sent_again(client, storage):
    run = write_run(storage, "demo", "finished")
    for path in ("/runs/demo/series", "/runs/demo/parts/events", "/parts/runs", "/runs/demo/parts/summary"):
        tag = client.get(path).headers["etag"]
        again = client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b""), path

    tag = client.get("/runs/demo/series").headers["etag"]
    append_metrics(run, report(40))
    new = client.get("/runs/demo/series", headers={"If-None-Match": tag})
    assert new.json()["charts"][0]["steps"][-1] == 40


def test_logs_are_filtered_by_process_level_and_text(client, storage):
    run = write_run(storage, "demo")
    run.logs(1, 1).write_text(
        "2026-11-26 10:00:00,000 INFO a: step 1 (of 2)\n2026-11-26 10:00:00,000 ERROR a: no\n  Traceback\n"
    )

    text = page(client, "/runs/demo/logs")
    assert all(words in text for words in ("all is well", "it broke", "ray says hello", "step 1 (of 2)"))
    errors = page(client, "/runs/demo/logs?level=error")
    assert "it broke" in errors
    assert "Traceback" in errors
    assert "all is well" not in errors
    assert "ray says hello" not in page(client, "/runs/demo/logs?rank=0")
    found = page(client, "/runs/demo/logs?text=STEP+1+(OF")
    assert "step 1 (of 2)" in found
    assert "it broke" not in found
    none = page(client, "/runs/demo/logs?rank=../../job")
    assert "Attempt 1 has no log of ../../job; it has 0, 1, driver." in none
    assert "seed" not in none
    assert client.get("/runs/demo/logs?attempt=7").status_code == 200
    assert "ray says hello" in page(client, "/runs/demo/parts/lines?rank=driver")


def test_logs_follow_new_attempts(client, storage):
    run = write_run(storage, "demo")
    run.logs(1, 3).write_text("rank three\n")
    chosen = "/runs/demo/logs?attempt=&rank=3&level=&text="
    assert "rank three" in page(client, chosen)

    run.logs(run.new_attempt(), 0).write_text("again\n")

    text = page(client, chosen)
    assert "Attempt 2 has no log of rank 3" in text
    assert '<option value="3" selected>rank 3</option>' in text
    assert "<option selected>" not in text  # the attempt stays the newest
    run.logs(2, 3).write_text("rank three again\n")
    assert "rank three again" in page(client, "/runs/demo/parts/lines?rank=3")
    earlier = page(client, "/runs/demo/logs?attempt=1&rank=3")
    assert "<option selected>1</option>" in earlier
    assert "of attempt 1;" in earlier


def test_logs_hold_no_secrets(client, storage, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENG")
    run = write_run(storage, "demo")
    run.logs(1, 2).write_text("key wJalrXUtnFEMIK7MDENG\nAuthorization: Bearer abcdefgh\npassword=hunter22\n")

    text = page(client, "/runs/demo/logs")

    assert not any(secret in text for secret in ("wJalrXUtnFEMIK7MDENG", "abcdefgh", "hunter22"))


def test_names_are_shown_as_they_are_and_run_nothing(client, storage):
    run = write_run(storage, "demo", **{HOSTILE: 0.5})
    append_metrics(run, {"attempt": 1, "step": 30, "evaluation": {HOSTILE: {HOSTILE: {"psnr": 20.0}}}})
    append_event(run, "bad-sample", 1, step=1, reason=HOSTILE, key=HOSTILE)
    append_event(run, "failed", 1, reason=HOSTILE, **{"class": HOSTILE})
    run.logs(1, 0).write_text(HOSTILE + "\n")
    run.job.write_text(JOB.format(name="demo", seed=1).replace("demo", HOSTILE))
    write_run(storage, "other")
    paths = (
        "/",
        "/runs",
        "/runs?q=%3Cscript%3E&kind=%3Cscript%3E",
        "/runs/demo",
        "/runs/demo/logs?text=%3Cscript%3E",
        "/runs/demo/logs",
        "/runs/demo/job",
        "/compare?run=demo&run=other",
        "/runs/demo/parts/summary",
        "/runs/demo/parts/events",
    )

    for path in paths:
        text = page(client, path)
        assert "<script>" not in text, path
        assert "49" not in text.partition("<main")[2] or "{{7*7}}" in text
    for path in ("/runs/demo", "/runs/demo/logs", "/runs/demo/job"):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{7*7}}" in page(client, path), path
    assert client.get("/runs/demo/series").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fetc%2fpasswd",
        "registry",
        "Demo",
        "a:b:c",
        "a:..",
        "demo:",
        ":",
        "%00",
        "a%2fb",
        "demo:none",
        "-",
        "~root",
        "x" * 200,
    ],
)
def test_a_name_that_is_no_run_is_not_found(client, storage, name):
    write_run(storage, "demo")

    for path in (
        f"/runs/{name}",
        f"/runs/{name}/series",
        f"/runs/{name}/logs",
        f"/runs/{name}/job",
        f"/runs/{name}/parts/events",
    ):
        answer = client.get(path, headers=HTML)
        assert answer.status_code == 404, path
        assert "Traceback" not in answer.text


def test_files_outside_the_storage_are_out_of_reach(client, storage, tmp_path):
    outside = create(tmp_path, "outside")
    outside.job.write_text("secret: outside")

    for name in ("../outside", "%2e%2e/outside", "..%2foutside", str(outside.path), str(outside.path).replace("/", "%2f")):
        assert "secret: outside" not in client.get(f"/runs/{name}/job").text
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_the_runs_of_a_search_have_pages_of_their_own(client, storage):
    whole = create(storage, "search")
    append_event(whole, "created", 0, kind="tune", steps=2)
    append_event(whole, "started", whole.new_attempt())
    write_run(whole.members, "trial-1", "finished")

    assert 'href="/runs/search:trial-1"' in page(client, "/runs/search")
    text = page(client, "/runs/search:trial-1")
    assert 'href="/runs/search"' in text
    assert client.get("/runs/search:trial-1/series").json()["charts"]
    assert rows(page(client, "/runs")) == ["search"]


def test_runs_are_compared_curve_by_curve_and_job_by_job(client, storage):
    write_run(storage, "one")
    write_run(storage, "three", steps=5)
    write_run(storage, "six")

    text = page(client, "/compare?run=one&run=three&run=six")

    assert "seed" in text
    assert "one and six are the same job" in text
    charts = client.get("/compare/series?run=one&run=three").json()["charts"]
    loss = next(chart for chart in charts if chart["title"] == "Training loss, denoise")
    assert loss["steps"] == [10, 20, 30, 40, 50]
    assert [each["label"] for each in loss["curves"]] == ["one", "three"]
    assert loss["curves"][0]["values"][3:] == [None, None]
    assert client.get("/compare?run=one").status_code == 400
    assert client.get("/compare?run=one&run=one").status_code == 400
    assert client.get("/compare?" + "&".join(f"run=r{n}" for n in range(9))).status_code == 400
    assert client.get("/compare?run=one&run=none").status_code == 404


def test_a_run_has_one_name_only(client, storage, monkeypatch):
    write_run(storage, "one")
    write_run(storage, "two")
    monkeypatch.chdir(storage)  # where a search for a folder of this name would find one

    for other in ("one:", "two:one"):
        assert client.get(f"/compare?run=one&run={other}").status_code == 404
        assert client.get(f"/compare/series?run=one&run={other}").status_code == 404  # and waits for nobody


def test_a_job_that_cannot_be_read_is_said_and_the_rest_is_shown(client, storage):
    write_run(storage, "one")
    write_run(storage, "two").job.write_text("kind: [")

    text = page(client, "/compare?run=one&run=two")

    assert 'class="problem"' in text
    assert 'href="/runs/two"' in text


def test_a_run_that_has_not_begun_is_shown(client, storage):
    run = RunDir(storage / "new")
    run.path.mkdir()
    run.job.write_text(JOB.format(name="demo", seed=1))

    assert "no attempt has started yet" in page(client, "/runs/new")
    assert "What waits" in page(client, "/")
    assert "no attempt has started yet" in page(client, "/")
    assert "none has started yet" in page(client, "/runs/new/logs")
    assert client.get("/runs/new/series").json() == {"charts": []}


def test_what_cannot_be_asked_of_a_run_is_refused_in_words(client, storage):
    write_run(storage, "done", "finished")
    write_run(storage, "busy")

    for path, why in (
        ("/runs/done/cancel", "not running"),
        ("/runs/done/resume", "is finished"),
        ("/runs/busy/resume", "is running"),
    ):
        answer = post(client, path)
        assert answer.status_code == 409, path
        assert why in answer.text
    assert post(client, "/runs/none/cancel").status_code == 404


def test_errors_are_json_for_programs(client):
    answer = client.get("/runs/none")

    assert answer.status_code == 404
    assert "no run" in json.loads(answer.text)["error"]


def test_the_owner_is_who_the_files_say(client, storage):
    run = write_run(storage, "here")
    there = write_run(storage, "there")
    there.submission.write_text(json.dumps({"cluster": "gpu", "address": "http://x", "id": "there-1", "owner": "ann@lab"}))

    text = page(client, "/runs")

    assert "ann@lab" in text
    assert run.path.owner() in text
