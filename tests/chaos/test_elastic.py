"""A cluster of two machines, of which one is lost and comes back: the run goes on with one worker and then with two again, and
every step has the samples that it would have had.

Each machine is a `ray start` of its own with one CPU, at an address of its own of the loopback range.
"""

import contextlib
import itertools
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import CancelledRunError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from tests.conftest import HANG
from tests.processes import kill

pytestmark = pytest.mark.slow

HEAD, OTHER = "127.0.0.2", "127.0.0.3"
EVERY = 25
MORE = 10
"""Steps that are waited for after each change."""
TRIES = 4
"""Ray gives a machine up that has not started in 30 s."""

JOB = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "elastic",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
    "tasks": {"denoise": {"params": {"sigma": {"min": 5, "max": 50}}}, "deblur": None},
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {
        # More steps than there is time for: the test stops the run when it has seen what it wants to see.
        "stages": [{"steps": 100_000, "patch": 32, "images": 4}],
        # So slow that a last digit stays one: a loss then tells what samples a step had.
        "optimizer": {"lr": 1.0e-6, "bias_lr": 1.0e-6},
        "schedule": {"warmup": 2},
        "log_every": 1,
    },
    "checkpoint": {"every": EVERY},
    "cluster": {"workers": {"min": 1, "max": 2, "look_every_s": 1}, "max_failures": 10},
}


class Machine:
    """A `ray start --block`, and all that it starts."""

    def __init__(self, folder: Path, environment: dict[str, str], *words: str):
        program = Path(sys.executable).with_name("ray")
        own = ["--num-cpus=1", "--num-gpus=0", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
        self.log = folder / f"ray{words[0].rpartition('.')[2]}.log"
        for _ in range(TRIES):
            with self.log.open("wb") as log:
                self.process = psutil.Popen(
                    [program, "start", f"--node-ip-address={words[0]}", *words[1:], *own],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while self.process.poll() is None and "Ray runtime started" not in self.log.read_text():
                time.sleep(0.2)
            if self.process.poll() is None:
                return
        pytest.fail(f"Ray did not start {TRIES} times; the last time:\n{self.log.read_text()}")

    def kill(self) -> None:
        """All of it at once, as when a machine loses its power."""
        if self.process.is_running():
            every = [*self.process.children(recursive=True), self.process]
            for each in every:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.suspend()
            kill({*every, *self.process.children(recursive=True)})


class Cluster:
    """Two machines."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        with socket.socket() as one, socket.socket() as other:
            for free in (one, other):
                free.bind((HEAD, 0))
            port, unused = (free.getsockname()[1] for free in (one, other))
        self.address = f"{HEAD}:{port}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "not-a-real-token-0123456789abcdef0123456789abcdef"}
        self.temporary = Path(tempfile.mkdtemp(prefix="e"))
        self.folder, self.environment = folder, environment | token | {"RAY_enable_metrics_collection": "0"}
        words = ["--head", f"--port={port}", "--include-dashboard=false", f"--ray-client-server-port={unused}"]
        self.head = Machine(folder, self.environment, HEAD, *words, f"--temp-dir={self.temporary}")
        self.other: Machine | None = None

    def join(self) -> None:
        """The second machine joins."""
        self.other = Machine(self.folder, self.environment, OTHER, f"--address={self.address}")

    def close(self) -> None:
        for machine in (self.other, self.head):
            if machine:
                machine.kill()
        shutil.rmtree(self.temporary, ignore_errors=True)


@pytest.fixture
def cluster(workplace) -> Iterator[Cluster]:
    job = workplace.folder / "job.yaml"
    others, _ = job.read_bytes(), job.write_text(yaml.safe_dump(JOB))
    before, made = dict(workplace.environment), Cluster(workplace.folder, workplace.environment)
    workplace.environment |= made.environment
    try:
        yield made
    finally:
        workplace.environment.clear()
        workplace.environment |= before
        job.write_bytes(others)
        made.close()


def lines(run: RunDir, attempt: int | None = None) -> list[dict[str, Any]]:
    return [line for line in read_metrics(run) if "loss" in line and attempt in (None, line["attempt"])]


def last(run: RunDir, attempt: int | None = None) -> int:
    return max((line["step"] for line in lines(run, attempt)), default=0)


def world(run: RunDir, attempt: int) -> int:
    """With how many workers an attempt trained."""
    return sum(rank.isdigit() for rank in run.log_files(attempt))


def trains_with(run: RunDir, workers: int, after: int) -> Callable[[], int]:
    """Gives the attempt after another that trains with so many workers and has come some way, or 0."""

    def found() -> int:
        attempt = run.current_attempt()
        far = attempt > after and world(run, attempt) == workers and len(lines(run, attempt)) >= MORE
        return attempt if far else 0

    return found


def until(command: Any, true: Callable[[], Any]) -> Any:
    """As `command.until`, with the patience that a cluster takes."""
    end = time.monotonic() + HANG
    while not (value := true()):
        command.look()
        assert command.process.poll() is None, f"it ended with {command.process.returncode}:\n{command.stderr}"
        assert time.monotonic() < end, f"nothing happened for {HANG} s:\n{command.stderr}"
        time.sleep(0.1)
    return value


def test_workers_lost_and_gained_change_no_sample_of_any_step(workplace, cluster, one_thread):
    cluster.join()
    workplace.environment["RAY_ADDRESS"] = cluster.address
    command, run = workplace.submit("elastic", wait=False), workplace.run("elastic")
    first = until(command, trains_with(run, workers=2, after=0))
    until(command, lambda: any(event["type"] == "checkpoint" for event in read_events(run)))

    cluster.other.kill()
    second = until(command, trains_with(run, workers=1, after=first))
    cluster.join()
    third = until(command, trains_with(run, workers=2, after=second))
    run.request_stop("enough was seen")

    assert command.wait() == 7, command.stderr
    told = {
        kind: [event for event in read_events(run) if event["type"] == kind] for kind in ("worker-lost", "resized", "resumed")
    }
    assert len(told["worker-lost"]) == 1
    assert [event["attempt"] for event in told["resumed"]] == [second, third] == [2, 3]
    (resized,) = told["resized"]
    assert resized["reason"].startswith("1 -> 2 workers after the checkpoint of step ")
    assert told["resumed"][1]["step"] >= int(resized["reason"].split()[-1]) > told["resumed"][0]["step"]

    straight = undisturbed(workplace, last(run))
    want = {line["step"]: line["loss"] for line in lines(straight)}
    assert sorted({line["step"] for line in lines(run)}) == list(range(1, last(run) + 1))
    assert [line["samples"]["seen"] for line in lines(run)] == [4 * line["step"] for line in lines(run)]
    for line in lines(run):
        assert line["loss"] == pytest.approx(want[line["step"]], rel=1e-4), line
    # which would not hold if a step had the samples of its neighbour
    near = [abs(a["denoise"] - b["denoise"]) < 1e-4 * a["denoise"] for a, b in itertools.pairwise(want.values())]
    assert sum(near) < len(near) / 20


def undisturbed(workplace, steps: int) -> RunDir:
    """The same job in this process, by one worker and without Ray, for at least so many steps."""
    run = create(workplace.folder / "runs", "undisturbed-elastic")

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in local_stream(maker, start, stop, processes=0):
            if batch.step == steps:
                run.request_stop("enough was seen")
            yield batch

    place = Place(run, run.new_attempt(), workplace.folder, ALONE, torch.device("cpu"))
    with pytest.raises(CancelledRunError):
        Session(TrainJob.model_validate(JOB), place, stream, lambda model: model).train()
    return run
