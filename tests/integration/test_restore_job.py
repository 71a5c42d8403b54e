"""`submit` of a job that restores, as people run it: a process, an embedded Ray, actors, and the pictures that are left."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from ipt_platform.checkpoint.files import read_json
from ipt_platform.checkpoint.load import load_model
from ipt_platform.observe.events import EVENT_TYPES, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.restore.imageio import encode_picture, read_picture
from ipt_platform.restore.tiles import restore_array

JOB = {
    "apiVersion": "ipt/v1",
    "kind": "restore",
    "name": "many",
    "input": "mixed",
    "output": "restored",
    "run": "trained",
    "tasks": [{"match": "rainy/**", "task": "deblur"}, {"task": "denoise"}],
    "cluster": {"actors": 2, "cpus_per_actor": 0.5},
}
OWN_LINE = re.compile(rf"run [a-z0-9-]+ in |({'|'.join(EVENT_TYPES)})\b")
GOOD = {
    **{f"{number}.png": (40 + number, 52) for number in range(5)},
    **{f"rainy/{number}.png": (48, 40 + number) for number in range(4)},
    "rainy/deep/x.png": (30, 30),
}


@pytest.fixture(scope="module")
def place(workplace, write_trained):
    """The workplace with a model, a folder of pictures of two kinds, three bad ones among them, and a job."""
    write_trained(workplace.folder / "runs")
    for seed, (name, (height, width)) in enumerate(GOOD.items()):
        path = workplace.folder / "mixed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    whole = (workplace.folder / "mixed" / "0.png").read_bytes()
    (workplace.folder / "mixed" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (workplace.folder / "mixed" / "rainy" / "page.jpg").write_text("<html>")
    (workplace.folder / "mixed" / "empty.webp").touch()
    (workplace.folder / "mixed" / "note.txt").touch()
    (workplace.folder / "restore.yaml").write_text(yaml.safe_dump(JOB, sort_keys=False))
    return workplace


def submit(workplace, run: str, *changes: str):
    return workplace.do("submit", "restore.yaml", "--run", run, *(word for each in changes for word in ("--set", each)))


def restored_by_hand(workplace, name: str) -> bytes:
    """Another way to the same picture: a fresh merge, and no job."""
    model = load_model(
        workplace.folder / "runs/trained/checkpoints/step-3", "deblur" if name.startswith("rainy") else "denoise"
    )
    picture = read_picture(workplace.folder / "mixed" / name)
    return encode_picture(picture.with_rgb(restore_array(model, picture.rgb)), Path(name).suffix)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def straight(place):
    return submit(place, "all-restored")


@pytest.fixture(scope="module")
def run(place, straight) -> RunDir:
    assert straight.process.returncode == 0, straight.stderr
    return place.run("all-restored")


def test_every_good_picture_is_restored_by_the_model_of_its_task(place, run):
    found = outputs(place.folder / "restored")

    assert found.keys() == GOOD.keys()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert found == {name: restored_by_hand(place, name) for name in GOOD}
    torch.set_num_threads(before)


def test_the_report_accounts_for_every_picture(place, run):
    report = read_json(run.report)

    assert (report["pictures"], report["restored"], report["found"]) == (13, 10, 0)
    assert {kind: [bad["name"] for bad in found] for kind, found in report["bad"].items()} == {
        "cut-off": ["empty.webp"],
        "damaged": ["cut.png"],
        "other-format": ["rainy/page.jpg"],
    }
    assert (report["unmatched"], report["ignored"]) == (0, 1)
    assert report["tasks"] == {"deblur": 6, "denoise": 7}
    checkpoint = place.folder / "runs/trained/checkpoints/step-3"
    assert report["models"]["deblur"] == {"by": f"deblur of {checkpoint}", "scale": 1}


def test_what_the_command_says(straight, run):
    assert straight.stdout.startswith("10 of 13 pictures restored to restored: runs/all-restored/report.json\n")
    assert "3 could not be restored (1 cut-off, 1 damaged, 1 other-format); the report names each" in straight.stdout
    lines = straight.stderr.splitlines()
    assert [line for line in lines if not OWN_LINE.match(line)] == []
    assert [line.split()[0] for line in lines[1:]] == [event["type"] for event in read_events(run)[1:]]
    bad = {event["key"] for event in read_events(run) if event["type"] == "bad-sample"}
    assert bad == {"cut.png", "empty.webp", "rainy/page.jpg"}


def test_ls_status_and_logs_know_such_a_run(place, run):
    (row,) = [row for row in json.loads(place.do("ls", "--json").stdout) if row["run_id"] == "all-restored"]
    said, logs = place.do("status", "all-restored").stdout, json.loads(place.do("logs", "all-restored", "--json").stdout)

    assert (row["state"], row["kind"], row["step"], row["steps"], row["attempt"]) == ("finished", "restore", 13, 13, 1)
    assert "all-restored: finished: 10 restored, 0 were there, 3 bad" in said
    assert "13 of 13" in said
    assert "3 of 13 samples could not be used" in said
    assert "checkpoint" not in said
    names = {log["rank"]: log["lines"] for log in logs["logs"]}
    assert "driver" in names
    assert len(names) in (2, 3)  # on a busy machine one actor may do all before the other has started
    assert sum("restored " in line for lines in names.values() for line in lines) == 10


def test_nothing_is_left_behind(straight, place):
    assert straight.left(grace=20) == []
    assert place.ray_folders() == []
    assert {path.name for path in place.run("all-restored").path.iterdir()} == {
        *("attempts", "logs", "events.jsonl", "job.yaml", "metrics.jsonl", "models.json", "report.json"),
    }


def test_a_new_run_does_only_what_is_missing(place, run):
    folder = place.folder / "restored"
    before = outputs(folder)
    shutil.rmtree(folder / "rainy" / "deep")
    (folder / "1.png").unlink()
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}

    command = submit(place, "second")

    assert command.process.returncode == 0, command.stderr
    assert outputs(folder) == before
    assert times.items() <= {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}.items()
    report = read_json(place.run("second").report)
    assert (report["restored"], report["found"]) == (2, 8)
    assert "2 of 13 pictures restored to restored, 8 were there already" in command.stdout


def test_where_nothing_is_missing_no_ray_is_started(place, run):
    (place.folder / "clean").mkdir()
    for name in ("0.png", "1.png"):
        shutil.copy(place.folder / "mixed" / name, place.folder / "clean" / name)

    command = submit(place, "third", "input=clean")

    assert command.process.returncode == 0, command.stderr
    report = read_json(place.run("third").report)
    assert (report["pictures"], report["restored"], report["found"], report["bad"]) == (2, 0, 2, {})
    assert "Ray" not in place.run("third").logs(1, "driver").read_text()


def test_a_finished_run_is_only_reported_and_another_job_refused(place, run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    again, other = submit(place, "all-restored"), submit(place, "all-restored", "output=elsewhere")

    assert (again.process.returncode, again.stderr) == (0, "run all-restored in runs/all-restored\n")
    assert other.process.returncode == 4
    assert "output: 'restored' -> 'elsewhere'" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("command", "change", "words"),
    [
        ("validate", "run=nobody", "run: no run 'nobody' in "),
        ("submit", "tasks=[{task: derain}]", "tasks.0.task: "),
        ("submit", "input=nowhere", "input: there is no folder nowhere"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_starts(place, command, change, words):
    done = place.do(command, "restore.yaml", "--set", change, *(("--run", "wrong") if command == "submit" else ()))

    assert done.process.returncode == 2
    assert words in done.stderr
    assert not place.run("wrong").path.exists()


def test_plan_counts_pictures_and_tasks(place, run):
    shown = place.do("plan", "restore.yaml")

    assert shown.process.returncode == 0, shown.stderr
    assert "many: 13 pictures of mixed to restored on 2 actors" in shown.stdout
    assert re.search(r"rainy/\*\* +deblur", shown.stdout)
    assert re.search(r"deblur +6", shown.stdout)
