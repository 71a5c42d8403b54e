"""The process that drives a run, seen from the one that started it: what it says, whether it and its Ray live, its end.

It is a process of its own because Ray ends the process that uses it when one of its servers is gone, and cannot be interrupted
while it starts. Here neither does any harm: whatever happens, this side is there to say it, and to leave nothing running.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ipt_platform.cluster.folder import SessionFolder
from ipt_platform.errors import ERROR_OF, CancelledRunError, ExitCode, IptError, NotFoundError, RefusedError, UsageError
from ipt_platform.observe.oom import oom_kills
from ipt_platform.observe.process import Process, living, process
from ipt_platform.observe.rundir import RunDir

PATIENCE = 20.0
"""Seconds for taking leave of a cluster."""

_MOMENT = 0.5

ERRORS: dict[int, type[IptError]] = {
    error.exit_code: error for error in (UsageError, NotFoundError, RefusedError, CancelledRunError, *ERROR_OF.values())
}


@contextlib.contextmanager
def driver(run: RunDir, base: Path, leader: Process, folder: SessionFolder | None, log: Path) -> Iterator["Driver"]:
    """Start the process that drives a run; when the block is over, neither it nor anything that it started is left.

    Args:
        run: the run, with its resolved job.
        base: what relative paths of the job are relative to.
        leader: who leads the attempts.
        folder: for the files of an embedded Ray; None where there is none.
        log: where goes what the process, and Ray in it, says.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs, log.open("ab") as out:
            words = [theirs.fileno(), run.path.absolute(), base.absolute(), json.dumps(asdict(leader)), folder and folder.path]
            child = subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
                # -P: what lies in the working directory is no module of ours
                [sys.executable, "-P", "-m", "ipt_platform.cluster.drive", *(str(word or "") for word in words)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=[theirs.fileno(), *([folder.lock] if folder else [])],
            )
        own = Driver(child, ours, log)
        try:
            yield own
        finally:
            own.settle()
            end_session(child.pid)
            child.wait()


class Driver:
    """A process that drives a run."""

    def __init__(self, child: subprocess.Popen, link: socket.socket, log: Path):
        self.child, self.link, self.log = child, link, log
        self.servers: dict[str, Process] = {}
        self.code: int | None = None
        self.message = ""
        self._heard = b""
        self._kills = oom_kills()

    def over(self, seconds: float) -> bool:
        """Whether the run has come to an end; waits for at most so many seconds."""
        if self.code is None and select.select([self.link], [], [], seconds)[0]:
            self._listen()
        if self.code is None and (gone := [name for name, server in self.servers.items() if not server.alive()]):
            self._lost(gone[0])
        return self.code is not None

    def check(self) -> None:
        """Raise what the run ended with, unless it was done.

        Raises:
            IptError: of the kind that the driver met.
            RuntimeError: it met a mistake of ours; the message holds its traceback.
        """
        if self.code == ExitCode.OK:
            return
        if self.code in ERRORS:
            raise ERRORS[self.code](self.message)
        raise RuntimeError(f"the process that drives the run met an error:\n{self.message}")

    def settle(self) -> None:
        """Once it has said how the run ended, leave the process the time to take its leave of a cluster.

        An embedded Ray is nobody else's: ending it needs no leave.
        """
        if self.code is not None and not self.servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(PATIENCE)

    def _listen(self) -> None:
        data = self.link.recv(1 << 16)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        if not data and self.code is None:
            self._lost("")

    def _take(self, words: dict) -> None:
        if "servers" in words:
            self.servers = {name: process(pid) for name, pid in words["servers"].items()}
        else:
            self.code, self.message = words["exit_code"], words.get("message", "")

    def _lost(self, server: str) -> None:
        """Who ended first: the kernel ends Ray's servers with the process that started them."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            end = self.child.wait(_MOMENT if server else None)
            # Ray ends a process that uses it, without a word, once it misses one of its servers.
            missed = next((name for name, each in self.servers.items() if not each.alive()), "")
            server = (server or missed) if end >= 0 else ""
        own_end = f"the process that drove the run {_end_of(self.child.returncode)}"
        what = f"Ray failed: its {server} ended" if server else own_end
        self.code = ExitCode.INFRASTRUCTURE
        if not server and self.child.returncode == -signal.SIGKILL and oom_kills() > self._kills:
            self.code, what = ExitCode.OUT_OF_MEMORY, f"{what}, for the kernel ran out of memory"
        self.message = f"{what}; see {self.log.parent}"


def end_session(session: int) -> None:
    """Kill every process of a session but this one, and wait until none is left; none of them sees another's end."""
    while others := living(session).keys() - {os.getpid()}:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(0.01)


def _end_of(code: int | None) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
