"""A search that is killed, stopped and gone on with, and one whose trials fail: no trial is lost, and none is trained twice."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.data.index import load_index
from ipt_platform.data.pack import pack
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.load import load_job
from tests.conftest import GRACE, SHORT

pytestmark = pytest.mark.slow

STEPS = 60
BASE = {
    "kind": "train",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 2}], "log_every": 1, "samples": 0},
    "evaluate": {"every": 20, "sets": ["test"]},
    "checkpoint": {"every": 5, "keep": 100},
    "cluster": {"cpus_per_worker": 0.5},
}


def search_file(place: Any, name: str, base: dict[str, Any], at_a_time: int, **search: Any) -> str:
    """Writes NAME.yaml; gives what it is called."""
    job = {"apiVersion": "ipt/v1", "kind": "tune", "name": name, "base": base, "search": search}
    whole = {**job, "cluster": {"max_concurrent": at_a_time}}
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    return f"{name}.yaml"


def trial(run: RunDir, name: str) -> RunDir:
    return RunDir(run.members / name)


def of_type(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir, attempt: int) -> int:
    return max((line["step"] for line in read_metrics(run) if line["attempt"] == attempt), default=0)


def in_the_middle(run: RunDir, attempt: int) -> Callable[[], bool]:
    """Whether this attempt at a trial has gone on from a checkpoint or made one, and is far from its end."""
    return lambda: last_step(run, attempt) % STEPS >= 7


def files_of(run: RunDir) -> dict[Path, bytes]:
    return {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def report_of(run: RunDir) -> dict[str, Any]:
    return json.loads(run.report.read_bytes())


def test_a_search_killed_and_then_stopped_goes_on_with_all_that_it_had(workplace):
    ranks = {"model.bias.rank": {"choices": [1, 2, 4, 8]}}
    file = search_file(workplace, "survives", BASE, 2, space=ranks, searcher="grid", scheduler="none")
    arguments, run = ("submit", file, "--run", "survives"), workplace.run("survives")
    names = [f"t00{number}" for number in range(1, 5)]

    def finished() -> list[str]:
        return [name for name in names if run_status(trial(run, name)).state == "finished"]

    # killed while the third trial trains
    first = workplace.start(*arguments)
    first.until(in_the_middle(trial(run, "t003"), 1), pause=SHORT)
    first.process.kill()
    assert first.left(grace=GRACE) == []
    assert run_status(run).state == "interrupted"
    over, committed = finished(), list_checkpoints(trial(run, "t003").path)[0].step
    assert over
    assert "t003" not in over
    before = {name: files_of(trial(run, name)) for name in over}

    # gone on with, and stopped as a person does
    second = workplace.start(*arguments)
    second.until(in_the_middle(trial(run, "t004"), 1), pause=SHORT)
    second.interrupt()
    assert second.wait() == 7, second.stderr
    assert second.left() == []
    assert workplace.ray_folders() == []
    assert "Traceback" not in second.stderr
    said, go_on = second.stderr.splitlines()[-1].split("; go on with: ")
    assert said == "stopped by Ctrl-C"
    assert shlex.split(go_on)[1:] == [*arguments]
    assert run_status(run).state == "cancelled"
    assert not run.report.exists()
    stopped = run_status(trial(run, "t004"))
    assert (stopped.state, stopped.reason.startswith("stopped by Ctrl-C")) == ("cancelled", True)
    assert list_checkpoints(trial(run, "t004").path)[0].step == stopped.step == last_step(trial(run, "t004"), 1) >= 7

    # gone on with to its end
    third = workplace.do(*arguments)
    assert third.process.returncode == 0, third.stderr
    assert third.left() == []
    assert workplace.ray_folders() == []

    assert {name: files_of(trial(run, name)) for name in over} == before
    (resumed,) = [event for event in of_type(trial(run, "t003"), "resumed") if event["attempt"] == 2]
    assert resumed["step"] == committed
    assert [event["step"] for event in of_type(trial(run, "t004"), "resumed")] == [stopped.step]
    assert finished() == names
    assert [line["values"] for line in map(json.loads, (run.path / "trials.jsonl").read_text().splitlines())] == [
        {"model.bias.rank": rank} for rank in (1, 2, 4, 8)
    ]
    found = report_of(run)["trials"]
    assert [(each["trial"], each["state"], each["step"]) for each in found] == [(name, "finished", STEPS) for name in names]
    assert run_status(run).state == "finished"
    assert len(of_type(run, "finished")) == 1


@pytest.fixture
def with_a_bad_picture(workplace) -> str:
    """Shards in which one picture is damaged."""
    folder = workplace.folder / "damaged"
    pack(workplace.folder / "photos", folder)
    (shard,) = folder.glob("*.tar")
    member = load_index(shard).members[1]
    with shard.open("r+b") as file:
        file.seek(member.offset + 8)
        file.write(bytes(64))
    return "damaged/*.tar"


def test_a_trial_that_fails_is_a_row_and_a_trial_far_behind_is_stopped(workplace, with_a_bad_picture):
    space = {"data.max_bad": {"choices": [0.9, 0.0]}, "train.optimizer.lr": {"choices": [1.0e-4, 0.5]}}
    base = BASE | {"data": {"shards": with_a_bad_picture, "carrier": "local"}}
    file = search_file(workplace, "fails", base, 1, space=space, searcher="grid", repeat=[7], best=1)

    command = workplace.do("submit", file, "--run", "fails")

    run = workplace.run("fails")
    assert command.process.returncode == 0, command.stderr
    assert command.left() == []
    rows = [*csv.DictReader((run.path / "trials.csv").open(newline=""))]
    assert [(row["trial"], row["state"], row["step"]) for row in rows] == [
        ("t001", "finished", "60"),
        ("t002", "stopped", "20"),
        ("t003", "failed", "0"),
        ("t004", "failed", "0"),
    ]
    for row in rows[2:]:
        assert "1 damaged; that is more than data.max_bad 0 allows" in row["reason"]
    assert "not among the best at step 20" in rows[1]["reason"]
    # what was stopped has what it needs to be gone on with
    stopped = trial(run, "t002")
    assert list_checkpoints(stopped.path)[0].step == run_status(stopped).step < STEPS
    # the best was repeated with the other seed, and its job can be submitted
    report = report_of(run)
    assert (report["best"]["trial"], report["pareto"]) == ("t001", ["t001"])
    assert set(report["seeds"]["t001"]["psnr"]) == {"0", "7"}
    assert run_status(trial(run, "t001-s7")).state == "finished"
    best = load_job(run.path / "best.yaml", base=workplace.folder).job
    assert (best.data.max_bad, best.train.optimizer.lr) == (0.9, 1.0e-4)
    states = {event["job"]: event["state"] for event in of_type(run, "job")}
    assert states == {"t001": "finished", "t002": "stopped", "t003": "failed", "t004": "failed", "t001-s7": "finished"}
