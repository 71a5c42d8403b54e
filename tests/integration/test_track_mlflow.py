"""Runs told to a real MLflow server on loopback, and read back by MLflow's own client."""

import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ipt_platform.errors import InfrastructureError
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.feed import feeding, tell
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.load import read_job
from ipt_platform.spec.track import MlflowSpec, TrackSpec
from ipt_platform.track.mlflow import ADDRESS_VARIABLE
from ipt_platform.track.trackers import feeds_of
from tests.conftest import HANG
from tests.tracked_runs import made_run, report

pytestmark = pytest.mark.slow

SERVER = """
import sys
from werkzeug.serving import make_server
from mlflow.server import app
# The first request makes the database, which takes a while.
assert app.test_client().get("/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default").status_code == 200
server = make_server("127.0.0.1", int(sys.argv[1]), app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


class Server:
    """MLflow's tracking server, with its database in SQLite and artifacts that pass through it; can be started anew."""

    def __init__(self, folder: Path):
        (folder / "artifacts").mkdir(parents=True)
        self.environment = os.environ | {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = (folder / "log").open("wb")
        self.process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)], env=self.environment, stdout=subprocess.PIPE, stderr=self.log
        )
        assert self.process.stdout
        assert self.process.stdout.readline(), "the server did not start"

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()
        self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    own = Server(tmp_path_factory.mktemp("mlflow") / "server")
    own.start()
    yield own
    own.stop()
    own.log.close()


@pytest.fixture
def run(tmp_path, server, monkeypatch, request) -> RunDir:
    """A run of a name of its own, to be told to the server."""
    monkeypatch.setenv(ADDRESS_VARIABLE, server.uri)
    return made_run(tmp_path, "r" + str(abs(hash(request.node.name)))[:8])


def feed_of(run: RunDir) -> Any:
    (feed,) = feeds_of(run, read_job(run.job), TrackSpec(mlflow=MlflowSpec(experiment="tests")))
    return feed


def client(server: Server) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(server.uri)


def found(server: Server, run: RunDir) -> Any:
    """The run on the server; there is no other one of its id."""
    asked = client(server)
    (own,) = asked.search_runs([asked.get_experiment_by_name("tests").experiment_id], f"tags.`ipt.run` = '{run.id}'")
    return own


def curve(server: Server, run: RunDir, name: str) -> list[tuple[int, float]]:
    history = client(server).get_metric_history(found(server, run).info.run_id, name)
    return sorted((each.step, each.value) for each in history)


def begin(run: RunDir) -> int:
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    return attempt


def test_a_run_stands_there_with_numbers_job_and_state(server, run):
    attempt = begin(run)
    for step in (10, 20):
        append_metrics(run, report(attempt, step, loss=step / 80))
    append_metrics(
        run, {"attempt": 1, "step": 20, "evaluation": {"a set/é": {"denoise": {"psnr": 28.5, "ssim": 0.75, "n": 2}}}}
    )
    append_event(run, "finished", attempt, step=20, reason="all 20 steps were done")

    tell(feed_of(run))

    own = found(server, run)
    assert own.info.status == "FINISHED"
    assert own.info.run_name == run.id
    assert own.info.end_time
    assert curve(server, run, "loss/denoise") == [(10, 0.125), (20, 0.25)]
    assert curve(server, run, "psnr/a set/_/denoise") == [(20, 28.5)]
    assert own.data.params["train.optimizer.lr"] == "0.0003"
    assert own.data.params["train.stages.0.patch"] == "32"
    assert own.data.params["start"] == "null"
    assert {name: own.data.tags[f"ipt.{name}"] for name in ("kind", "state", "attempt")} == {
        "kind": "train",
        "state": "finished",
        "attempt": "1",
    }
    asked = client(server)
    (path,) = [each.path for each in asked.list_artifacts(own.info.run_id)]
    assert Path(asked.download_artifacts(own.info.run_id, path)).read_bytes() == run.job.read_bytes()


