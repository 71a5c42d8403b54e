"""Kill -9 of everything that restores: in the end every picture is there, as if nobody had disturbed it, and accounted for."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from ipt_platform.checkpoint.files import read_json
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from tests.conftest import GRACE
from tests.processes import kill

pytestmark = pytest.mark.slow

PICTURES = 30
JOB = {
    "apiVersion": "ipt/v1",
    "kind": "restore",
    "name": "many-pictures",
    "input": "many-pictures",
    "run": "trained",
    "tasks": [{"match": "1*.png", "task": "deblur"}, {"task": "denoise"}],
    "cluster": {"actors": 2, "cpus_per_actor": 0.5},
}


@pytest.fixture(scope="module")
def place(workplace, write_trained):
    write_trained(workplace.folder / "runs")
    (workplace.folder / "many-pictures").mkdir()
    for number in range(PICTURES):  # each so large that it takes a moment
        with Image.open(workplace.folder / "photos" / f"p{number % 4}.png") as photo:
            photo.resize((320, 290 + number)).save(workplace.folder / "many-pictures" / f"{number}.png")
    (workplace.folder / "many-pictures" / "bad.png").write_bytes(b"no picture")
    return workplace


def start(place, name: str, **changes: Any):
    job = JOB | {"output": f"out-{name}"} | changes
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return place.start("submit", f"{name}.yaml", "--run", name)


def outputs(place, name: str) -> dict[str, str]:
    """The digest of everything in a folder of outputs, by name."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in (place.folder / f"out-{name}").iterdir()}


@pytest.fixture(scope="module")
def undisturbed(place) -> dict[str, str]:
    command = start(place, "restored-undisturbed")
    assert command.wait() == 0, command.stderr
    found = outputs(place, "restored-undisturbed")
    assert found.keys() == {f"{number}.png" for number in range(PICTURES)}
    return found


def there(place, name: str) -> list[Path]:
    return [path for path in (place.folder / f"out-{name}").glob("*.png") if not path.name.startswith(".")]


def assert_done(place, name: str, undisturbed: dict[str, str], attempts: int) -> None:
    assert outputs(place, name) == undisturbed  # and nothing half written beside them
    run = place.run(name)
    status, report = run_status(run), read_json(run.report)
    assert (status.state, status.attempt, status.step, status.steps) == ("finished", attempts, PICTURES + 1, PICTURES + 1)
    assert (report["pictures"], report["restored"], report["found"]) == (PICTURES + 1, PICTURES, 0)
    assert {kind: [each["name"] for each in bad] for kind, bad in report["bad"].items()} == {"other-format": ["bad.png"]}


def test_an_actor_that_is_killed_is_started_again_and_loses_nothing(place, undisturbed):
    command = start(place, "actor")
    run = place.run("actor")
    for number in (1, 2):
        command.until(lambda at=number: len(there(place, "actor")) >= 6 * at, pause=0.01)
        kill([command.process_of("ray::MapWorker")])
    (place.folder / "out-actor/.actor-0123abcd.tmp").write_bytes(b"what it wrote if it was killed just then")

    assert command.wait() == 0, command.stderr

    assert_done(place, "actor", undisturbed, attempts=1)
    lost = [event for event in read_events(run) if event["type"] == "worker-lost"]
    assert len(lost) >= 1
    assert all("was lost, and has been started again" in event["reason"] for event in lost)
    assert command.left(grace=GRACE) == []


def test_after_a_kill_the_same_submission_does_what_is_missing(place, undisturbed):
    command = start(place, "driver")
    command.until(lambda: len(there(place, "driver")) >= 8, pause=0.01)
    kill([command.process_of("ipt_platform.cluster.drive")])
    assert command.wait() == 6, command.stderr
    assert command.stderr.splitlines()[-1].endswith("; go on with: ipt-platform submit driver.yaml --run driver")
    status = json.loads(place.do("status", "driver", "--json").stdout)
    assert status["state"] == "failed"
    assert status["reason"].endswith("submitting driver again restores what is missing")
    command.left(grace=30)  # what the killed one had started ends by itself
    before = {path: path.stat().st_mtime_ns for path in there(place, "driver")}
    assert 8 <= len(before) < PICTURES

    again = start(place, "driver")

    assert again.wait() == 0, again.stderr
    assert_done(place, "driver", undisturbed, attempts=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [event["found"] for event in read_events(place.run("driver")) if event["type"] == "resumed"] == [len(before)]
    assert command.left() == again.left(grace=GRACE) == []
    assert place.ray_folders() == []


def test_a_run_whose_actor_died_too_often_and_that_was_stopped_goes_on(place, undisturbed):
    alone = {"actors": 1, "cpus_per_actor": 0.5, "max_failures": 0}
    run: RunDir = place.run("often")

    # an actor that dies once too often fails the run, and its log names the picture
    first = start(place, "often", cluster=alone)
    first.until(lambda: len(there(place, "often")) >= 4, pause=0.01)
    kill([first.process_of("ray::MapWorker")])
    assert first.wait() == 6, first.stderr
    assert "an actor was lost more often than cluster.max_failures allows (0)" in first.stderr
    (log,) = [path for name, path in run.log_files(1).items() if name.startswith("actor-")]
    assert "restoring " in log.read_text().splitlines()[-1] or "restored " in log.read_text().splitlines()[-1]

    # gone on with, and stopped as a person does
    second = start(place, "often", cluster=alone)
    second.until(lambda: any(line["attempt"] == 2 for line in read_metrics(run)), pause=0.01)
    second.interrupt()
    assert second.wait() == 7, second.stderr
    assert second.stdout == ""
    assert "Traceback" not in second.stderr
    assert second.stderr.splitlines()[-1] == "stopped by Ctrl-C; go on with: ipt-platform submit often.yaml --run often"
    assert [event["type"] for event in read_events(run)][-2:] == ["stop-requested", "cancelled"]
    assert second.left() == []
    assert place.ray_folders() == []

    # gone on with to its end
    third = start(place, "often", cluster=alone)
    assert third.wait() == 0, third.stderr
    assert_done(place, "often", undisturbed, attempts=3)
