"""The working folder of a run on S3: where it lies on this machine, and whether it is still one of the run that lies there.

    $XDG_CACHE_HOME or ~/.cache / ipt-platform/runs/<digest of the storage>/<run-id>/

It may be removed at any time when nothing runs in it: what counts lies on S3.
"""

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import RefusedError
from ipt_platform.observe.kept import fetch_kept
from ipt_platform.observe.lock import locked
from ipt_platform.observe.mirror import FILE, About
from ipt_platform.storage.prefix import Entry, Prefix, prefix_at

JOB = "job.yaml"


def place_of(storage: str, run_id: str) -> Path:
    """Where the working folder of a run lies on this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    url = str(prefix_at(storage).root)
    return cache.absolute() / "ipt-platform" / "runs" / hashlib.sha256(url.encode()).hexdigest()[:16] / run_id


def open_working(storage: str, run_id: str, new: bool = False, whole: bool = False) -> Path | None:
    """The working folder of a run on S3, with its job; None: there is no such run.

    A folder that is left of a run which has been removed from S3 since then is emptied first.

    Args:
        storage: `s3://bucket/prefix`.
        run_id: the run.
        new: make an empty one where there is no such run.
        whole: with what it was given and what it left.

    Raises:
        InfrastructureError: the store fails.
        UsageError: it does not let us, or the storage is no such URL.
    """
    url = str(prefix_at(storage).root)
    remote, folder = Prefix(prefix_at(url).at(run_id)), place_of(url, run_id)
    found = remote.find(JOB)
    if not found and not new:
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{run_id}.lock")):
        if _began(folder) != _began_at(found):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _write(folder, url, found)
        if found:
            if whole:
                fetch_kept(remote, folder)
            if not (folder / JOB).is_file():
                replace_file(folder / JOB, remote.read(JOB))
    return folder


def create_job(storage: str, folder: Path, data: bytes) -> None:
    """Write the job of a new run; of two submissions of one id with different jobs, one comes first.

    Raises:
        RefusedError: there is another job already.
    """
    remote = Prefix(prefix_at(storage).at(folder.name))
    if not remote.create(JOB, data):
        raise another_job(folder.name, storage)
    with locked(folder.with_name(f".{folder.name}.lock")):
        replace_file(folder / JOB, data)
        _write(folder, storage, remote.find(JOB))


def another_job(run_id: str, storage: object) -> RefusedError:
    """What is told whose run has got another job since they looked."""
    return RefusedError(
        f"run {run_id} was just submitted to {storage} by somebody else, with another job; "
        "submit again to see the difference, or give the run another id"
    )


def _write(folder: Path, storage: str, found: Entry | None) -> None:
    about = About(storage, secrets.token_hex(6), _began_at(found))
    replace_file(folder / FILE, json.dumps(asdict(about)).encode() + b"\n")


def _began(folder: Path) -> str | None:
    """Which run a folder is a copy of; None: it is none."""
    try:
        return json.loads((folder / FILE).read_bytes())["began"]
    except (OSError, ValueError, KeyError):
        return None


def _began_at(found: Entry | None) -> str:
    return f"{found.tag} {found.modified.isoformat()}" if found else ""
