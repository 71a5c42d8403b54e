"""A Ray of this machine that stays: for those who have no cluster, and for trying out what a cluster does.

It listens on loopback alone and wants a token, which a file of its owner holds. It is a session of processes, so that whoever
knows its first process can end all of them.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cluster.driver import end_session
from ipt_platform.cluster.jobs import Jobs
from ipt_platform.cluster.local import ALONE, ENVIRONMENT, LOOPBACK, TRIES
from ipt_platform.cluster.target import LOCAL, ClusterEntry, Target, state_path
from ipt_platform.errors import InfrastructureError, NotFoundError, RefusedError
from ipt_platform.observe.lock import locked
from ipt_platform.observe.process import Process, process

PATIENCE = 180.0
"""Seconds for Ray to start."""

_NAME = "cluster.json"
_PREFIX = "ipt-head-"
_TOKEN = "token"  # noqa: S105 - the name of a file
_DASHBOARD = "127.0.0.1"


@dataclass(frozen=True)
class Head:
    """A Ray of this machine.

    Attributes:
        address: of its dashboard.
        first: its first process.
        folder: of its files.
        token: file with its token.
    """

    address: str
    first: Process
    folder: Path
    token: Path

    @property
    def alive(self) -> bool:
        """Whether its first process runs; one of another boot does not."""
        return bool(self.first.alive())

    @property
    def target(self) -> Target:
        """It, as a cluster that jobs are submitted to.

        Raises:
            NotFoundError: its token is gone.
        """
        try:
            token = self.token.read_text()
        except OSError as error:
            raise NotFoundError(
                f"{self.token}, where the token of the Ray of this machine should be: {error.strerror}; without it nobody can "
                "ask what runs there; `ipt-platform cluster down --force` ends it"
            ) from error
        return Target(LOCAL, ClusterEntry(address=self.address), token, f"the file {self.token}")


def find_head() -> Head | None:
    """The Ray that was started here and still runs, or None."""
    head = _last()
    return head if head and head.alive else None


def local_entry() -> ClusterEntry:
    """What a configuration file would say of it.

    Raises:
        NotFoundError: it does not run.
    """
    head = find_head()
    if head is None:
        raise NotFoundError("no Ray of this machine runs; start it with `ipt-platform cluster up`")
    return ClusterEntry(address=head.address, token=f"file:{head.token}")


def start_head(cpus: float | None, gpus: int | None, port: int) -> tuple[Head, bool]:
    """Start it, unless it runs.

    Args:
        cpus: slots for CPUs; None: two for each core, for they are promises, and the processes of a job take turns.
        gpus: slots for GPUs; None: as many as there are.
        port: of the dashboard; 0: any that is free.

    Returns:
        The Ray, and whether it is new.

    Raises:
        InfrastructureError: it does not start.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if found := find_head():
            return found, False
        if (dead := _last()) and dead.folder.name.startswith(_PREFIX):
            shutil.rmtree(dead.folder, ignore_errors=True)
        token = folder / _TOKEN
        _write_private(token, secrets.token_hex(32))
        cpus = (os.cpu_count() or 1) * 2 if cpus is None else cpus
        for _ in range(TRIES - 1):
            with contextlib.suppress(InfrastructureError):
                return _started(folder, token, cpus, gpus, port), True
        return _started(folder, token, cpus, gpus, port), True


def _started(folder: Path, token: Path, cpus: float, gpus: int | None, port: int) -> Head:
    """Start it once; what does not come up is ended.

    Raises:
        InfrastructureError: it does not start.
    """
    # Unix sockets below it must stay under 108 bytes, so the folder's path is short.
    files = Path(tempfile.mkdtemp(prefix=_PREFIX))
    address = f"http://{_DASHBOARD}:{port or _free_port()}"
    child = _start(files, token, address, cpus, gpus)
    head = Head(address, process(child.pid), files, token)
    try:
        _wait(child, head)
        known = {"address": address, "process": asdict(head.first), "folder": str(files)}
        replace_file(folder / _NAME, json.dumps(known).encode())
    except BaseException:
        _end(head)
        raise
    return head


def stop_head(force: bool = False) -> Head:
    """End it with everything that runs on it.

    Args:
        force: also while jobs are running.

    Raises:
        NotFoundError: it does not run; or its token is gone, and it is not forced.
        RefusedError: jobs are running on it.
    """
    head = find_head()
    if head is None:
        raise NotFoundError("no Ray of this machine runs, so there is none to end")
    with contextlib.suppress(InfrastructureError):  # one that does not answer any more has nothing to lose
        if not force and (running := Jobs(head.target).running()):
            names = ", ".join(each.run or each.id for each in running)
            raise RefusedError(
                f"{len(running)} jobs are running on it ({names}); `ipt-platform cancel` them first, or say --force"
            )
    _end(head)
    (_folder() / _NAME).unlink(missing_ok=True)
    return head


def _last() -> Head | None:
    """The Ray that was started here last, whether or not it runs; None if it was ended, or never was."""
    try:
        known = json.loads((_folder() / _NAME).read_bytes())
        return Head(known["address"], Process(**known["process"]), Path(known["folder"]), _folder() / _TOKEN)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _folder() -> Path:
    """What is known of the Ray of this machine; machines may share a home folder."""
    return state_path() / LOCAL / socket.gethostname()


def _start(files: Path, token: Path, address: str, cpus: float, gpus: int | None) -> subprocess.Popen:
    words = {
        "--node-ip-address": LOOPBACK,
        "--port": _free_port(),
        "--dashboard-host": _DASHBOARD,
        "--dashboard-port": address.rpartition(":")[2],
        "--temp-dir": files,
        # By default these two are the same for every Ray; the second one takes what is submitted.
        "--ray-client-server-port": _free_port(),
        "--dashboard-agent-listen-port": _free_port(),
        "--num-cpus": cpus if cpus % 1 else int(cpus),
        **({} if gpus is None else {"--num-gpus": gpus}),
    }
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    with (files / "start.log").open("ab") as out:
        return subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
            [*command, *(f"{name}={value}" for name, value in words.items())],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=_environment(token),
        )


def _environment(token: Path) -> dict[str, str]:
    """What its processes see: neither another cluster nor another token, and this interpreter as `python`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH") and name != "RAY_ADDRESS"}
    path = os.pathsep.join([str(Path(sys.executable).parent), *filter(None, [os.environ.get("PATH")])])
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "PATH": path}
    return ENVIRONMENT | kept | ALONE | own


def _wait(child: subprocess.Popen, head: Head) -> None:
    """Until its dashboard answers.

    Raises:
        InfrastructureError: it ended, or does not answer in time.
    """
    end, said = time.monotonic() + PATIENCE, "its dashboard does not answer"
    while True:
        try:
            if any(node.get("state") == "ALIVE" for node in Jobs(head.target).nodes()):
                return
        except InfrastructureError as error:
            said = str(error)
        if child.poll() is not None or time.monotonic() > end:
            lines = (head.folder / "start.log").read_text(errors="replace").splitlines()
            last = "; ".join(line.strip() for line in lines[-5:] if line.strip())
            raise InfrastructureError(f"Ray did not start on this machine: {last or said}")
        time.sleep(0.3)


def _end(head: Head) -> None:
    end_session(head.first.pid)
    shutil.rmtree(head.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_DASHBOARD, 0))
        return free.getsockname()[1]


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no moment otherwise."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)
