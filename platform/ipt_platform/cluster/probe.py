"""What a machine must have to train: looked at here by `doctor`, and on a cluster by a job of its own.

    python -P -m ipt_platform.cluster.probe STORAGE [NONCE]

prints one JSON object, on a line that begins with MARK: the same facts of the machine that it runs on.
"""

import importlib.metadata
import json
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import ipt_platform
from ipt_platform import __version__
from ipt_platform.errors import IptError
from ipt_platform.registry.files import Files
from ipt_platform.storage.paths import any_path

MARK = "ipt-platform-facts: "
"""Begins the line that holds the facts, in a log that others write to as well."""
PACKAGES = ("ray", "torch", "numpy", "safetensors", "opencv-python-headless", "webdataset")
"""Those whose versions must be the same on both sides, or nearly."""


def facts(storage: str, nonce: str = "") -> dict[str, Any]:
    """What this machine is and has.

    Args:
        storage: of runs: written to, read and cleaned up again.
        nonce: names the trace that somebody else has left there; "": nobody.

    Returns:
        Plain values: `platform`, `package` (where that lies), `python`, `packages`, `cores`, `gpus`, `memory_bytes`,
        `shared_memory_bytes`, `time` (seconds since 1970), `storage` ("" or what is wrong with it), `shared` (whether the
        other's trace is there).
    """
    problem, shared = _storage(storage, nonce)
    return {
        "platform": __version__,
        "package": str(Path(ipt_platform.__file__).parent),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": _gpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "shared_memory_bytes": _free("/dev/shm"),  # noqa: S108 - where Linux has shared memory
        "time": time.time(),
        "storage": problem,
        "shared": shared,
    }


def trace_of(nonce: str) -> str:
    """Name of the file by which two machines see that they have one storage."""
    return f"ipt-doctor-{nonce}"


def _storage(storage: str, nonce: str) -> tuple[str, bool]:
    """What is wrong with a storage, and whether another's trace is there."""
    try:
        files = Files(any_path(storage))
        own, content = trace_of(f"{socket.gethostname()}-{os.getpid()}"), secrets.token_bytes(1 << 16)
        files.create(own, content)
        try:
            if files.read(own) != content:
                return "what was read is not what was written", False
        finally:
            files.remove([own])
        return "", bool(nonce) and files.exists(trace_of(nonce))
    except IptError as error:
        return str(error), False


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def _free(folder: str) -> int:
    return shutil.disk_usage(folder).free if Path(folder).is_dir() else 0


if __name__ == "__main__":
    sys.stdout.write(f"{MARK}{json.dumps(facts(*sys.argv[1:]))}\n")
