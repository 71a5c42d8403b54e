"""Frozen test sets: a degraded picture is a function of the clean picture's bytes, the task and a seed, of nothing else.

The generator of a picture is keyed by the digest of its encoded bytes, not by its place in a list. So names, order, the
number of ranks, and whether the pictures lie in a folder or in shards make no difference, and a subset of a set meets
the same noise as the whole. The digest of a set says whether two numbers were measured on the same pairs.

A paired set (`data pack --pairs`) is frozen by nature: its pairs are measured as they are.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.folder import Source, list_pictures
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.pairs import decode_halves, quantize
from ipt_platform.data.reader import Member, ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.errors import DataError, UsageError
from ipt_platform.spec.dataset import resolve_set, task_of_set
from ipt_platform.spec.task import TaskSpec, load_task
from ipt_platform.storage.paths import AnyPath

SEED = 0
FORMAT = "ipt-testset/2"


@dataclass(frozen=True)
class FrozenTask:
    """What a test set is degraded by: the task's name, its degradation as it is evaluated (None where it reads pairs and
    cannot make any), rounding to 8 bits or not.
    """

    name: str
    degradation: Degradation | None
    quantize: bool = False

    @property
    def params(self) -> dict[str, Any]:
        """The degradation's parameters, as JSON."""
        return self.degradation.model_dump(mode="json") if self.degradation else {}


@dataclass(frozen=True)
class TestItem:
    """One pair: degraded `[H, W, 3]` float32, clean `[H, W, 3]` uint8, and the parameters drawn for it."""

    __test__: ClassVar[bool] = False  # a name that pytest would take for a test

    index: int
    key: str
    degraded: np.ndarray
    clean: np.ndarray
    params: dict[str, Any]


class FolderPictures:
    """The pictures below a folder, under the keys they would have in shards; read as `ShardSet` reads."""

    def __init__(self, folder: Path, sources: Sequence[Source]):
        self.folder = folder
        self._sources = tuple(sources)

    @classmethod
    def open(cls, folder: Path) -> "FolderPictures":
        """List a folder.

        Raises:
            NotFoundError: there is no such folder.
            DataError: it holds no picture, two of one key, or one that is no regular file.
        """
        listing = list_pictures(folder)
        if listing.refused:
            named = "\n".join(f"{folder / bad.name}: {bad.reason}" for bad in listing.refused)
            raise DataError(f"{len(listing.refused)} files of the test set cannot be used:\n{named}")
        return cls(folder, listing.pictures)

    @property
    def images(self) -> int:
        """Number of pictures."""
        return len(self._sources)

    def read(self, index: int) -> Member:
        """The encoded picture `index` and its key."""
        source = self._sources[index]
        return Member(source.key, source.path.read_bytes())


@dataclass(frozen=True)
class TestSet:
    """Clean pictures, degraded as they are read, or pairs as they are; whole pictures, one in memory at a time.

    Attributes:
        name: what reports call the set.
        pictures: where the clean pictures are, or the pairs.
        seed: of every random choice; leave it alone to compare with other numbers.
        task: what pairs are for, where that is known.
    """

    __test__: ClassVar[bool] = False

    name: str
    pictures: FolderPictures | ShardSet
    seed: int = SEED
    task: str | None = None

    def __len__(self) -> int:
        return self.pictures.images

    @property
    def paired(self) -> bool:
        """Whether its pictures are pairs, which no task degrades."""
        return isinstance(self.pictures, ShardSet) and self.pictures.pairs > 0

    def measured(self, tasks: Sequence[FrozenTask]) -> list[FrozenTask]:
        """Those of some tasks that the set can say something about.

        Clean pictures measure every task that degrades. Pairs measure the task that they are for, if it is among `tasks`;
        else the tasks that read pairs; and if there are none, all of them.
        """
        if not self.paired:
            return [task for task in tasks if task.degradation]
        named = [task for task in tasks if task.name == self.task]
        return named or [task for task in tasks if not task.degradation] or list(tasks)

    def items(self, task: FrozenTask, share: tuple[int, int] = (0, 1)) -> Iterator[TestItem]:
        """The pairs of one task, in the order of the set.

        Args:
            task: what to degrade by.
            share: (rank, world): every world-th picture, beginning with the rank-th.

        Raises:
            DataError: a picture does not decode. It is never left out: the number would belong to another set.
        """
        rank, world = share
        for index in range(rank, len(self), world):
            yield self._item(index, task)

    def digest(self, task: FrozenTask) -> str:
        """The sha256 (hexadecimal) over all clean pictures' bytes, the task's degradation, and the seed; of pairs, over the
        bytes of both halves alone.

        Equal for equal pairs, whatever the files are called and wherever they lie. Reads every picture.
        """
        if isinstance(self.pictures, ShardSet) and self.paired:
            return self._digest_of_pairs(self.pictures)
        assert task.degradation
        pictures = sorted(hashlib.sha256(self.pictures.read(i).data).hexdigest() for i in range(len(self)))
        recipe = {
            "format": FORMAT,
            "task": task.name,
            "degradation": task.degradation.name,
            "params": task.degradation.model_dump(mode="json"),
            "quantize": task.quantize,
            "seed": self.seed,
            "pictures": pictures,
        }
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()

    def _digest_of_pairs(self, shards: ShardSet) -> str:
        read = (shards.read_degraded, shards.read)
        pairs = sorted([hashlib.sha256(half(i).data).hexdigest() for half in read] for i in range(len(self)))
        return hashlib.sha256(json.dumps({"format": FORMAT, "pairs": pairs}, sort_keys=True).encode()).hexdigest()

    def _item(self, index: int, task: FrozenTask) -> TestItem:
        member = self.pictures.read(index)
        try:
            if isinstance(self.pictures, ShardSet) and self.paired:
                degraded, clean = decode_halves(self.pictures.read_degraded(index).data, member.data)
                return TestItem(index, member.key, np.divide(degraded, 255, dtype=np.float32), clean, {"pair": member.key})
            clean = decode_rgb(member.data)
        except DataError as error:
            raise DataError(f"test set {self.name}: {member.key}: {error} Mend or remove it and measure again.") from error
        assert task.degradation
        sample = int.from_bytes(hashlib.sha256(member.data).digest()[:8], "big")
        rng = keyed_rng(self.seed, 0, sample, task.name)
        degraded, params = task.degradation(np.divide(clean, 255, dtype=np.float32), rng)
        if task.quantize:
            degraded = quantize(degraded)
        return TestItem(index, member.key, degraded, clean, params)


