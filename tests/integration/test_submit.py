"""`ipt-platform submit` as people run it: a process, an embedded Ray, a tiny job, and the files that are left."""

import json
import re
import shlex

import cv2
import pytest
import torch

from ipt_platform.checkpoint.files import list_checkpoints, read_json, read_tensors
from ipt_platform.checkpoint.load import load_model
from ipt_platform.observe.events import EVENT_TYPES, read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir

STEPS = 30
STRAIGHT = ("straight", "data.carrier=ray")
REPORT = {"protocol", "sets", "parameters", "steps", "seconds", "images_per_second", "data_wait_share", "samples"}
OWN_LINE = re.compile(rf"run [a-z0-9-]+ in |({'|'.join(EVENT_TYPES)})\b")


@pytest.fixture(scope="module")
def straight(workplace):
    return workplace.submit(*STRAIGHT)


@pytest.fixture(scope="module")
def run(workplace, straight) -> RunDir:
    assert straight.process.returncode == 0, straight.stderr
    return workplace.run("straight")


def losses(run: RunDir) -> dict[int, dict[str, float]]:
    return {line["step"]: line["loss"] for line in read_metrics(run) if "loss" in line}


def types(run: RunDir) -> list[str]:
    return [event["type"] for event in read_events(run)]


def test_the_table_comes_on_stdout_and_state_changes_on_stderr(straight, run):
    heading, *rows = straight.stdout.splitlines()[:3]

    assert heading.split() == ["task", "input", "dB", "restored", "dB", "gain", "set", "pictures"]
    assert [(row.split()[0], *row.split()[-2:]) for row in rows] == [("denoise", "test", "2"), ("deblur", "test", "2")]
    assert f"{STEPS} steps in " in straight.stdout
    lines = straight.stderr.splitlines()
    assert lines[0] == "run straight in runs/straight"
    assert [line for line in lines if not OWN_LINE.match(line)] == []  # nothing of Ray's
    assert [line.split()[0] for line in lines[1:]] == [kind for kind in types(run) if kind != "created"]


def test_what_ray_says_goes_to_the_log_of_the_driver(run):
    driver = run.logs(1, "driver").read_text()

    assert "Started a local Ray instance" in driver
    assert "ray" not in run.logs(1, 0).read_text().lower()
    assert f"step {STEPS}/{STEPS}" in run.logs(1, 0).read_text()


def test_the_worker_computes_with_the_threads_that_it_was_given(run):
    assert "1 thread\n" in run.logs(1, 0).read_text()


def test_nothing_is_left_behind(straight, workplace):
    assert straight.left(grace=20) == []
    assert workplace.ray_folders() == []
    assert not (workplace.folder / ".ray").exists()
    assert {path.name for path in (workplace.folder / "runs" / "straight").iterdir()} == {
        *("attempts", "checkpoints", "logs", "samples"),
        *("events.jsonl", "heartbeat.json", "job.yaml", "metrics.jsonl", "report.json"),
    }


def test_the_report_and_the_pictures_are_whole(run):
    report = read_json(run.report)
    assert report.keys() == REPORT
    assert report["steps"] == STEPS
    assert report["samples"] == {"seen": report["samples"]["seen"], "bad": {}}
    assert report["samples"]["seen"] >= STEPS
    assert report["parameters"]["backbone"] > 0
    assert report["parameters"]["bias"].keys() == {"denoise", "deblur"}
    for task in ("denoise", "deblur"):
        assert report["sets"]["test"][task].keys() == {"psnr", "psnr_input", "ssim", "n"}
        (picture,) = run.samples(STEPS).glob(f"test-{task}-*.png")
        height, width, _ = cv2.imread(str(picture)).shape
        assert height >= 40
        assert width >= 3 * 48


def test_every_step_is_told_and_every_checkpoint_can_be_used(run):
    assert list(losses(run)) == list(range(1, STEPS + 1))
    assert all(line["attempt"] == 1 for line in read_metrics(run))
    infos = list_checkpoints(run.path)
    assert [info.step for info in infos] == [STEPS, 27, 24]
    assert all(info.usable for info in infos)
    assert types(run)[0] == "created"
    assert types(run)[-1] == "finished"
    load_model(infos[0].path, "denoise")


