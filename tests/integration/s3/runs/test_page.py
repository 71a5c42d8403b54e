"""The page of a storage on S3: the same pages, from another machine than the one that trains."""

import pytest
from starlette.testclient import TestClient

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.summary import publish
from ipt_platform.web import statuses
from ipt_platform.web.app import create_app
from ipt_platform.web.settings import Settings

HTML = {"Accept": "text/html"}
LINE = {"attempt": 1, "step": 10, "steps": 20, "loss": {"denoise": 0.5}, "images_per_second": 3.0}


@pytest.fixture
def run(machines):
    run = machines.new("trainer")
    append_event(run, "created", 0, kind="train", steps=20)
    run.new_attempt()
    append_event(run, "started", 1, step=0)
    append_metrics(run, LINE)
    publish(run)
    return run


@pytest.fixture
def client(run, machines, monkeypatch) -> TestClient:
    monkeypatch.setattr(statuses, "_FRESH_ON_S3", -1.0)
    machines.on("elsewhere")
    return TestClient(create_app(Settings(machines.storage)), base_url="http://localhost", follow_redirects=False)


def test_a_run_on_s3_is_listed_and_followed(client, run, machines):
    assert "/runs/far" in client.get("/", headers=HTML).text
    assert "10 of 20 (50%)" in client.get("/runs", headers=HTML).text
    assert "10 of 20 (50%)" in client.get("/runs/far", headers=HTML).text
    assert client.get("/runs/far/series").json()["charts"][0]["steps"] == [10]

    machines.on("trainer")
    append_metrics(run, LINE | {"step": 12})
    append_event(run, "finished", 1, step=12, reason="it is done")
    publish(run)
    machines.on("elsewhere")

    assert client.get("/runs/far/series").json()["charts"][0]["steps"] == [10, 12]
    assert "it is done" in client.get("/runs/far/parts/events").text
    assert "state-finished" in client.get("/parts/runs").text
    assert client.get("/runs/none", headers=HTML).status_code == 404


def test_a_run_on_s3_is_cancelled_from_anywhere(client, run, machines):
    proof = client.get("/", headers=HTML).text.partition('name="csrf" content="')[2].partition('"')[0]

    answer = client.post("/runs/far/cancel", data={"csrf": proof}, headers={"Origin": "http://localhost"})

    assert answer.status_code == 303
    machines.on("trainer")
    assert "on the page" in str(run.stop_requested(1))


def test_checkpoints_on_s3_are_listed(client, run, store):
    prefix = f"runs/{run.id}"
    for name in ("checkpoints/step-10/1/weights.bin", "checkpoints/step-10/1/COMMIT", "checkpoints/step-20/1/weights.bin"):
        store.direct().put_object(Bucket=store.bucket, Key=f"{prefix}/{name}", Body=b"w" * 2048)

    text = client.get("/runs/far/parts/checkpoints").text
    assert text.index("uncommitted") < text.index("state-committed")
    assert "4.0 KiB" in text


def test_a_store_that_fails_is_said_and_the_page_lives_on(client, store):
    store.proxy.fault = lambda request: "error"

    answer = client.get("/runs", headers=HTML)
    assert answer.status_code == 503
    assert "s3://" in answer.text or "S3" in answer.text

    store.proxy.fault = lambda request: ""
    assert client.get("/runs", headers=HTML).status_code == 200
