"""The registered tasks of a storage for who looks again and again: one is read anew only where something was added to it."""

import threading
from dataclasses import dataclass, field
from typing import Any

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.registry.catalogue import Catalogue, Listing
from ipt_platform.registry.store import open_catalogue
from ipt_platform.registry.words import described, mean_in_words

_Mark = tuple[frozenset[int], int]


@dataclass(frozen=True)
class TaskRow:
    """A task of the list.

    Attributes:
        name: of the task.
        problem: why its files cannot be read; "": they can.
        versions: the numbers of those that count, oldest first.
        aliases: every alias and its version.
        shown: the version whose numbers are shown: that of `prod`, or else the newest; as `described` has it.
        gain, psnr: means over its sets in words, dB.
    """

    name: str
    problem: str = ""
    versions: tuple[int, ...] = ()
    aliases: dict[str, int] = field(default_factory=dict)
    shown: dict[str, Any] | None = None
    gain: str = "-"
    psnr: str = "-"


class Registered:
    """The registered tasks of a storage: a folder, or `s3://bucket/prefix`."""

    def __init__(self, storage: str):
        self._storage = storage
        self._lock = threading.Lock()
        self._known: dict[str, tuple[_Mark, TaskRow]] = {}

    @property
    def catalogue(self) -> Catalogue:
        """What the registry holds, read from its files."""
        return open_catalogue(self._storage)

    def rows(self) -> list[TaskRow]:
        """Every task by name.

        Raises:
            InfrastructureError: the storage fails.
        """
        catalogue = self.catalogue
        with self._lock:
            found: dict[str, tuple[_Mark, TaskRow]] = {}
            for name, listing in sorted(catalogue.listings().items()):
                mark = frozenset(listing.committed), listing.revision
                before = self._known.get(name)
                found[name] = before if before and before[0] == mark else (mark, _row(catalogue, name, listing))
            self._known = found
        return [row for _, row in found.values() if row.versions or row.problem]


def _row(catalogue: Catalogue, name: str, listing: Listing) -> TaskRow:
    try:
        view = catalogue.view(name, listing)
        if not view.versions:
            return TaskRow(name)
        number = view.aliases.get("prod", view.versions[-1])
        shown = described(catalogue, view, catalogue.version(name, number))
    except (DataError, NotFoundError) as error:
        return TaskRow(name, str(error))
    numbers = (shown["verdict"] or {"numbers": []})["numbers"]
    means = (mean_in_words(metric, numbers) for metric in ("gain", "psnr"))
    return TaskRow(name, "", view.versions, dict(view.aliases), shown, *means)