def test_another_attempt_goes_on_in_the_same_run_and_tells_no_step_twice(server, run):
    first = begin(run)
    for step in (10, 20, 30):
        append_metrics(run, report(first, step, loss=1.0))
    append_event(run, "cancelled", first, reason="stopped by Ctrl-C", exit_code=7)
    tell(feed_of(run))
    assert found(server, run).info.status == "KILLED"

    second = begin(run)
    feed = feed_of(run)
    feed.turn(last=False)
    assert found(server, run).info.status == "RUNNING"
    for step in (20, 30, 40):
        append_metrics(run, report(second, step, loss=2.0))
    append_event(run, "failed", second, reason="a loss was not finite", exit_code=5, **{"class": "user"})
    feed.turn(last=True)

    own = found(server, run)
    assert curve(server, run, "loss/denoise") == [(10, 1.0), (20, 1.0), (30, 1.0), (40, 2.0)]
    assert (own.info.status, own.data.tags["ipt.attempt"]) == ("FAILED", "2")
    assert "not finite" in own.data.tags["ipt.reason"]


def test_a_run_that_was_cut_off_ended_with_its_last_word_and_not_with_the_attempt_before(server, run):
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    append_event(run, "failed", begin(run), clock=lambda: long_ago, reason="a loss was not finite", exit_code=5)
    second = run.new_attempt(replace(this_process(), born=1))  # of a process that is gone
    word = append_event(run, "resumed", second, step=10)

    tell(feed_of(run))

    ended = found(server, run).info
    assert ended.status == "FAILED"
    assert ended.end_time == int(1000 * datetime.fromisoformat(word["time"]).timestamp())


def test_telling_all_again_changes_nothing(server, run):
    attempt = begin(run)
    for step in range(1, 400):
        append_metrics(run, report(attempt, step, loss=float(step)))
    tell(feed_of(run))
    before = found(server, run).data.tags["ipt.told"]

    tell(feed_of(run))

    assert found(server, run).data.tags["ipt.told"] == before == "1 399 399 -1"
    assert curve(server, run, "loss/denoise") == [(step, step) for step in range(1, 400)]


def test_what_was_told_and_not_acknowledged_is_not_told_twice(server, run):
    attempt = begin(run)
    append_metrics(run, report(attempt, 10, loss=1.0))
    feed = feed_of(run)
    tell(feed)
    own = found(server, run)
    client(server).set_tag(own.info.run_id, "ipt.told", "0 0 -1 -1")  # as if the answer had been lost

    append_metrics(run, report(attempt, 20, loss=1.0))
    tell(feed_of(run))

    assert curve(server, run, "loss/denoise") == [(10, 1.0), (20, 1.0)]


def test_a_loss_that_is_no_number_is_told(server, run):
    append_metrics(run, report(begin(run), 10, loss=math.nan))

    tell(feed_of(run))

    ((step, value),) = curve(server, run, "loss/denoise")
    assert step == 10
    assert math.isnan(value)


def test_a_run_outlives_a_server_that_is_away_and_tells_it_everything_then(tmp_path, server, run):
    attempt = begin(run)
    server.stop()
    try:
        with feeding(run, [feed_of(run)], patience=HANG):
            append_metrics(run, report(attempt, 10, loss=1.0))
            _until(lambda: any("cannot be told" in each.get("reason", "") for each in read_events(run)))
            append_metrics(run, report(attempt, 20, loss=1.0))
            append_event(run, "finished", attempt, step=20)
            server.start()
    finally:
        if server.process is None:
            server.start()

    assert curve(server, run, "loss/denoise") == [(10, 1.0), (20, 1.0)]
    assert found(server, run).info.status == "FINISHED"
    told = [each["reason"] for each in read_events(run) if each["type"] == "warning"]
    assert sum("MLflow cannot be told" in reason for reason in told) == 1


def test_a_server_that_never_comes_leaves_a_run_alone_and_is_named(run, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv(ADDRESS_VARIABLE, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        attempt = begin(run)
        with feeding(run, [feed_of(run)], patience=0.5):
            append_metrics(run, report(attempt, 10))

        with pytest.raises(InfrastructureError, match="MLflow cannot be told"):
            tell(feed_of(run))

    (last,) = [each["reason"] for each in read_events(run) if "told everything" in each.get("reason", "")]
    assert last.endswith(f"`ipt-platform track --to mlflow {run.place}` tells the rest")


def test_a_run_that_was_deleted_there_is_told_anew(server, run):
    attempt = begin(run)
    append_metrics(run, report(attempt, 10, loss=1.0))
    feed = feed_of(run)
    feed.turn(last=False)
    client(server).delete_run(found(server, run).info.run_id)
    append_metrics(run, report(attempt, 20, loss=1.0))

    with pytest.raises(Exception, match="deleted"):
        feed.turn(last=True)
    feed.turn(last=True)

    assert curve(server, run, "loss/denoise") == [(10, 1.0), (20, 1.0)]


def _until(true: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
