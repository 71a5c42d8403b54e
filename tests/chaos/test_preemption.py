"""A machine of a real cluster is taken away with notice: training commits, makes room, and goes on on another."""

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

from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from tests.processes import kill

pytestmark = pytest.mark.slow

TRIES = 4
DRAIN = """
import sys, time
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

client = GcsClient(address=sys.argv[1])
nodes = {node.node_manager_address: number.hex() for number, node in client.get_all_node_info().items()}
print("ready", flush=True)
address, seconds = sys.stdin.readline().split()
until = time.time_ns() // 1_000_000 + 1000 * int(seconds)
reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
print(*client.drain_node(nodes[address], reason, "spot", until), flush=True)
"""
"""What `ray drain-node` does, ready to do it at once."""


class Cluster:
    """Nodes of Ray on this machine, each the child of a `ray start` of its own, on addresses of the loopback range."""

    ray = Path(sys.executable).with_name("ray")

    def __init__(self, environment: dict[str, str]):
        self.folder = Path(tempfile.mkdtemp(prefix="p"))  # short: Ray's sockets lie below it
        with socket.create_server(("127.0.0.2", 0)) as free:
            self.address = f"127.0.0.2:{free.getsockname()[1]}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-made-up-token-of-a-test"}
        self.environment = environment | token | {"RAY_ADDRESS": self.address}
        self.nodes: list[psutil.Popen] = []

    def start(self, number: int, cpus: int) -> None:
        """Start a node; the first is the head. Ray gives one up that has not started in 30 s: then once more."""
        ip, port = f"127.0.0.{number + 2}", self.address.split(":")[1]
        where = ["--head", f"--port={port}", "--include-dashboard=false"] if number == 0 else [f"--address={self.address}"]
        words = [f"--node-ip-address={ip}", f"--num-cpus={cpus}", "--object-store-memory=100000000", "--disable-usage-stats"]
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        said = self.folder / f"{number}.out"
        for _ in range(TRIES):
            with said.open("wb") as out:
                node = psutil.Popen(
                    [self.ray, "start", "--block", *where, *words, f"--temp-dir={self.folder}"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            while node.poll() is None and "Ray runtime started" not in said.read_text():
                time.sleep(0.1)
            if node.poll() is None:
                self.nodes.append(node)
                return
        pytest.fail(f"a node of Ray did not start {TRIES} times; the last time:\n{said.read_text()}")

    def drain_node_of_worker(self, seconds: int, when: Callable[[], Any]) -> None:
        """Say that the node with the training worker will be taken away in so many seconds, once it is time to."""
        with subprocess.Popen(
            [sys.executable, "-c", DRAIN, self.address],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as drain:
            assert drain.stdout
            assert drain.stdout.readline() == "ready\n"
            when()
            (number,) = [number for number, node in enumerate(self.nodes) if any(map(trains, node.children(recursive=True)))]
            answer, _ = drain.communicate(f"127.0.0.{number + 2} {seconds}\n")
        assert answer.startswith("True"), answer

    def close(self) -> None:
        """End every node with all that it has started."""
        everything = [each for node in self.nodes if node.is_running() for each in (node, *node.children(recursive=True))]
        kill(everything)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster(workplace) -> Iterator[Cluster]:
    """Three machines; what is submitted while they are there goes to them."""
    before = workplace.environment
    cluster = Cluster(before)
    try:
        for number in range(3):
            cluster.start(number, cpus=min(number, 1))
        workplace.environment = cluster.environment
        yield cluster
    finally:
        workplace.environment = before
        cluster.close()


def trains(process: psutil.Process) -> bool:
    try:
        return "ray::RayTrainWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["type"] == kind]


def last_step(run: RunDir) -> int:
    return max((line["step"] for line in read_metrics(run)), default=0)


def test_with_notice_training_moves_to_another_machine_and_loses_no_step(workplace, cluster):
    steps = 120  # enough that training is under way when the notice comes
    changes = [f"train.stages.1.steps={steps - 6}", "cluster.max_failures=0", "checkpoint.every=1000"]
    command, run = workplace.submit("moves", *changes, wait=False), workplace.run("moves")
    cluster.drain_node_of_worker(120, when=lambda: command.until(lambda: last_step(run) >= 5))

    assert command.wait() == 0, command.stderr

    # Not one of them is a failure: the job allows none.
    assert events(run, "worker-lost") == events(run, "failed") == []
    (preempted,) = events(run, "preempted")
    assert preempted["attempt"] == 1
    assert "(worker 0) is about to be taken away, at " in preempted["reason"]
    (resumed,) = events(run, "resumed")
    assert (resumed["attempt"], resumed["step"]) == (2, preempted["step"])
    assert 5 <= preempted["step"] < steps
    told = [line["step"] for line in read_metrics(run) if "loss" in line]
    assert told == list(range(1, steps + 1))
    assert [event["step"] for event in events(run, "finished")] == [steps]
    assert command.left(grace=20) == []
