"""Jobs on a real head: submitted, followed, left alone, refused; and what the head tells those without the token."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families as parse

from ipt_platform.cluster.local import ALONE
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from tests.conftest import HANG

pytestmark = pytest.mark.slow

LONG = ("train.stages=[{steps: 4000, patch: 48, images: 2}]", "evaluate.sets=[]")
STEPS = 30  # of the job of a workplace
OF_JOB = (("job", "tiny"),)
STEPS_TOTAL = ("ipt_train_steps_total", OF_JOB)


def until(true, what: str):
    end = time.monotonic() + HANG
    while not (value := true()):
        assert time.monotonic() < end, f"nothing happened for {HANG} s: {what}"
        time.sleep(0.2)
    return value


def submissions(workplace) -> dict[str, dict]:
    told = json.loads(workplace.do("cluster", "status", "--cluster", "local", "--json").stdout)
    return {each["id"]: each for each in told["submissions"]}


@pytest.fixture(scope="module")
def followed(workplace, local):
    """A job that was submitted to the cluster and followed to its end."""
    return workplace.submit("followed", "--cluster=local")


@pytest.fixture(scope="module")
def long(workplace, local):
    """A run on the cluster that goes on for long, and what was said when it was submitted."""
    run = workplace.run("long")
    told = workplace.submit(run.id, *LONG, "--cluster=local", "--detach", "--json")
    assert told.process.returncode == 0, told.stderr
    return run, json.loads(told.stdout)


def trains(run: RunDir) -> bool:
    return run_status(run).step > 0


def test_a_job_is_followed_to_its_end_and_its_report_printed(followed, workplace, local):
    assert followed.process.returncode == 0, followed.stderr
    assert [line.split()[0] for line in followed.stdout.splitlines()[1:3]] == ["denoise", "deblur"]
    first = followed.stderr.splitlines()[0]
    assert first.startswith("run followed in runs/followed, submitted to cluster local as followed-1-")
    run = workplace.run("followed")
    assert run_status(run).state == "finished"
    assert [event["type"] for event in read_events(run)][-1] == "finished"


def test_the_cluster_knows_whose_it_was(followed, workplace):
    (found,) = [each for each in submissions(workplace).values() if each["run"] == "followed"]

    assert found["state"] == "SUCCEEDED"
    assert found["owner"].endswith(f"@{socket.gethostname()}")
    assert found["path"] == str(workplace.folder / "runs" / "followed")


def test_a_finished_run_is_only_reported(followed, workplace):
    before = len(submissions(workplace))
    again = workplace.submit("followed", "--cluster=local")

    assert again.process.returncode == 0, again.stderr
    assert "steps in" in again.stdout
    assert len(submissions(workplace)) == before


def scrape(targets) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    (target,) = json.loads(targets.read_text())[0]["targets"]
    text = requests.get(f"http://{target}/metrics", timeout=HANG).text
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in parse(text) for s in family.samples}


@pytest.fixture(scope="module")
def left(followed, workplace, targets):
    """A second job that was followed until SIGTERM came, its run, and where metrics were exported before it."""
    # the last word of the first one may come a moment after its end
    until(lambda: scrape(targets).get(STEPS_TOTAL, 0) >= STEPS, "the first run is counted")
    before = json.loads(targets.read_text())
    command, run = workplace.submit("left", "--cluster=local", wait=False), workplace.run("left")
    command.until(lambda: run.submission.is_file())
    command.process.send_signal(signal.SIGTERM)
    command.wait()
    return command, run, before


def test_one_exporter_counts_for_one_run_after_the_other(left, targets):
    """The first run that came has started it; it is there for the next one, and told by both."""
    until(lambda: scrape(targets)[STEPS_TOTAL] >= 2 * STEPS, "the second run is counted")
    until(lambda: scrape(targets)[("ipt_train_running", OF_JOB)] == 0, "its end is told")
    # seen by looking, once a minute and when a run begins
    until(lambda: scrape(targets).get(("ipt_runs", (("state", "finished"),)), 0) >= 1, "the first run is seen")
    found = scrape(targets)
    assert found[STEPS_TOTAL] == 2 * STEPS
    assert found[("ipt_train_running", OF_JOB)] == found[("ipt_train_workers", OF_JOB)] == 0
    assert found[("ipt_queue_jobs", (("state", "pending"),))] == 0
    assert found[("ipt_storage_free_bytes", ())] > 0
    assert json.loads(targets.read_text()) == left[2]


def test_it_is_up_only_once_and_its_token_is_its_owners(workplace, local):
    told = json.loads(workplace.do("cluster", "up", "--json").stdout)

    assert (told["address"], told["new"], told["pid"]) == (local.address, False, local.pid)
    assert stat.S_IMODE(Path(told["token"].removeprefix("file:")).stat().st_mode) == 0o600


REQUESTS = [
    ("POST", "/api/jobs/"),
    ("GET", "/api/jobs/"),
    ("GET", "/api/jobs/followed-1"),
    ("GET", "/api/jobs/followed-1/logs"),
    ("POST", "/api/jobs/followed-1/stop"),
    ("DELETE", "/api/jobs/followed-1"),
    ("PUT", "/api/packages/gcs/pkg.zip"),
    ("GET", "/api/version"),
    ("GET", "/api/cluster_status"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/v0/logs"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize(("token", "status"), [(None, 401), ("planted-0123456789", 403)])
def test_without_its_token_nothing_is_submitted_listed_stopped_or_read(local, tmp_path, method, path, token, status):
    mark = tmp_path / "mark"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = {"entrypoint": f"touch {mark}"} if method == "POST" else None

    answer = requests.request(method, local.address + path, headers=headers, json=body, timeout=30)

    assert answer.status_code == status
    assert local.token not in answer.text
    assert not mark.exists()


def test_without_its_token_nobody_connects_to_ray_itself(local):
    (gcs,) = [each for each in local.processes() if each.name() == "gcs_server"]
    port = next(word.split("=")[1] for word in gcs.cmdline() if word.startswith("--gcs_server_port="))
    script = f"import ray; ray.init('127.0.0.1:{port}', log_to_driver=False); print('connected', len(ray.nodes()))"
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | ALONE
    ways = {
        "own": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": local.token},
        "other": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "planted-0123456789"},
    }
    connected = {}
    for name, way in ways.items():
        tried = subprocess.run([sys.executable, "-c", script], env=own | way, capture_output=True, text=True, timeout=HANG)
        connected[name] = (tried.returncode == 0, "connected 1" in tried.stdout)

    assert connected == {"own": (True, True), "other": (False, False)}


def test_the_token_is_in_nothing_that_is_kept_or_told(followed, workplace, local):
    kept = [path for path in workplace.run("followed").path.rglob("*") if path.is_file()]
    told = workplace.do("cluster", "status", "--cluster=local").stdout

    assert len(kept) > 10
    assert [path for path in kept if local.token.encode() in path.read_bytes()] == []
    assert local.token not in told + followed.stdout + followed.stderr


def test_it_goes_on_when_whoever_submitted_it_is_gone(workplace, local):
    command = workplace.submit("alone", "--cluster=local", wait=False)
    run = workplace.run("alone")
    command.until(lambda: trains(run) or run_status(run).state == "finished")
    command.process.kill()
    command.process.wait()

    until(lambda: run_status(run).state == "finished", "the run was to go on")
    assert run.report.is_file()
    assert run.current_attempt() == 1


def test_sigterm_ends_the_following_and_not_the_run(workplace, left):
    command, run, _ = left

    assert command.process.returncode == 7
    assert f"run {run.id} goes on on cluster local" in command.stderr
    until(lambda: run_status(run).state == "finished", "it was to go on")


def test_nothing_listens_to_other_machines_while_a_job_trains(long, local):
    until(lambda: trains(long[0]), "it was to train")
    found = local.processes()
    listening = [
        (process.name(), each.laddr.ip)
        for process in found
        for each in process.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    ]

    assert any(process.name().startswith("ray::RayTrain") for process in found)
    assert listening
    assert [each for each in listening if not each[1].startswith(("127.", "::1", "::ffff:127."))] == []


def test_a_run_commits_a_checkpoint_when_it_is_asked_to_and_goes_on(workplace, long):
    run = long[0]
    until(lambda: trains(run), "it was to train")

    asked = workplace.do("checkpoint", run.id, "--json")

    assert asked.process.returncode == 0, asked.stderr
    committed = [event["step"] for event in read_events(run) if event["type"] == "checkpoint"]
    assert json.loads(asked.stdout)["step"] in committed
    assert run_status(run).state == "running"


def test_a_run_is_not_submitted_twice(workplace, long):
    run, told = long

    again = workplace.submit(run.id, *LONG, "--cluster=local")

    assert again.process.returncode == 4
    assert told["id"] in again.stderr or "is running" in again.stderr
    assert run_status(run).state in ("created", "running")


def test_the_head_is_not_ended_under_a_job(workplace, long, local):
    refused = workplace.do("cluster", "down")

    assert refused.process.returncode == 4
    assert long[0].id in refused.stderr
    assert psutil.pid_exists(local.pid)


def test_doctor_finds_both_sides_well(workplace, local):
    command = workplace.do("doctor", "--cluster", "local", "--json")

    findings = {each["what"]: each for each in json.loads(command.stdout)}
    assert command.process.returncode == 0, command.stdout
    assert [each["found"] for each in findings.values() if each["verdict"] == "bad"] == []
    for what in ("answers", "Ray", "token", "clock", "shared storage", "Python", "storage", "packages"):
        assert findings[f"cluster local: {what}"]["verdict"] == "good", findings[f"cluster local: {what}"]
    # What runs there is what was sent there, and not what that machine has.
    assert "py_modules_files" in findings["cluster local: packages"]["found"]
    assert local.token not in command.stdout + command.stderr
    assert list((workplace.folder / "runs").glob("ipt-doctor-*")) == []


def test_a_cluster_that_is_not_there_is_told(workplace):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = f'[clusters.gone]\naddress = "http://127.0.0.1:{free.getsockname()[1]}"\n'
        with workplace.configured(gone):
            command = workplace.submit("nowhere", "--cluster=gone")
            looked = workplace.do("doctor", "--cluster=gone")

    assert command.process.returncode == 6
    assert "cluster gone at http://127.0.0.1:" in command.stderr
    assert "Traceback" not in command.stderr
    assert looked.process.returncode == 6
    assert "nothing can be submitted" in looked.stdout
