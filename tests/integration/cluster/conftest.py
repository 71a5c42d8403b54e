"""A real head on loopback with a token, as `ipt-platform cluster up` starts it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest


@dataclass(frozen=True)
class Local:
    """The cluster of a workplace.

    Attributes:
        address: of its dashboard.
        token: its token.
        pid: its first process, with which its session has its number.
    """

    address: str
    token: str
    pid: int

    def processes(self) -> list[psutil.Process]:
        """What lives of the head itself and its workers."""
        return [psutil.Process(pid) for pid in psutil.pids() if _session(pid) == self.pid]


@pytest.fixture(scope="module")
def targets(workplace, tmp_path_factory) -> Iterator[Path]:
    """The file in which the exporter of metrics says where it is; the processes of the cluster are told so."""
    path = tmp_path_factory.mktemp("prometheus") / "targets.json"
    own = {"IPT_METRICS_LISTEN": "127.0.0.1:0", "IPT_METRICS_TARGETS": str(path)}
    workplace.environment |= own
    yield path
    for name in own:
        del workplace.environment[name]


@pytest.fixture(scope="module")
def local(workplace, targets) -> Iterator[Local]:
    """The cluster, up; ended with everything on it."""
    command = workplace.do("cluster", "up", "--cpus", "4", "--json")
    assert command.process.returncode == 0, command.stderr
    told = json.loads(command.stdout)
    yield Local(told["address"], Path(told["token"].removeprefix("file:")).read_text(), told["pid"])
    workplace.do("cluster", "down", "--force")


def _session(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0
