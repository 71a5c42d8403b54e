"""Writing files that survive a crash: whole or not there, and on the disk before the next step is taken.

A rename is atomic, but only what was fsynced before it is sure to be behind the new name after a power cut, and the
rename itself is sure only once the folder that holds the name was fsynced too. Standard library only.
"""

import os
import secrets
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


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder (created, renamed and removed ones)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
