"""Processes, named so that another process can tell whether they are still there; the leader of an attempt is one."""

import os
import socket
from collections.abc import Iterator
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
    return process(os.getpid())


def process(pid: int) -> Process:
    """The process that has this number on this machine now."""
    return Process(socket.gethostname(), pid, _space(), _born(pid))


def living(session: int) -> dict[int, str]:
    """The names of the living processes of a session, by number; {} where there is no /proc.

    A session is a process that called setsid, and all that came of it, however often its parents ended in between.

    Args:
        session: the number of that process.
    """
    return {pid: name for pid, name, fields in _all_living() if int(fields[3]) == session}


def children(parent: int) -> dict[int, str]:
    """The names of the living processes that a process has started itself, by number; {} where there is no /proc."""
    return {pid: name for pid, name, fields in _all_living() if int(fields[1]) == parent}


def _all_living() -> Iterator[tuple[int, str, list[str]]]:
    """Number, name and the rest of the stat of every living process."""
    for path in Path("/proc").glob("[0-9]*"):
        name, fields = _stat(int(path.name))
        if fields and fields[0] not in _GONE:
            yield int(path.name), name, fields


def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""  # no Linux: then only the heartbeat tells


def _born(pid: int) -> int:
    _, fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] not in _GONE else 0


_GONE = "ZX"


def _stat(pid: int) -> tuple[str, list[str]]:
    """A process's program by name, and what follows it in its stat (state, parent, group, session, ...); ("", []): none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", []
    # The second field is the name and may hold spaces and brackets; state is 3, the session is 6, the start time is 22.
    head, _, tail = stat.rpartition(")")
    return head.partition("(")[2], tail.split()
