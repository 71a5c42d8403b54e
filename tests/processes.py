"""Ending processes: of many that belong together, one may be gone because another one is."""

import contextlib
from collections.abc import Iterable

import psutil


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL for each that is still there, and wait until all are gone."""
    processes = list(processes)
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(processes, timeout=30)
