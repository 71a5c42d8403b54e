"""How much memory a process and everything that it started hold, together."""

import time
from contextlib import suppress

import psutil

NAME_LENGTH = 60
NOTICEABLE = 1 << 20
"""Bytes by which a process must have grown or shrunk to be looked at again."""


class ProcessTree:
    """A process and its descendants, followed further when one between them has ended.

    Memory is the sum of proportional set sizes (PSS, of /proc/PID/smaps_rollup): a page that k processes share counts 1/k in
    each, so shared memory such as Ray's object store counts once.
    """

    def __init__(self, pid: int):
        self._members = {psutil.Process(pid)}
        self._read: dict[psutil.Process, tuple[int, int]] = {}

    def sizes(self) -> dict[str, int]:
        """PSS in bytes by the title of the process, those of one title together."""
        before = self._members
        self._find_children()
        if self._members != before:  # who shares pages with whom has changed
            self._read.clear()
        found: dict[str, int] = {}
        for process in self._members:
            with suppress(psutil.Error):  # it ended between being found and being looked at
                title = _short(process.cmdline() or [process.name()])
                found[title] = found.get(title, 0) + self._size(process)
        return found

    def _size(self, process: psutil.Process) -> int:
        """PSS in bytes; read anew where the resident size has changed, for the kernel takes milliseconds to add it up."""
        resident = process.memory_info().rss
        if process not in self._read or abs(self._read[process][0] - resident) > NOTICEABLE:
            self._read[process] = (resident, process.memory_full_info().pss)
        return self._read[process][1]

    def _find_children(self) -> None:
        children: dict[int, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                children.setdefault(process.ppid(), []).append(process)
        alive = [process for process in self._members if process.is_running()]
        self._members = set()
        while alive:
            process = alive.pop()
            if process not in self._members:
                self._members.add(process)
                alive += children.get(process.pid, [])


class Peak:
    """The largest total that was seen, and who held it.

    Attributes:
        total: bytes.
        sizes: bytes by process title at that moment.
        after: seconds from the start to that moment.
        samples: how often was looked.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.total, self.sizes, self.after, self.samples = 0, {}, 0.0, 0

    def look(self, tree: ProcessTree) -> None:
        """Take one sample."""
        sizes = tree.sizes()
        self.samples += 1
        if sum(sizes.values()) > self.total:
            self.total, self.sizes, self.after = sum(sizes.values()), sizes, time.monotonic() - self.began


def _short(words: list[str]) -> str:
    """What tells processes apart: program and arguments without their folders."""
    return " ".join(word.rpartition("/")[2] for word in words)[:NAME_LENGTH].strip()
