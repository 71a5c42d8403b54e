"""What a RayJob says, done without a Kubernetes: on nodes of Ray with its parameters, its entrypoint leads to the job's end."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ipt_platform.cluster.local import LOOPBACK
from ipt_platform.cluster.render.manifest import render_manifest
from ipt_platform.cluster.render.options import JOB_FILE, KubeOptions, Mount
from ipt_platform.observe.status import run_status
from ipt_platform.spec.load import load_job
from tests.conftest import HANG
from tests.processes import kill

pytestmark = pytest.mark.slow

TOKEN = "made-up-token-of-a-test-0123456789abcdef"
TRIES = 5
RAY = Path(sys.executable).with_name("ray")
STAGES = "train.stages=[{steps: 4, patch: 48, images: 2}]"
CHANGES = (STAGES, "train.schedule.warmup=1", "name=there")
PORTS = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port")


def free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return found.getsockname()[1]


class Node:
    """A node of Ray as a pod starts it, in the working directory and with the variables of the pod's container."""

    def __init__(self, workplace: Any, group: dict[str, Any], own: dict[str, str], name: str):
        (container,) = group["template"]["spec"]["containers"]
        said = {each["name"]: each.get("value", TOKEN) for each in container["env"]}
        path = f"{RAY.parent}:{workplace.environment['PATH']}"  # as the image has it
        self.environment = workplace.environment | said | {"PATH": path}
        self.log = workplace.folder / f"{name}.log"
        flags = group["rayStartParams"] | own | {port: str(free_port()) for port in PORTS}
        words = [f"--{flag}={value}" if value else f"--{flag}" for flag, value in flags.items()]
        with self.log.open("wb") as out:
            self.process = psutil.Popen(
                [RAY, "start", "--block", *words], cwd=container["workingDir"], env=self.environment, stdout=out, stderr=out
            )

    def is_there(self) -> bool:
        """Wait until it is; False if the machine was too busy for Ray, which gives a node 30 seconds."""
        end = time.monotonic() + HANG
        while "Ray runtime started" not in (said := self.log.read_text()):
            if self.process.poll() is not None and "timed out during startup" in said:
                return False
            assert self.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.2)
        return True

    def end(self) -> None:
        """With all that it has started."""
        family = [*self.process.children(recursive=True), self.process] if self.process.is_running() else []
        kill(family)


@pytest.fixture(scope="module")
def manifest(workplace) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workplace.folder)
        loaded = load_job("job.yaml", CHANGES)
        options = KubeOptions(image="ipt-platform:0.1.0", volume=Mount("shared", str(workplace.folder)))
        return render_manifest(loaded, "there", workplace.folder, options, "manifest.yaml").documents


@pytest.fixture(scope="module")
def nodes(workplace, manifest) -> Iterator[dict[str, Any]]:
    cluster = manifest[1]["spec"]["rayClusterSpec"]
    port, page = free_port(), free_port()
    own = {"node-ip-address": LOOPBACK}
    head = own | {
        "head": "",
        "port": str(port),
        "dashboard-port": str(page),
        "dashboard-host": LOOPBACK,
        "ray-client-server-port": str(free_port()),
        "temp-dir": str(workplace.temporary / "there"),
    }
    worker = own | {"address": f"{LOOPBACK}:{port}"}
    (group,) = cluster["workerGroupSpecs"]
    assert group["replicas"] == 1
    started: list[Node] = []
    try:
        for part, flags, name in ((cluster["headGroupSpec"], head, "head"), (group, worker, "worker")):
            for _ in range(TRIES):
                started.append(Node(workplace, part, flags, name))
                if started[-1].is_there():
                    break
                started[-1].end()
            else:
                pytest.fail(started[-1].log.read_text())
        yield {"page": f"http://{LOOPBACK}:{page}", "environment": started[0].environment}
    finally:
        for each in reversed(started):
            each.end()


def test_the_entrypoint_leads_the_job_to_its_end_on_the_nodes_of_the_manifest(workplace, manifest, nodes):
    config, job = manifest
    file = workplace.folder / "mounted.yaml"
    file.write_text(config["data"]["job.yaml"])
    entrypoint = job["spec"]["entrypoint"].replace(JOB_FILE, str(file))
    words = [RAY, "job", "submit", "--address", nodes["page"], "--", *entrypoint.split()]

    done = subprocess.run(words, env=nodes["environment"], capture_output=True, text=True, timeout=HANG, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert run_status(workplace.run("there")).state == "finished"
    assert yaml.safe_load((workplace.run("there").path / "job.yaml").read_text())["name"] == "there"


def test_without_the_token_nobody_submits_to_these_nodes(workplace, nodes):
    words = [RAY, "job", "submit", "--address", nodes["page"], "--", "true"]
    without = {name: value for name, value in workplace.environment.items() if not name.startswith("RAY_AUTH")}

    for environment in (
        without | {"RAY_AUTH_MODE": "disabled"},
        without | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x" * 32},
    ):
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=HANG, check=False)
        assert done.returncode != 0
        assert "succeeded" not in done.stdout
