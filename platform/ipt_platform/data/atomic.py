"""A folder that appears whole or not at all."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipt_platform.errors import InfrastructureError, RefusedError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that takes its name when the block ends well, and is removed when it does
    not.

    Leavings of a writer that was killed are removed; a living writer holds a lock on its folder.

    Raises:
        RefusedError: `out` exists and is not an empty folder.
        InfrastructureError: It cannot be written: no room, no permission.
    """
    out = out.absolute()
    refuse_full(out)
    try:
        with _temporary(out) as temporary:
            yield temporary
            _take_name(temporary, out)
    except OSError as error:
        raise InfrastructureError(f"{out}: cannot be written: {error.strerror or error}. Nothing was kept of it.") from error


@contextmanager
def _temporary(out: Path) -> Iterator[Path]:
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}.tmp-"
    _remove_abandoned(out.parent, prefix)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    with _locked(temporary):
        try:
            yield temporary
        except BaseException:  # an interrupt, too, must leave nothing behind
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def refuse_full(out: Path) -> None:
    """Raise RefusedError where `out` exists and is not an empty folder."""
    if out.is_symlink() or out.exists():
        if not out.is_dir():
            raise RefusedError(f"{out}: exists and is not a folder. Name another output.")
        if any(out.iterdir()):
            raise RefusedError(f"{out}: exists and is not empty; shards are never written over. Name another output.")


def _take_name(temporary: Path, out: Path) -> None:
    temporary.chmod(0o777 & ~_umask())  # it was made for its owner alone
    try:
        temporary.rename(out)  # an empty folder gives way, a full one does not
    except OSError as error:
        raise RefusedError(f"{out}: appeared while it was being written ({error.strerror}). Name another output.") from error


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError), _locked(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
