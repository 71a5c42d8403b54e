"""A registry that can be written: its files, and the index over them.

A version is written in this order, each step on the disk (or in the bucket) before the next one begins:

    1. in one transaction of the index: the row (task, version), and the file task.json; of two who try, one owns the number
    2. every other file
    3. COMMIT, with the digest of each
    4. the rest of the row

Whoever is killed before 3 leaves a folder that does not count, and its number is not used again; between 3 and 4, a version
that counts and that the next look at the index adds to it.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ipt_platform.errors import DataError, IptError, NotFoundError, RefusedError
from ipt_platform.registry.catalogue import COMMIT, RECORD, TASKS, Catalogue, FileEntry, Row, Seal, TaskView, Version
from ipt_platform.registry.files import Files
from ipt_platform.registry.history import Change, file_of
from ipt_platform.registry.record import TaskRecord, parse_record
from ipt_platform.storage.paths import AnyPath, any_path

if TYPE_CHECKING:
    from ipt_platform.registry.database import Index

FOLDER = "registry"
VARIABLE = "IPT_REGISTRY_DATABASE"
"""Environment variable with the URL of the index; a password belongs in no file and on no command line."""

IDENTITY = "registry.json"
FORMAT = "ipt-registry/1"
ABANDONED = timedelta(days=1)
"""What was begun so long ago and never committed may be cleared away."""


def open_catalogue(storage: str | AnyPath) -> Catalogue:
    """The registry of a storage, for reading; one that is not there holds no tasks.

    Raises:
        UsageError: the storage is no path.
    """
    return Catalogue(Files(any_path(storage) / FOLDER))


def open_registry(storage: str | AnyPath, database: str | None, new: bool = True) -> "Registry":
    """The registry of a storage.

    Args:
        storage: folder of the runs, or a prefix on S3.
        database: URL of the index; None: a SQLite file of its own.
        new: whether to make one where there is none.

    Raises:
        NotFoundError: there is none, and none was to be made.
        UsageError: the storage is no path, or the URL is none that can be used.
        DataError: there is something else than a registry.
        InfrastructureError: the storage fails.
    """
    catalogue = open_catalogue(storage)
    if not new and not catalogue.files.exists(IDENTITY):
        raise NotFoundError(
            f"no tasks are registered in {catalogue.files.root}; `ipt-platform task register FILE` makes the first"
        )
    registry = _identity(catalogue.files)
    # SQLAlchemy takes a while to import, and whoever only reads does without it
    from ipt_platform.registry.database import Index, cache_file, database_url

    root = catalogue.files.root
    default = root / "index.sqlite" if isinstance(root, Path) else cache_file(registry)
    return Registry(catalogue, Index(database_url(default, database), registry))


def _identity(files: Files) -> str:
    """The id of a registry; the first who asks makes it."""
    if not files.exists(IDENTITY):
        files.create(IDENTITY, json.dumps({"format": FORMAT, "id": secrets.token_hex(16)}).encode() + b"\n")
    try:
        found = json.loads(files.read(IDENTITY))
        if found["format"] != FORMAT:
            raise DataError(f"{files.at(IDENTITY)}: expected format {FORMAT}, found {found['format']!r}")
        return str(found["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{files.at(IDENTITY)}: this is no registry's: {error}") from error


@dataclass(frozen=True)
class Registry:
    """The tasks of a storage, and the index over them."""

    catalogue: Catalogue
    index: "Index"

    @property
    def files(self) -> Files:
        """The files of the registry."""
        return self.catalogue.files

    def add_version(self, record: TaskRecord, contents: Mapping[str, bytes]) -> Version:
        """Write a version, and make it count.

        Args:
            record: its number is the one that was next when whoever writes it looked.
            contents: its other files, by name.

        Raises:
            RefusedError: somebody else has taken the number meanwhile.
            InfrastructureError: the storage or the index failed; the version does not count, unless all but its row is there.
        """
        place = f"{TASKS}/{record.name}/{record.version}"
        data = record.to_bytes()
        with self._taken(record), self.index.claim_version(record.name, record.version):
            if not self.files.create(f"{place}/{RECORD}", data):
                raise RefusedError
        for name, content in contents.items():
            if not self.files.create(f"{place}/{name}", content):
                raise DataError(f"{self.files.at(place)}: {name} is there already, with other bytes")
        seal = Seal(files={name: _entry(content) for name, content in {RECORD: data, **contents}.items()})
        self.files.create(f"{place}/{COMMIT}", seal.to_bytes())
        self.sync()
        return Version(record, seal)

    def add_change(self, view: TaskView, change: Change) -> None:
        """Write a change of aliases, which was decided on how the task stood in `view`.

        Raises:
            RefusedError: somebody else has changed something meanwhile.
        """
        name = f"{TASKS}/{view.name}/{file_of(change.revision)}"
        try:
            with self.index.claim_change(view.name, change.revision):
                if not self.files.create(name, change.to_bytes()):
                    raise RefusedError
        except RefusedError as error:
            raise RefusedError(
                f"{_who_changed(self.catalogue, view.name, change.revision)} while you were at it, so nothing was changed. "
                f"Look at `ipt-platform task show {view.name}`, and try again."
            ) from error
        self.sync()

    def sync(self) -> list[str]:
        """Bring the index to what the files say.

        Returns:
            What is damaged, and therefore not in the index; a sentence each.
        """
        known = {(row.task, row.version): row for row in self.index.rows()}
        rows: list[Row] = []
        there: set[tuple[str, int]] = set()
        aliases = {}
        damaged: list[str] = []
        for task, listing in self.catalogue.listings().items():
            try:
                view = self.catalogue.view(task, listing)
                aliases[task] = view.revision, view.aliases
                there |= {(task, version) for version in (*view.versions, *view.begun)}
                for version in view.versions:
                    row, passed = known.get((task, version)), version in view.passed
                    if not (row and row.committed and (row.passed or not passed)):
                        row = self._row(task, version)
                        rows.append(replace(row, passed=True) if passed else row)
            except (DataError, NotFoundError) as error:
                damaged.append(str(error))
        # Only what was in the index before the files were listed: what has come since is newer than the list.
        self.index.replace(rows, known.keys() - there, aliases)
        return damaged

    def rebuild(self, now: datetime) -> tuple[list[str], list[str]]:
        """Make the index anew, and clear away what was begun and given up.

        Returns:
            What is damaged, as `sync`; and the folders that were cleared away.
        """
        self.index.clear()
        cleared = [place for place in self._abandoned(now) if self._clear(place)]
        self.files.remove(self.files.leavings(now - ABANDONED))
        return self.sync(), cleared

    def _row(self, task: str, version: int) -> Row:
        found = self.catalogue.version(task, version)
        record = found.record
        row = Row(task, version, True, record.created, record.owner, record.task.description)
        if not found.has_pack:
            return row
        about = self.catalogue.about_pack(found)
        verdict = self.catalogue.verdict(found) or {}
        return replace(row, backbone=about["backbone"]["fingerprint"], passed=bool(verdict.get("passed")))

    def _abandoned(self, now: datetime) -> Iterator[str]:
        """Folders of versions that were begun long ago and never committed, and of those that were removed."""
        for task, listing in self.catalogue.listings().items():
            try:
                view = self.catalogue.view(task, listing)
            except (DataError, NotFoundError):
                continue  # `sync` tells it; nothing is removed on ground that cannot be read
            yield from (f"{TASKS}/{task}/{version}" for version in view.removed)
            for version in view.begun:
                place = f"{TASKS}/{task}/{version}"
                try:
                    record = parse_record(self.files.read(f"{place}/{RECORD}"), place)
                    old = now - datetime.fromisoformat(record.created) > ABANDONED
                except (IptError, ValueError):
                    old = True  # nobody can go on with it
                if old:
                    yield place

    def _clear(self, place: str) -> bool:
        names = self.files.names(place)
        self.files.remove(names)
        return bool(names)

    @contextmanager
    def _taken(self, record: TaskRecord) -> Iterator[None]:
        try:
            yield
        except RefusedError as error:
            name = f"{record.name}@{record.version}"
            by = _who_registered(self.catalogue, record)
            raise RefusedError(
                f"{name} was registered{by} while you were at it, so nothing was stored. "
                f"Look at `ipt-platform task show {name}`, and register again what should come after it."
            ) from error


def _entry(content: bytes) -> FileEntry:
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _who_registered(catalogue: Catalogue, record: TaskRecord) -> str:
    place = f"{TASKS}/{record.name}/{record.version}/{RECORD}"
    try:
        other = parse_record(catalogue.files.read(place), place)
    except IptError:
        return ""
    return f" by {other.owner} at {other.created}"


def _who_changed(catalogue: Catalogue, task: str, revision: int) -> str:
    try:
        other = catalogue.change(task, revision)
    except IptError:
        return f"somebody changed the aliases of {task}"
    return f"{other.actor} changed the aliases of {task} ({other.action}, {other.time})"
