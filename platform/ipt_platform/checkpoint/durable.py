"""Writing files that survive a crash: whole or not there, and on the disk before the next step is taken.

A rename is atomic, but only what was fsynced before it is sure to be behind the new name after a power cut, and the
rename itself is sure only once the folder that holds the name was fsynced too. Standard library only.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path


def write_durable(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; the folder's entry is not yet synced (`sync_folder` does that).

    Args:
        path: the file; it must not exist.
        data: its whole content.

    Raises:
        FileExistsError: the file is already there.
        OSError: the disk is full or refuses; a torn file may be left behind.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole file in the place of an older one or of none: a reader sees the old content or the new, never a mix.

    Raises:
        OSError: the disk is full or refuses; the old content stands.
    """
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        write_durable(temporary, data)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with files in it, whole or not at all; folders above it are made where they are missing.

    Args:
        path: the folder.
        files: content by name; a name may have one folder in it (`triptychs/a.png`).

    Raises:
        FileExistsError: something with files in it has that name already; it stands as it was.
        OSError: the disk is full or refuses; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        for name, data in files.items():
            file = temporary / name
            file.parent.mkdir(exist_ok=True)
            write_durable(file, data)
        for folder in {temporary, *((temporary / name).parent for name in files)}:
            sync_folder(folder)
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after a success the name is gone
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder (created, renamed and removed ones)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
