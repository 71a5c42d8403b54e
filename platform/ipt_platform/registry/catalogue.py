"""What a registry holds, read from its files alone.

<storage>/registry/
  registry.json                        the id of the registry
  tasks/<name>/<version>/              a version; it counts only with COMMIT, and never changes
    task.json                          its record; whoever creates this file owns the number
    sheet.png                          pairs of the task, to look at
    pack/                              the trained bias, where there is one
    verdict.json                       whether the pack passed its gates when it was registered
    COMMIT                             the sha256 of each of these files; written last
  tasks/<name>/history/000001.json     changes of aliases, and removals
  backbones/<fingerprint>/             backbones of the packs, each kept once

Reading needs neither the index nor any service.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, ValidationError

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.registry.files import Files
from ipt_platform.registry.history import HISTORY, Change, file_of, parse_change
from ipt_platform.registry.names import NAME, Reference, nearest
from ipt_platform.registry.record import Sha256, TaskRecord, parse_record
from ipt_platform.spec.base import Spec

TASKS = "tasks"
RECORD = "task.json"
SHEET = "sheet.png"
VERDICT = "verdict.json"
PACK = "pack"
ABOUT_PACK = f"{PACK}/bias.json"
COMMIT = "COMMIT"


class FileEntry(Spec):
    """A file as COMMIT has it."""

    sha256: Sha256 = Field(description="Of its bytes.")
    bytes: int = Field(ge=0, description="Its size.")


class Seal(Spec):
    """The content of COMMIT."""

    format: Literal["ipt-version/1"] = Field(default="ipt-version/1", description="Version of this format.")
    files: dict[str, FileEntry] = Field(description="Every file of the version, by name.")

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=1).encode() + b"\n"


@dataclass(frozen=True)
class Version:
    """A version of a task that counts: its record, and the digests of its files."""

    record: TaskRecord
    seal: Seal

    @property
    def has_pack(self) -> bool:
        """Whether it was trained."""
        return ABOUT_PACK in self.seal.files

    def __str__(self) -> str:
        return f"{self.record.name}@{self.record.version}"


@dataclass(frozen=True)
class Row:
    """A version as an index has it; what is None is not known before it is committed, or not there."""

    task: str
    version: int
    committed: bool
    created: str | None = None
    owner: str | None = None
    description: str | None = None
    backbone: str | None = None
    passed: bool | None = None


@dataclass(frozen=True)
class TaskView:
    """How a task stands: which versions count, what was begun and never ended, and the newest change."""

    name: str
    committed: tuple[int, ...] = ()
    begun: tuple[int, ...] = ()
    revision: int = 0
    change: Change | None = None

    @property
    def aliases(self) -> Mapping[str, int]:
        """Every alias and its version."""
        return self.change.aliases if self.change else {}

    @property
    def removed(self) -> tuple[int, ...]:
        """Versions that were removed."""
        return self.change.removed if self.change else ()

    @property
    def passed(self) -> tuple[int, ...]:
        """Versions that passed their gates when they were promoted."""
        return self.change.passed if self.change else ()

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that count, oldest first."""
        return tuple(version for version in self.committed if version not in self.removed)

    @property
    def next_version(self) -> int:
        """The number of the next version; none is used twice."""
        return 1 + max((*self.committed, *self.begun, *self.removed), default=0)


@dataclass
class Listing:
    """What the names of the files of one task say."""

    committed: set[int] = field(default_factory=set)
    begun: set[int] = field(default_factory=set)
    revision: int = 0

    def take(self, parts: list[str]) -> None:
        """Take in the name of a file below the folder of the task."""
        if parts[0].isdecimal():
            (self.committed if parts[1:] == [COMMIT] else self.begun).add(int(parts[0]))
        elif parts[0] == HISTORY and parts[-1].removesuffix(".json").isdecimal():
            self.revision = max(self.revision, int(parts[-1].removesuffix(".json")))


