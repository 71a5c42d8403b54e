"""Who leads an attempt: a process, named so that another process can tell whether it is still there."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process on a machine.

    Attributes:
        host: name of the machine, for people.
        pid: its number in its name space.
        space: boot of the machine and name space of the numbers: within one space a pid means the same ("" if unknown).
        born: when it started, in clock ticks after the boot; tells it from a later process with its pid (0 if unknown).
    """

    host: str
    pid: int
    space: str = ""
    born: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def alive(self) -> bool | None:
        """Whether it still runs; None if that cannot be told from here (another machine or container)."""
        if not self.space or self.space != _space():
            return None
        return self.born != 0 and _born(self.pid) == self.born


def this_process() -> Process:
    """The process that calls."""
    return Process(socket.gethostname(), os.getpid(), _space(), _born(os.getpid()))


def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""  # no Linux: then only the heartbeat tells


def _born(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The second field is the name of the program and may hold spaces and brackets; state is 3, the start time is 22.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
