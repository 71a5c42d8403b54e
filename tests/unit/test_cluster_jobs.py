"""What is made of what a dashboard answers, and of one that is none: a server on loopback that says what it is told to."""

import json
import os
import socket
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ipt_platform.cluster.again import resume
from ipt_platform.cluster.doctor import _locked
from ipt_platform.cluster.jobs import Jobs, Submission
from ipt_platform.cluster.remote import check_over
from ipt_platform.cluster.steer import Unbegun, end_now
from ipt_platform.cluster.target import ClusterEntry, Target
from ipt_platform.errors import (
    CancelledRunError,
    ExitCode,
    InfrastructureError,
    IptError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.observe.submitted import Submitted, keep_submitted
from ipt_platform.observe.waiting import Patience, wait_for_end

JOB = """apiVersion: ipt/v1
kind: train
name: demo
model: {{backbone: iptv2-nano}}
tasks: [denoise]
data: {{shards: "shards/*.tar"}}
train: {{stages: [{{steps: 4, patch: 32, images: 2}}]}}
storage: {storage}
"""
VERSION = {"version": "4", "ray_version": "2.60.0", "ray_commit": "none", "session_name": "none"}


class Dashboard(ThreadingHTTPServer):
    """Answers each path with what stands in `answers`: a status and a body; else 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, object]] = {"/api/version": (200, VERSION)}

    @property
    def target(self) -> Target:
        return Target("gpu", ClusterEntry(address=f"http://127.0.0.1:{self.server_port}"))


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        status, body = self.server.answers.get(self.path, (404, "nothing here"))
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args) -> None:  # noqa: A002 (as http.server spells it)
        pass


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    with Dashboard() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


# How a submission ended, to whoever followed it


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return create(tmp_path, "demo")


def ended(dashboard: Dashboard, run: RunDir, code: int, log: str, first: int = 1) -> Exception:
    over = Submission(f"demo-{first}-abc123", "FAILED", exit_code=code)
    dashboard.answers[f"/api/jobs/{over.id}/logs"] = (200, {"logs": log})
    with pytest.raises(IptError) as caught:
        check_over(run, dashboard.target, over, Jobs(dashboard.target))
    return caught.value


@pytest.mark.parametrize(("code", "kind"), [(2, UsageError), (3, NotFoundError), (4, RefusedError), (7, CancelledRunError)])
def test_an_ending_that_was_written_is_told(dashboard, run, code, kind):
    append_ending(run, run.new_attempt(), kind("because"))

    error = ended(dashboard, run, code, "something else")

    assert type(error) is kind
    assert str(error).startswith("because")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (ExitCode.USAGE, "/bin/sh: 1: cd: can't cd to /home/me/jobs"),
        (ExitCode.NOT_FOUND, "/home/me/jobs/runs/demo is no folder of a run on this machine"),
    ],
)
def test_a_cluster_that_does_not_see_the_folder_is_asked_whether_it_does(dashboard, run, code, said):
    error = ended(dashboard, run, code, said)

    assert type(error) is InfrastructureError
    assert said in str(error)
    assert f"does it see {run.path}?" in str(error)


def test_without_an_ending_of_its_own_a_submission_is_told_by_its_log(dashboard, run):
    append_ending(run, run.new_attempt(), UsageError("a reason of another time"))

    error = ended(dashboard, run, ExitCode.REFUSED, "run demo is running: led by another", first=2)

    assert type(error) is RefusedError
    assert str(error) == "cluster gpu: demo-2-abc123 failed: run demo is running: led by another"


def submission(dashboard: Dashboard, run: RunDir, state: str, code: int | None, log: str) -> None:
    """What the cluster knows of a run that it has not begun."""
    append_event(run, "created", 0, kind="train")
    keep_submitted(run, Submitted("RAY_ADDRESS", dashboard.target.address, "demo-1-abc123", "me@here"))
    told = {
        "submission_id": "demo-1-abc123",
        "type": "SUBMISSION",
        "status": state,
        "entrypoint": "cd",
        "driver_exit_code": code,
    }
    dashboard.answers["/api/jobs/demo-1-abc123"] = (200, told)
    dashboard.answers["/api/jobs/demo-1-abc123/logs"] = (200, {"logs": log})


@pytest.mark.parametrize(
    ("state", "code", "kind", "says"),
    [
        ("FAILED", 2, InfrastructureError, "can't cd to /home/me/jobs; does it see "),
        ("STOPPED", None, CancelledRunError, "run demo was ended at once on cluster RAY_ADDRESS; it had not begun"),
    ],
)
def test_waiting_ends_where_the_cluster_is_done_with_a_run_and_has_not_begun_it(dashboard, run, state, code, kind, says):
    submission(dashboard, run, state, code, "cd: can't cd to /home/me/jobs")

    with pytest.raises(kind, match=says):
        wait_for_end(run, Patience(None), Unbegun(run))


def test_waiting_ends_where_the_cluster_was_started_anew(dashboard, run):
    submission(dashboard, run, "PENDING", None, "")
    del dashboard.answers["/api/jobs/demo-1-abc123"]

    with pytest.raises(NotFoundError, match="knows no submission demo-1-abc123; was it started anew"):
        wait_for_end(run, Patience(None), Unbegun(run))


@pytest.mark.parametrize("reached", [True, False])
def test_a_run_that_the_cluster_has_yet_to_begin_is_waited_for(dashboard, run, reached):
    submission(dashboard, run, "PENDING", None, "")
    if not reached:
        keep_submitted(run, Submitted("of-another-machine", "http://127.0.0.1:1", "demo-1-abc123", "me@there"))

    def sleep(seconds: float) -> None:
        append_ending(run, run.new_attempt(), UsageError("because"))

    assert wait_for_end(run, Patience(None, sleep), Unbegun(run)).exit_code == ExitCode.USAGE


# What the dashboard answers


@pytest.mark.parametrize("body", [{"version": "4"}, [], "<html>", "null"])
def test_another_web_server_is_told_from_a_dashboard(dashboard, body):
    dashboard.answers["/api/version"] = (200, body)
    jobs = Jobs(dashboard.target)

    for ask in (jobs.version, jobs.all):
        with pytest.raises(InfrastructureError, match="answers, but not as Ray's dashboard; is the address right"):
            ask()


@pytest.mark.parametrize("variable", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_a_cluster_that_is_named_is_asked_whatever_the_environment_says(dashboard, monkeypatch, variable):
    """Ray's client takes the variable for the address: another cluster would be sent the job, and the token of this one."""
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    dashboard.answers["/api/jobs/demo-1-abc/logs"] = (200, {"logs": "of this one"})

    assert Jobs(dashboard.target).log("demo-1-abc") == "of this one"
    assert os.environ[variable] == "http://127.0.0.1:1"


def test_only_a_submission_that_is_not_there_is_not_known(dashboard):
    jobs = Jobs(dashboard.target)
    with pytest.raises(NotFoundError, match="cluster gpu knows no submission gone-1-abc"):
        jobs.find("gone-1-abc")

    dashboard.answers["/api/jobs/run-20261126-140404-1-abc"] = (500, "run-20261126-140404 cannot be read: error 404")
    with pytest.raises(InfrastructureError, match="status code 500"):
        jobs.find("run-20261126-140404-1-abc")


@pytest.mark.parametrize(
    ("name", "said"), [("gpu", "`ipt-platform doctor --cluster gpu`"), ("RAY_ADDRESS", "`ipt-platform doctor`")]
)
def test_a_cluster_that_is_not_there_is_told_with_what_looks_further(dashboard, name, said):
    dashboard.answers["/api/version"] = (503, "")

    with pytest.raises(InfrastructureError, match=f"cluster {name} at .* cannot be reached .* right\\? {said} looks further"):
        Jobs(Target(name, dashboard.target.entry)).version()


def test_a_token_that_ray_was_given_and_no_header_can_carry_is_not_repeated(dashboard):
    token = "planted\n0123456789"

    with pytest.raises(RefusedError, match="cannot be sent") as caught:
        Jobs(Target("gpu", dashboard.target.entry, token)).version()
    assert "planted" not in "".join(traceback.format_exception(caught.value))


def test_a_dashboard_that_goes_while_it_is_examined_is_a_finding():
    gone = Target("gpu", ClusterEntry(address=f"http://127.0.0.1:{free_port()}"))

    found = _locked("cluster gpu", gone)

    assert (found.verdict, found.found) == ("look", "whether it is asked for cannot be seen: ConnectionError")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# What was submitted through RAY_ADDRESS


@pytest.mark.parametrize("variable", ["", "http://127.0.0.1:1"])
def test_what_was_submitted_through_ray_address_goes_on_there(dashboard, run, base, tmp_path, monkeypatch, variable):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", variable)
    dashboard.answers["/api/version"] = (503, "")
    run.job.write_text(JOB.format(storage=tmp_path))
    append_event(run, "failed", run.new_attempt(), reason="the power went")
    keep_submitted(run, Submitted("RAY_ADDRESS", dashboard.target.address, "demo-1-abc123", "me@here"))

    with pytest.raises(InfrastructureError, match=f"RAY_ADDRESS at {dashboard.target.address} cannot be reached"):
        resume(run, "ann", base)


def test_at_once_ends_what_was_submitted_through_ray_address_from_anywhere(dashboard, run, tmp_path, monkeypatch):
    """No configuration knows a cluster of that name, and the variable may be another by now."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    dashboard.answers["/api/jobs/demo-1-abc123/stop"] = (200, {"stopped": True})
    run.job.write_text("kind: train\n")
    keep_submitted(run, Submitted("RAY_ADDRESS", dashboard.target.address, "demo-1-abc123", "me@here"))

    found = end_now(run, "ann", Patience(0))

    assert "was told to drop demo-1-abc123" in found.status.reason
    assert run_status(run).reason.endswith("cluster RAY_ADDRESS was told to drop demo-1-abc123 by ann")
