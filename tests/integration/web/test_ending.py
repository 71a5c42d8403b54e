"""Ending at once from the page: what a cluster has not begun, and an evaluation; never a training that has begun."""

import subprocess
import sys
import threading

from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.observe.submitted import Submitted, keep_submitted
from tests.integration.web.conftest import HTML, post, write_run
from tests.unit.test_cluster_jobs import Dashboard
from tests.unit.test_cluster_steer import LEADER


def test_a_run_that_waits_on_a_cluster_is_taken_back(guarded, storage):
    run = create(storage, "waits")
    append_event(run, "created", 0, kind="train")
    with Dashboard() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        keep_submitted(run, Submitted("RAY_ADDRESS", server.target.address, "waits-1-abc123", "me@here"))
        server.answers["/api/jobs/waits-1-abc123/stop"] = (200, {"stopped": True})
        viewer, runner = guarded("viewer"), guarded("runner")

        assert "Take back" not in viewer.get("/runs/waits", headers=HTML).text
        assert post(viewer, "/runs/waits/end").status_code == 403
        assert "Take back" in runner.get("/runs/waits", headers=HTML).text
        assert post(runner, "/runs/waits/end").headers["location"] == "/runs/waits"
        server.shutdown()

    said = "cluster RAY_ADDRESS was told to drop waits-1-abc123 by runner-ann on the page"
    assert [event.get("reason") for event in read_events(run)] == [None, said]
    assert said in runner.get("/runs/waits", headers=HTML).text


def test_an_evaluation_is_ended_at_once(client, storage):
    run = create(storage, "measures")
    append_event(run, "created", 0, kind="evaluate")
    with subprocess.Popen([sys.executable, "-c", LEADER, run.path, "deaf"], stdout=subprocess.PIPE, text=True) as leader:
        try:
            assert leader.stdout
            assert leader.stdout.readline() == "ready\n"
            assert "End now" in client.get("/runs/measures", headers=HTML).text

            assert post(client, "/runs/measures/end").status_code == 303
        finally:
            leader.kill()

    assert run_status(run).state == "cancelled"
    assert any(event.get("reason", "").endswith("on the page has it ended at once") for event in read_events(run))


def test_a_training_that_has_begun_is_not_ended_so(client, storage):
    run = write_run(storage, "trains")

    assert "End now" not in client.get("/runs/trains", headers=HTML).text
    assert post(client, "/runs/trains/end").status_code == 409
    assert "warning" not in [event["type"] for event in read_events(run)]
