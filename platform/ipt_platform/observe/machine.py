"""Where something ran and as whom: versions, cores, memory, GPUs, user; read without starting anything."""

import getpass
import os
import platform
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from ipt_platform import __version__


def machine_facts() -> dict[str, Any]:
    """What is known of this machine; sizes in bytes, `cores` are those that this process may use."""
    return {
        "ipt_platform": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _memory(),
        "shared_memory": shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,  # noqa: S108 - its size alone
        "gpus": gpus(),
    }


def package_versions() -> dict[str, str]:
    """The version of every package that is installed here."""
    found = {each.metadata["Name"]: each.version for each in distributions() if each.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def gpus(drivers: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """The names of the NVIDIA GPUs of this machine, as their driver tells them."""
    found = []
    for path in sorted(drivers.glob("*/information")):
        names = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("Model:")]
        found += names[:1]
    return found


def user_name() -> str:
    """Who this process runs as, for people."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return f"user {os.getuid()}"


def _memory() -> int | None:
    try:
        words = Path("/proc/meminfo").read_text().split()
        return int(words[words.index("MemTotal:") + 1]) << 10
    except (OSError, ValueError):
        return None
