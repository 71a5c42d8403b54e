"""Registered tasks where jobs look for them: the newest record of a task, from the files of a registry or of a run.

    <folder>/<name>/<version>/task.json, COMMIT      as `registry.catalogue` explains them
    <folder>/<name>.yaml                             of a run alone: the user's own task file, where the task is not registered

A run keeps such a folder of its own, with the records and files that its job was given with; so a task that is registered anew,
or a file that is changed, changes nothing under a run, and a cluster needs no folder with task files.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.source import Document

FOLDER = Path("registry", "tasks")
"""Below the storage of the runs."""

RECORD = "task.json"
COMMIT = "COMMIT"
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True)
class Registered:
    """A version of a registered task: its number and its folder."""

    version: int
    folder: Path

    @property
    def record(self) -> Path:
        """The file of its record."""
        return self.folder / RECORD


def find_registered(folder: Path, name: str) -> Registered | None:
    """The newest version of a task that counts; None where the task has none."""
    place = folder / name
    if not place.is_dir():
        return None
    numbers = [int(path.name) for path in place.iterdir() if _VERSION.fullmatch(path.name) and (path / COMMIT).is_file()]
    return Registered(max(numbers), place / str(max(numbers))) if numbers else None


def kept_file(folder: Path, name: str) -> Path:
    """Where a run keeps the user's own file of a task that is not registered."""
    return folder / f"{name}.yaml"


def registered_names(folder: Path) -> list[str]:
    """The tasks that have a version, sorted."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if find_registered(folder, name)]


def registered_document(found: Registered) -> Document:
    """The task file that a record holds.

    Raises:
        SpecError: the record is not the one that was committed, or none.
    """
    try:
        data = found.record.read_bytes()
        sealed: Any = json.loads((found.folder / COMMIT).read_bytes())["files"][RECORD]["sha256"]
        if hashlib.sha256(data).hexdigest() != sealed:
            raise ValueError(f"its sha256 is not the one of {COMMIT}")
        return Document(json.loads(data)["task"], {}, str(found.record))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SpecError([Problem(f"damaged: {error}; `ipt-platform task verify` says more", str(found.record))]) from error
