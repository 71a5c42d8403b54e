"""The runs of a storage, on a disk or on S3: made, found by name, folder or URL, and listed."""

import difflib
import errno
import re
from pathlib import Path

from ipt_platform.errors import NotFoundError, UsageError, storage_failed
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.working import open_working
from ipt_platform.storage.paths import SCHEME, S3Path
from ipt_platform.storage.prefix import prefix_at

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def create(storage: str | Path | S3Path, run_id: str) -> RunDir:
    """The folder of a run, made if it is not there yet (then two submissions of one id meet in one folder).

    Raises:
        UsageError: the id is no plain name, or the storage is no local folder.
    """
    check_run_id(run_id)
    if is_remote(storage):
        folder = open_working(str(storage), run_id, new=True, whole=True)
        assert folder
        return RunDir(folder)
    run = RunDir(_local(storage) / run_id)
    run.path.mkdir(parents=True, exist_ok=True)
    return run


def check_run_id(run_id: str) -> None:
    """That this may be the id of a run.

    Raises:
        UsageError: it is no plain name.
    """
    if run_id == "registry":
        raise UsageError("'registry' is where the registered tasks are; give the run another id")
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(f"{run_id!r} is no run id: expected small letters, digits, '.', '_' and '-', at most 128 of them")


def find_run(storage: str | Path | S3Path, name_or_path: str | Path) -> RunDir:
    """The run with this id in the storage, or the run whose folder (or URL) this is.

    Raises:
        NotFoundError: there is none; the message says which names are near.
        InfrastructureError, UsageError: as S3 says, for runs there; or the disk does not let us look.
    """
    if is_remote(name_or_path):
        storage, _, name_or_path = str(prefix_at(str(name_or_path)).root).rpartition("/")
    if is_remote(storage):
        folder = open_working(str(storage), str(name_or_path)) if _RUN_ID.fullmatch(str(name_or_path)) else None
        if folder:
            return RunDir(folder)
        names = remote_ids(str(storage))
    else:
        for path in (_local(storage) / name_or_path, Path(name_or_path)):
            if is_run(path):
                return RunDir(path)
        names = [run.id for run in list_runs(storage)]
    near = difflib.get_close_matches(str(name_or_path), names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        hint = f"`ipt-platform ls --storage {storage}` shows the {len(names)} runs there"
    else:
        hint = "there are no runs there; is --storage right?"
    raise NotFoundError(f"no run {str(name_or_path)!r} in {storage}: {hint}")


def run_at(path: Path, storage: str | None) -> RunDir:
    """A run that another process has named, maybe on another machine: of one on S3 this machine has a folder of its own.

    Args:
        path: its folder where it was named.
        storage: where it lies on S3 (`Mirror.about.storage`), if it does.

    Raises:
        NotFoundError: there is no such run on S3.
    """
    if storage is None:
        return RunDir(path)
    folder = open_working(storage, path.name, whole=True)
    if folder is None:
        raise NotFoundError(f"run {path.name} is gone from {storage}; was it removed?")
    return RunDir(folder)


def remote_ids(storage: str) -> list[str]:
    """The ids of the runs of a storage on S3."""
    return [name for name in prefix_at(storage).folders() if _RUN_ID.fullmatch(name) and name != "registry"]


def list_runs(storage: str | Path | S3Path) -> list[RunDir]:
    """All runs in a storage by name; [] if the folder does not exist."""
    folder = _local(storage)
    if not folder.is_dir():
        return []
    return [RunDir(path) for path in sorted(folder.iterdir()) if is_run(path)]


def is_run(path: Path) -> bool:
    """Whether a folder is one of a run: it holds a job, events or attempts.

    Raises:
        InfrastructureError: the storage does not let us look.
    """
    try:
        return any((path / name).exists() for name in ("job.yaml", "events.jsonl", "attempts"))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise storage_failed(error, path) from error


def _local(storage: str | Path | S3Path) -> Path:
    if "://" in str(storage):
        raise UsageError(f"storage {str(storage)!r}: runs are kept in folders and on S3; name a folder, or s3://BUCKET/PREFIX")
    return Path(str(storage))


def is_remote(storage: str | Path | S3Path) -> bool:
    """Whether a storage or a run is named that lies on S3."""
    return str(storage).startswith(SCHEME)
