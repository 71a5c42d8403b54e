"""The folder for the files of an embedded Ray: short-lived, and removed by somebody else if its owner was killed."""

import contextlib
import fcntl
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import CancelledRunError, RefusedError

log = logging.getLogger(__name__)

_LOCK = "owner.lock"
_PREFIX = "ipt-"


@dataclass(frozen=True)
class SessionFolder:
    """A folder, and the descriptor of the lock that keeps others from removing it; whoever inherits it is an owner too."""

    path: Path
    lock: int


@contextlib.contextmanager
def session_folder(kept: Path) -> Iterator[SessionFolder]:
    """A new folder, removed at the end.

    Args:
        kept: where Ray's logs go after an error.
    """
    _remove_orphans()
    # Unix sockets below it must stay under 108 bytes, so the folder's path is short.
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Locked before it has the name that others look for; the kernel unlocks it when its owners end, however they end.
    with (path / ".owner").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (path / ".owner").rename(path / _LOCK)
        try:
            yield SessionFolder(path, lock.fileno())
        except Exception as error:
            if not isinstance(error, CancelledRunError | RefusedError):
                _keep_logs(path, kept)
            raise
        finally:
            remove(path)


def remove(folder: Path) -> None:
    """Remove such a folder; if something is still being written into it, the next one who looks for orphans does."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    if {path.name for path in folder.iterdir()} <= {_LOCK}:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_orphans() -> None:
    """Remove the folders of those that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), path.open("r+") as lock:  # locked, another user's, or just removed
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path.parent)


def _keep_logs(folder: Path, kept: Path) -> None:
    logs = folder / "session_latest" / "logs"
    try:
        for path in logs.rglob("*"):
            if path.is_file() and path.stat().st_size:
                target = kept / path.relative_to(logs)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    except OSError as error:  # why it went wrong matters more than that its logs are lost too
        log.warning("the logs of Ray could not be kept in %s: %s", kept, error)
