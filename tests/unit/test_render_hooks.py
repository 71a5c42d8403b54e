"""What pods do before their end, as real shells with real processes."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ipt_platform.cluster.render.hooks import leave, stop_run
from ipt_platform.cluster.render.options import JOB_FILE

RUN = """
import pathlib, signal, sys, time
def stop(*_):
    time.sleep(0.5)  # as long as a checkpoint takes
    pathlib.Path(sys.argv[0]).with_name("committed").touch()
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
time.sleep(60)
"""


def script(hook: dict) -> str:
    shell, option, text = hook["preStop"]["exec"]["command"]
    assert (shell, option) == ("bash", "-c")
    return text


@pytest.fixture
def started(tmp_path):
    """Starts what looks as `ipt-platform submit` does; ends it."""
    program = tmp_path / "ipt-platform"
    program.write_text(RUN)
    processes = []

    def start(run: str) -> subprocess.Popen:
        words = [sys.executable, program, "submit", JOB_FILE, "--run", run]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        assert processes[-1].stdout.readline() == b"ready\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_the_head_asks_its_run_to_stop_and_waits_for_the_checkpoint(tmp_path, started):
    run = f"{uuid.uuid4().hex}.1"
    own, longer = started(run), started(f"{run}0")
    hook = subprocess.Popen(["bash", "-c", script(stop_run(run))])

    assert own.wait(60) == 7
    assert hook.wait(60) == 0
    assert (tmp_path / "committed").exists()
    assert longer.poll() is None  # a run whose id only begins alike is left alone


def test_a_head_whose_run_is_over_ends_at_once():
    assert subprocess.run(["bash", "-c", script(stop_run(uuid.uuid4().hex))], check=False, timeout=60).returncode == 0


def test_a_worker_tells_ray_and_waits_for_those_that_train(tmp_path):
    """Ray and the list of processes are stand-ins here: on this machine they would be those of everybody."""
    told, asked = tmp_path / "told", tmp_path / "asked"
    for name, text in (
        ("ray", f'printf "%s\\n" "$@" > {told}'),
        ("pgrep", f'printf "%s\\n" "$*" >> {asked}; [ $(wc -l < {asked}) -lt 3 ]'),
        ("sleep", ":"),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    subprocess.run(["bash", "-c", script(leave(120))], check=True, env=path, timeout=60)

    words = told.read_text().splitlines()
    assert words[:3] == ["drain-node", "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    assert words[words.index("--deadline-remaining-seconds") + 1] == "110"
    assert asked.read_text().splitlines() == ["-f ^ray::RayTrainWorker"] * 3


def test_ray_has_the_command_that_workers_use():
    hidden = subprocess.run(
        [Path(sys.executable).with_name("ray"), "drain-node", "--help"], capture_output=True, text=True, check=True
    )

    for word in ("--deadline-remaining-seconds", "--reason-message", "DRAIN_NODE_REASON_PREEMPTION"):
        assert word in hidden.stdout


def test_there_is_always_time_to_wait():
    assert "-lt 1 ]" in script(leave(1))
