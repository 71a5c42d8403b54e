"""A cluster that dies under a run: another one takes it up, and nothing shows in the result."""

import contextlib
import json
import os
import time
from collections.abc import Iterator

import psutil
import pytest

from ipt_platform.observe.status import run_status
from tests.conftest import HANG
from tests.processes import kill

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(workplace) -> Iterator[dict]:
    """What `cluster up` said of a head that the last test may kill."""
    command = workplace.do("cluster", "up", "--cpus", "4", "--json")
    assert command.process.returncode == 0, command.stderr
    yield json.loads(command.stdout)
    workplace.do("cluster", "down", "--force")


def of_session(number: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_what_a_cluster_has_not_begun_is_taken_back(workplace, up):
    """An evaluation wants a CPU slot for itself; where all are taken it waits."""
    long = workplace.run("in-the-way")
    changes = ("cluster.cpus_per_worker=4", "train.stages=[{steps: 9000, patch: 48, images: 2}]")
    assert workplace.submit(long.id, *changes, "--cluster=local", "--detach").process.returncode == 0
    end = time.monotonic() + HANG
    while run_status(long).step == 0:
        assert time.monotonic() < end, run_status(long)
        time.sleep(0.1)
    (workplace.folder / "measure.yaml").write_text(
        "apiVersion: ipt/v1\nkind: evaluate\nname: measure\ncheckpoint: in-the-way\ntasks: [denoise]\nsets: [test]\n"
    )
    waiting = workplace.run("waiting")
    command = workplace.do("submit", "measure.yaml", "--run", waiting.id, "--cluster", "local", "--detach")
    assert command.process.returncode == 0, command.stderr
    assert run_status(waiting).state == "created"

    refused = workplace.do("cancel", waiting.id)
    taken = workplace.do("cancel", waiting.id, "--now")

    assert refused.process.returncode == 4
    assert "has not begun" in refused.stderr
    assert taken.process.returncode == 0, taken.stderr
    assert "was told to drop" in taken.stdout
    assert workplace.do("cancel", long.id, "--now").process.returncode == 0
    while waiting.id in running(workplace):
        assert time.monotonic() < end, "its turn has come, and it was told to end"
        time.sleep(0.5)
    assert run_status(waiting).state == "created"
    assert waiting.current_attempt() == 0


def running(workplace) -> list[str]:
    """The runs whose submissions are not over."""
    told = json.loads(workplace.do("cluster", "status", "--cluster", "local", "--json").stdout)
    return [each["run"] for each in told["submissions"] if each["state"] in ("PENDING", "RUNNING")]


def test_a_head_that_is_killed_is_replaced_and_the_run_goes_on_bit_for_bit(workplace, up, as_if_undisturbed):
    run = workplace.run("headless")
    command = workplace.submit(run.id, "data.carrier=ray", "--cluster=local", "--detach")
    assert command.process.returncode == 0, command.stderr
    end = time.monotonic() + HANG
    while run_status(run).checkpoint is None:
        assert time.monotonic() < end, run_status(run)
        time.sleep(0.05)
    while processes := of_session(up["pid"]):  # some of them start others while they die
        kill(processes)
    while run_status(run).state == "running":
        assert time.monotonic() < end, "what leads a run ends with its head"
        time.sleep(0.1)
    assert run_status(run).state == "interrupted"

    again = json.loads(workplace.do("cluster", "up", "--cpus", "4", "--json").stdout)
    assert again["new"]
    assert len(workplace.ray_folders()) == 1  # the files of the dead one are gone
    resumed = workplace.do("resume", run.id, "--cluster", "local")

    assert resumed.process.returncode == 0, resumed.stderr
    as_if_undisturbed(run, 2)