def open_testset(name: str, paths: Sequence[AnyPath], task: str | None = None) -> TestSet:
    """The test set of the paths that `spec.dataset.resolve_set` found: one folder of pictures, or shards.

    Args:
        name: what reports call it.
        paths: the folder, or the shards.
        task: what its pairs are for (`spec.dataset.task_of_set`).

    Raises:
        NotFoundError: a path or an index does not exist.
        DataError: nothing usable in it, or pairs beside pictures that are none.
    """
    if len(paths) == 1 and isinstance(first := paths[0], Path) and first.is_dir():
        return TestSet(name, FolderPictures.open(first))
    shards = ShardSet.open(paths)
    if 0 < shards.pairs < shards.images:
        raise DataError(
            f"test set {name}: {shards.pairs} of its {shards.images} pictures are pairs; name a set of pairs alone, or of none."
        )
    return TestSet(name, shards, task=task)


def open_testsets(names: Sequence[str], base: Path, tasks: Sequence[FrozenTask], seed: int = SEED) -> list[TestSet]:
    """The test sets of some names, each of which measures some of the tasks.

    Args:
        names: names of cards, folders or shards.
        base: what relative paths are relative to.
        tasks: what will be measured.
        seed: of every random choice.

    Raises:
        SpecError: no such set.
        NotFoundError, DataError: as `open_testset`.
        UsageError: a set of clean pictures for tasks that only read pairs.
    """
    found = [open_testset(name, resolve_set(name, base), task_of_set(name, base)) for name in names]
    for testset in found:
        if not testset.measured(tasks):
            raise UsageError(
                f"test set {testset.name} holds clean pictures, which {', '.join(task.name for task in tasks)} cannot degrade: "
                "name a set of pairs (`ipt-platform data pack --pairs` makes one)"
            )
    return [replace(testset, seed=seed) for testset in found]


def frozen_task(
    name: str, params: Mapping[str, Any] | None = None, base: Path = Path(), registered: Path | None = None
) -> FrozenTask:
    """A task as test sets know it; `params` win over the evaluation parameters of the task's file.

    Args:
        name: the task's.
        params: of its degradation; a task that reads pairs has none.
        base: what `tasks/` is relative to, where the user's own tasks are.
        registered: folder of registered tasks, if there may be some.

    Raises:
        SpecError: no such task.
        pydantic.ValidationError: a parameter is unknown or out of its range.
    """
    return frozen(load_task(name, base, registered), params)


def frozen(task: TaskSpec, params: Mapping[str, Any] | None = None) -> FrozenTask:
    """A task that is at hand as test sets know it.

    Raises:
        pydantic.ValidationError: a parameter is unknown or out of its range.
    """
    return FrozenTask(task.name, None if task.pairs else task.testing(params or {}), task.quantize)
