"""Lines on S3, where nothing can be appended to: each process that writes has objects of its own, and puts the last one anew.

    events/000002-node7-4242-9f3ac1d2b0e4.0000.jsonl     attempt, host, process, whose working folder, segment

Only the process that made such an object ever writes it. Long journals are cut into segments, so that not all is sent again.
"""

import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator

from ipt_platform.storage.prefix import Prefix

CUT = 128 << 10
"""Bytes after which a journal goes on in another object."""

_NAME = re.compile(r"(?:events|metrics)/(\d+)-.*-([0-9a-f]+)\.\d+\.jsonl")


class Journal:
    """The lines that this process has written of one kind in one attempt.

    Args:
        remote: the run on S3.
        kind: `events` or `metrics`.
        attempt: the attempt.
        folder: token of the working folder in which this process writes the same lines.
    """

    def __init__(self, remote: Prefix, kind: str, attempt: int, folder: str):
        host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64]
        self.remote = remote
        self.stem = f"{kind}/{attempt:06d}-{host}-{os.getpid()}x{secrets.token_hex(3)}-{folder}"
        self._segment, self._lines, self._sent = 0, list[bytes](), 0
        self._lock, self._sending = threading.Lock(), threading.Lock()

    def add(self, line: bytes) -> None:
        """Add a line, with its line end; the next `flush` sends it."""
        with self._lock:
            self._lines.append(line)

    def withdraw(self, line: bytes) -> bool:
        """Take back a line whose sending failed; False if it was sent after all."""
        with self._sending, self._lock:
            if line not in self._lines[self._sent :]:
                return False
            del self._lines[self._lines.index(line, self._sent)]
            return True

    def flush(self) -> bool:
        """Send what was not sent yet; one thread at a time, so that no older content is put over a newer one.

        Returns:
            Whether there was something.

        Raises:
            InfrastructureError: the store failed; what was not sent stays.
        """
        with self._sending:
            with self._lock:
                name, lines = f"{self.stem}.{self._segment:04d}.jsonl", tuple(self._lines)
            if len(lines) == self._sent:
                return False
            data = b"".join(lines)
            self.remote.put(name, data)
            with self._lock:
                self._sent = len(lines)
                if len(data) >= CUT:
                    del self._lines[: len(lines)]
                    self._segment, self._sent = self._segment + 1, 0
            return True


def attempt_of(name: str) -> int:
    """The attempt in which the lines of an object were written."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else 0


def written_in(name: str, folder: str) -> bool:
    """Whether the lines of an object were written by a process of this working folder, and so stand there already."""
    found = _NAME.fullmatch(name)
    return bool(found and found[2] == folder)


def whole_lines(data: bytes) -> Iterator[bytes]:
    """The complete lines of some bytes, each with its line end."""
    yield from (line for line in data.splitlines(keepends=True) if line.endswith(b"\n") and line.strip())
