"""One process at a time: a lock on a file, which the kernel takes back when its holder ends, however it ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ipt_platform.errors import InfrastructureError

PATIENCE = 60.0
"""Seconds. Locks are held for a few writes; whoever holds one longer has been stopped or hangs."""

_PAUSE = 0.01


@contextlib.contextmanager
def locked(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a file until the block is over; threads of one process exclude each other too.

    Args:
        path: the file; made if it is missing, its folder is not.
        patience: seconds to wait for whoever holds it.

    Raises:
        InfrastructureError: it was not to be had within `patience`, or the storage cannot lock files.
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, path, patience)
        try:
            yield
        finally:
            # Closing alone would leave the lock to a process that was forked meanwhile.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, patience: float) -> None:
    """The kernel has no lock call with a time limit, so it is asked again and again."""
    end = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise InfrastructureError(
                    f"{path} has been locked by another process for {patience:.0f} s; end the one that hangs "
                    f"(`fuser {path}` names it) and submit again"
                ) from error
        except OSError as error:
            raise InfrastructureError(f"{path}: this storage cannot lock files: {error.strerror}; use one that can") from error
        time.sleep(_PAUSE)
