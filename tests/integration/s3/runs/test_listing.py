"""`ls` of a storage on S3: the states of all runs in one listing."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from ipt_platform.cli.main import app
from ipt_platform.observe.events import append_event, utc_now
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import Process
from ipt_platform.observe.runs import all_statuses
from ipt_platform.observe.status import as_it_is_now, run_status
from ipt_platform.observe.summary import publish

pytestmark = pytest.mark.slow


def submitted(machines, name: str, tasks: int = 2):
    run = machines.new("here", name)
    append_event(run, "created", 0, kind="train", steps=10)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    loss = {f"task-with-a-long-name-{number}": 0.123456789 * (number + 1) for number in range(tasks)}
    append_metrics(run, {"attempt": attempt, "step": 4, "steps": 10, "loss": loss, "eta_seconds": 9.5})
    return run


def test_one_listing_tells_of_every_run_what_its_status_says(machines, store):
    runs = [submitted(machines, f"run-{number}") for number in range(3)]
    append_event(runs[1], "finished", 1, step=10, reason="done")
    for run in runs:
        publish(run)
        publish(run)
    machines.on("there")
    store.proxy.requests.clear()
    found = all_statuses(machines.storage)

    assert len(store.proxy.requests) == 1
    assert [(each.run_id, each.state, each.step) for each in found] == [
        ("run-0", "running", 4),
        ("run-1", "finished", 10),
        ("run-2", "running", 4),
    ]
    # how long ago the last word was is a matter of the moment
    assert [replace(each, reason="") for each in found] == [replace(run_status(run), reason="") for run in runs]
    assert len([key for key in store.objects() if ".summaries" in key]) == 3


def test_a_run_of_many_tasks_is_listed_with_what_a_name_can_hold(machines, store):
    run = submitted(machines, "r" * 100, tasks=200)
    publish(run)
    machines.on("there")
    [found] = all_statuses(machines.storage)

    assert (found.run_id, found.state, found.step, found.steps) == (run.id, "running", 4, 10)
    assert found.loss is None
    assert run_status(run).loss
    assert all(len(part) <= 200 for key in store.objects() for part in key.split("/"))


def test_names_that_are_none_of_ours_are_passed_over(machines, store):
    publish(submitted(machines, "own"))
    for name in ("other/0/bm90IHpsaWI", "other/0/!!!", "strange"):
        store.direct().put_object(Bucket=store.bucket, Key=f"runs/.summaries/{name}", Body=b"")

    assert [each.run_id for each in all_statuses(machines.storage)] == ["own"]


def test_a_run_that_has_long_been_silent_is_interrupted_and_one_that_ended_stays(machines):
    status = run_status(submitted(machines, "far"))
    elsewhere = Process("another-machine", 77)
    late = lambda: utc_now() + timedelta(hours=3)  # noqa: E731

    assert as_it_is_now(status, elsewhere) == status
    gone = as_it_is_now(status, elsewhere, clock=late)
    assert (gone.state, gone.eta) == ("interrupted", None)
    assert gone.reason.startswith("nothing was heard for 3 h of process 77 on another-machine; submitting far again")
    over = replace(status, state="failed", reason="r")
    assert as_it_is_now(over, elsewhere, clock=late) == over


def test_the_command_lists_them(machines):
    publish(submitted(machines, "far"))
    done = CliRunner().invoke(app, ["ls", "--storage", machines.storage, "--json"])

    assert [each["run_id"] for each in json.loads(done.stdout)] == ["far"]
