"""Frozen test sets: a degraded picture is a function of the clean picture's bytes, the task and a seed, of nothing else.

The generator of a picture is keyed by the digest of its encoded bytes, not by its place in a list. So names, order, the
number of ranks, and whether the pictures lie in a folder or in shards make no difference, and a subset of a set meets
the same noise as the whole. The digest of a set says whether two numbers were measured on the same pairs.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.folder import Source, list_pictures
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.pairs import quantize
from ipt_platform.data.reader import Member, ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.errors import DataError
from ipt_platform.spec.task import load_task

SEED = 0
FORMAT = "ipt-testset/1"


@dataclass(frozen=True)
class FrozenTask:
    """What a test set is degraded by: the task's name, its degradation as it is evaluated, rounding to 8 bits or not."""

    name: str
    degradation: Degradation
    quantize: bool = False


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
            named = "\n".join(f"{folder / name}: {reason}" for name, reason in listing.refused)
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
    """Clean pictures, degraded as they are read; whole pictures, one in memory at a time.

    Attributes:
        name: what reports call the set.
        pictures: where the clean pictures are.
        seed: of every random choice; leave it alone to compare with other numbers.
    """

    __test__: ClassVar[bool] = False

    name: str
    pictures: FolderPictures | ShardSet
    seed: int = SEED

    def __len__(self) -> int:
        return self.pictures.images

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
        """The sha256 (hexadecimal) over all clean pictures' bytes, the task's degradation, and the seed.

        Equal for equal pairs, whatever the files are called and wherever they lie. Reads every picture.
        """
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

    def _item(self, index: int, task: FrozenTask) -> TestItem:
        member = self.pictures.read(index)
        try:
            clean = decode_rgb(member.data)
        except DataError as error:
            raise DataError(f"test set {self.name}: {member.key}: {error} Mend or remove it and measure again.") from error
        sample = int.from_bytes(hashlib.sha256(member.data).digest()[:8], "big")
        rng = keyed_rng(self.seed, 0, sample, task.name)
        degraded, params = task.degradation(np.divide(clean, 255, dtype=np.float32), rng)
        if task.quantize:
            degraded = quantize(degraded)
        return TestItem(index, member.key, degraded, clean, params)


def open_testset(name: str, paths: Sequence[Path]) -> TestSet:
    """The test set of the paths that `spec.dataset.resolve_set` found: one folder of pictures, or shards.

    Raises:
        NotFoundError: a path or an index does not exist.
        DataError: nothing usable in it.
    """
    if len(paths) == 1 and paths[0].is_dir():
        return TestSet(name, FolderPictures.open(paths[0]))
    return TestSet(name, ShardSet.open(paths))


def frozen_task(name: str, params: Mapping[str, Any] | None = None) -> FrozenTask:
    """A task as test sets know it; `params` win over the evaluation parameters of the task's file.

    Raises:
        SpecError: no such task.
        pydantic.ValidationError: a parameter is unknown or out of its range.
    """
    spec = load_task(name)
    return FrozenTask(name, spec.testing(params or {}), spec.quantize)