def test_ls_status_and_logs_agree(workplace, run):
    listed, status, logs = (workplace.do(*words, "--json") for words in (["ls"], ["status", "straight"], ["logs", "straight"]))

    document = json.loads(status.stdout)
    (row,) = [row for row in json.loads(listed.stdout) if row["run_id"] == "straight"]
    assert row.items() <= document.items()
    assert (row["state"], row["step"], row["steps"], row["attempt"]) == ("finished", STEPS, STEPS, 1)
    assert row["psnr"]["test"] == {task: numbers["psnr"] for task, numbers in read_json(run.report)["sets"]["test"].items()}
    ranks = {log["rank"]: log["lines"] for log in json.loads(logs.stdout)["logs"]}
    assert ranks.keys() == {"0", "driver"}
    assert any(f"step {STEPS}/{STEPS}" in line for line in ranks["0"])


def test_a_finished_run_is_only_reported(workplace, run):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}

    again = workplace.submit(*STRAIGHT, "--json")

    assert again.process.returncode == 0
    document = json.loads(again.stdout)
    assert [document.pop(key) for key in ("run", "path", "registered")] == ["straight", "runs/straight", []]
    assert document == read_json(run.report)
    assert again.stderr == "run straight in runs/straight\n"
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_another_job_under_the_id_of_a_run_is_refused(workplace, run):
    before = run.events.read_bytes()

    other = workplace.submit(*STRAIGHT, "train.stages.1.steps=9", "train.ema=null")

    assert other.process.returncode == 4
    assert other.stdout == ""
    assert "run straight was started with another job" in other.stderr
    assert "train.stages[1].steps: 24 -> 9" in other.stderr or "train.stages.1.steps: 24 -> 9" in other.stderr
    assert "train.ema: 0.999 -> " in other.stderr
    assert "Traceback" not in other.stderr
    assert run.events.read_bytes() == before


@pytest.fixture(scope="module")
def stopped(workplace):
    """A run stopped by Ctrl-C in the middle, and what had been committed by then."""
    command = workplace.submit("stopped", wait=False)
    own = workplace.run("stopped")
    command.until(lambda: len(losses(own)) >= 4)
    command.interrupt()
    command.wait()
    return command, [info.step for info in list_checkpoints(own.path) if info.usable]


def test_ctrl_c_commits_a_checkpoint_and_says_how_to_go_on(stopped, workplace):
    command, checkpoints = stopped
    own = workplace.run("stopped")

    assert command.process.returncode == 7
    last = max(losses(own))
    assert 4 <= last < STEPS
    assert checkpoints[0] == last
    ended = [each for each in types(own) if each != "stage"]  # which may begin while the request is on its way
    after = ended[ended.index("stop-requested") + 1 :]  # a checkpoint that was due may come first
    assert after in (["checkpoint", "cancelled"], ["checkpoint", "checkpoint", "cancelled"])
    assert command.stdout == ""
    assert [line for line in command.stderr.splitlines()[:-1] if not OWN_LINE.match(line)] == []
    reason, go_on = command.stderr.splitlines()[-1].split("; go on with: ")
    assert reason == "stopped by Ctrl-C"
    assert shlex.split(go_on) == ["ipt-platform", "submit", "job.yaml", "--run", "stopped"]
    assert command.left(grace=20) == []
    assert workplace.ray_folders() == []


@pytest.mark.slow
def test_a_job_that_diverges_fails_at_once_and_keeps_its_last_good_state(workplace):
    wild = "train.optimizer={lr: 1.0, bias_lr: 1.0, betas: [0.0, 0.0], grad_clip: null, bias_grad_clip: null}"

    command = workplace.submit(
        "wild", wild, "train.schedule={final_lr_ratio: 1.0}", "checkpoint.every=1", "model.backbone=iptv2-tiny"
    )

    own = workplace.run("wild")
    assert command.process.returncode == 5
    assert command.stdout == ""
    failed = max(losses(own))
    assert 2 <= failed < STEPS
    *told, error = command.stderr.splitlines()
    assert [line for line in told if not OWN_LINE.match(line)] == []
    assert re.match(rf"error: step {failed}: .* not finite.*\. Nothing was updated\.", error)
    assert types(own).count("started") == 1  # trying again would come to the same end
    assert types(own)[-1] == "failed"
    ending = read_events(own)[-1]
    assert (ending["class"], ending["exit_code"]) == ("user", 5)
    assert list_checkpoints(own.path)[0].step == failed
    for name in ("model", "average/model", "biases/deblur", "optimizer"):
        tensors = read_tensors(own.checkpoints / f"step-{failed}" / f"{name}.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    status = json.loads(workplace.do("status", "wild", "--json").stdout)
    assert status["state"] == "failed"
    assert status["reason"].startswith(error.removeprefix("error: ").rstrip("."))
