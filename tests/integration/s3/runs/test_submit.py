"""`submit`, `ls`, `status` and `logs` as people run them, with a run whose storage is a bucket."""

import contextlib
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import find_run

pytestmark = pytest.mark.slow

STEPS = 300  # so many that who asks for a stop, which takes a while on a busy machine, comes before the end
EVERY = 60
SMALL = (
    f"train.stages=[{{steps: {STEPS}, patch: 32, images: 2}}]",
    "train.log_every=5",
    f"checkpoint.every={EVERY}",
)


@pytest.fixture
def far(workplace, store, monkeypatch) -> Any:
    """The workplace with a store, and a cache of its own for each machine."""
    own = dict(workplace.environment)

    def on(machine: str) -> Path:
        cache = workplace.folder / f"cache-{store.bucket}-{machine}"
        named = store.environment | {"XDG_CACHE_HOME": str(cache)}
        workplace.environment = {name: value for name, value in own.items() if not name.startswith("AWS_")} | named
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        return cache

    yield on
    workplace.environment = own


def run_of(workplace, *arguments: str) -> Any:
    command = workplace.do(*arguments, "--json")
    assert command.process.returncode == 0, command.stderr
    return json.loads(command.stdout)


def weights(run: RunDir) -> dict[str, bytes]:
    path = run.checkpoints / f"step-{STEPS}"
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*.safetensors")}


@pytest.fixture
def cluster(workplace) -> Iterator[Callable[[], None]]:
    """Starts a head in the workplace as it is by then, while another Ray's port for submissions is taken."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then somebody else has it
            taken.bind(("127.0.0.1", 52365))
        yield lambda: run_of(workplace, "cluster", "up", "--cpus", "4")
        workplace.do("cluster", "down", "--force")


def test_a_run_on_s3_goes_on_anywhere_and_is_seen_and_stopped_from_elsewhere(workplace, store, far, cluster):
    """Led here, and killed; then by a cluster that has seen nothing of it, and stopped from a third place; then to its end."""
    storage = store.url("runs")
    assert workplace.submit("on-one-disk", *SMALL).process.returncode == 0
    cache = far("here")
    command = workplace.submit("far", *SMALL, f"storage={storage}", wait=False)
    command.until(lambda: any(name.endswith(f"step-{EVERY}/1/COMMIT") for name in store.names()))
    command.process.kill()
    command.wait()
    assert command.left(grace=60) == []
    shutil.rmtree(cache)

    far("there")
    cluster()
    far("here")
    again = workplace.submit("far", *SMALL, f"storage={storage}", "--cluster=local", "--detach")
    assert again.process.returncode == 0, again.stderr
    assert f"run far in {storage}/far, submitted to cluster local" in again.stdout
    far("third")
    seen = find_run(storage, "far")
    while (state := run_status(seen)).attempt < 2:
        assert state.state == "interrupted", state
    stopped = run_of(workplace, "cancel", f"{storage}/far")
    resumed = workplace.do("resume", f"{storage}/far", "--cluster", "local", "--json")
    assert resumed.process.returncode == 0, resumed.stderr
    listed = run_of(workplace, "ls", "--storage", storage)
    status = run_of(workplace, "status", f"{storage}/far")
    logs = run_of(workplace, "logs", "far", "--storage", storage, "--attempt", "3")

    assert (stopped["state"], stopped["exit_code"]) == ("cancelled", 7)
    assert EVERY <= stopped["committed"]["far"] == stopped["step"] < STEPS
    assert [(each["run_id"], each["state"], each["step"], each["attempt"]) for each in listed] == [
        ("far", "finished", STEPS, 3)
    ]
    assert (status["state"], status["checkpoint"], status["step"]) == ("finished", STEPS, STEPS)
    assert [event["type"] for event in status["events"]][-1] == "finished"
    assert {each["rank"] for each in logs["logs"]} == {"0", "driver"}
    assert any(f"step {STEPS}/{STEPS}" in line for each in logs["logs"] for line in each["lines"])
    far("there")
    run = find_run(storage, "far")
    assert weights(run) == weights(workplace.run("on-one-disk"))
    assert len(weights(run)) > 2
    kept = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert not any(store.environment[name].encode() in kept for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