@dataclass(frozen=True)
class Catalogue:
    """The tasks of a registry."""

    files: Files

    def listings(self) -> dict[str, Listing]:
        """Every task, by the names of its files alone."""
        found: dict[str, Listing] = {}
        for name in self.files.names(TASKS):
            _, task, *parts = name.split("/")
            if NAME.fullmatch(task) and len(parts) > 1:
                found.setdefault(task, Listing()).take(parts)
        return found

    def tasks(self) -> list[str]:
        """The names of the tasks that have a version, or had one."""
        return sorted(task for task, listing in self.listings().items() if listing.committed or listing.revision)

    def view(self, task: str, listing: Listing | None = None) -> TaskView:
        """How a task stands; one that is not there has no versions.

        Raises:
            DataError: the newest change cannot be read.
        """
        if listing is None:
            listing = Listing()
            for name in self.files.names(f"{TASKS}/{task}"):
                listing.take(name.split("/")[2:])
        change = self.change(task, listing.revision) if listing.revision else None
        begun = tuple(sorted(listing.begun - listing.committed))
        return TaskView(task, tuple(sorted(listing.committed)), begun, listing.revision, change)

    def known(self, task: str) -> TaskView:
        """How a task stands that must be there.

        Raises:
            NotFoundError: no version of it is; the nearest names are told.
        """
        view = self.view(task)
        if not view.versions:
            others = [name for name in self.tasks() if name != task]
            there = nearest(task, others) if others else "; there are none: `ipt-platform task register FILE` makes the first"
            raise NotFoundError(f"no task '{task}' is registered in {self.files.root}{there}")
        return view

    def number(self, reference: Reference) -> int:
        """The version that a reference names; of a task alone, the newest.

        Raises:
            NotFoundError: there is no such task, version or alias.
        """
        view = self.known(reference.task)
        if reference.alias is not None:
            if reference.alias not in view.aliases:
                raise NotFoundError(
                    f"{reference.task} has no alias '{reference.alias}'{nearest(reference.alias, view.aliases)}"
                )
            return view.aliases[reference.alias]
        version = reference.version or view.versions[-1]
        if version in view.removed:
            raise NotFoundError(f"{reference} was removed; `ipt-platform task show {reference.task}` says by whom")
        if version not in view.versions:
            raise NotFoundError(f"there is no {reference}; there are the versions {', '.join(map(str, view.versions))}")
        return version

    def version(self, task: str, version: int) -> Version:
        """A version that counts.

        Raises:
            NotFoundError: it has no COMMIT.
            DataError: its COMMIT or its record is damaged.
        """
        place = f"{TASKS}/{task}/{version}"
        data = self.files.read(f"{place}/{COMMIT}")
        try:
            seal = Seal.model_validate_json(data)
        except ValidationError as error:
            raise DataError(f"{self.files.at(place)}: its {COMMIT} is damaged: {error.errors()[0]['msg']}") from error
        record = parse_record(self.read(task, version, seal, RECORD), self.files.at(f"{place}/{RECORD}"))
        if (record.name, record.version) != (task, version):
            raise DataError(f"{self.files.at(place)}: holds the record of {record.name}@{record.version}; was it moved?")
        return Version(record, seal)

    def read(self, task: str, version: int, seal: Seal, name: str) -> bytes:
        """The bytes of a file of a version, which are those of its COMMIT.

        Raises:
            NotFoundError: the version has no such file.
            DataError: it is missing or has other bytes.
        """
        place = self.files.at(f"{TASKS}/{task}/{version}/{name}")
        if name not in seal.files:
            raise NotFoundError(f"{task}@{version} has no {name}")
        entry = seal.files[name]
        try:
            data = self.files.read(f"{TASKS}/{task}/{version}/{name}", entry.bytes)
        except (NotFoundError, DataError) as error:
            raise DataError(f"{place}: damaged: {COMMIT} says {entry.bytes} bytes: {error}") from error
        if (digest := hashlib.sha256(data).hexdigest()) != entry.sha256:
            raise DataError(f"{place}: damaged: it has sha256 {digest}, {COMMIT} says {entry.sha256}")
        return data

    def about_pack(self, version: Version) -> dict[str, Any]:
        """What the pack of a version says of itself (`bias.json`).

        Raises:
            NotFoundError: it has no pack.
            DataError: the file is damaged.
        """
        return json.loads(self.read(version.record.name, version.record.version, version.seal, ABOUT_PACK))

    def verdict(self, version: Version) -> dict[str, Any] | None:
        """What the gates said when a pack was registered; None for a version without one."""
        if VERDICT not in version.seal.files:
            return None
        return json.loads(self.read(version.record.name, version.record.version, version.seal, VERDICT))

    def change(self, task: str, revision: int) -> Change:
        """A change of a task's aliases.

        Raises:
            NotFoundError, DataError: it is not there, or not readable.
        """
        name = f"{TASKS}/{task}/{file_of(revision)}"
        return parse_change(self.files.read(name), self.files.at(name))

    def changes(self, task: str) -> list[Change]:
        """All changes of a task, oldest first."""
        return [self.change(task, number + 1) for number in range(self.view(task).revision)]
