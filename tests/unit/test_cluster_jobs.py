"""What is made of what a dashboard answers, and of one that is none: a server on loopback that says what it is told to."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ipt_platform.cluster.jobs import Jobs, Submission
from ipt_platform.cluster.remote import _check
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
from ipt_platform.observe.events import append_ending
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

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
        _check(run, dashboard.target, over, Jobs(dashboard.target))
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
