"""The plan: which picture is the i-th sample, and which samples make a step.

A pure function of (seed, epoch, sample). It knows nothing of workers, order or time, so 1, 2 or 8 workers see the same
samples in the same steps, and to resume is to start at a step.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ipt_platform.data.rng import keyed_digest
from ipt_platform.errors import DataError

ROUNDS = 8
SORTED = 1024
MAX_IMAGES = 1 << 60  # the permutation computes in 64 bits, with room to spare


@dataclass(frozen=True)
class Entry:
    """One sample of the plan: its number, the pass over the pictures it falls in, and the picture's index."""

    sample: int
    epoch: int
    index: int


@dataclass(frozen=True)
class Plan:
    """The order of samples over `images` pictures; every picture comes once in each epoch, in a new order each time.

    Raises:
        DataError: There are no pictures.
    """

    seed: int
    images: int

    def __post_init__(self) -> None:
        if not 1 <= self.images <= MAX_IMAGES:
            raise DataError(f"A plan needs between 1 and {MAX_IMAGES} pictures; the shards hold {self.images}.")

    def sample(self, i: int) -> Entry:
        """Entry of sample `i` (>= 0)."""
        return Entry(sample=i, epoch=i // self.images, index=int(self.indices(i, i + 1)[0]))

    def indices(self, start: int, stop: int) -> np.ndarray:
        """Picture indices of samples `start` to `stop` (exclusive): int64 [stop - start]."""
        if not 0 <= start <= stop:
            raise ValueError(f"samples {start} to {stop} are not a stretch of the plan")
        out = np.empty(stop - start, np.int64)
        for epoch in range(start // self.images, -(-stop // self.images)):
            first = max(start, epoch * self.images)
            last = min(stop, (epoch + 1) * self.images)
            positions = np.arange(first, last, dtype=np.uint64) - np.uint64(epoch * self.images)
            out[first - start : last - start] = permute(positions, self.images, (self.seed, epoch))
        return out

    def substitutes(self, i: int) -> Iterator[int]:
        """Indices of the pictures to try, in this order, where the picture of sample `i` cannot be used: those that
        follow it in the order of its epoch, every other picture once.
        """
        epoch, position = divmod(i, self.images)
        for step in range(1, self.images):
            following = np.array([(position + step) % self.images], np.uint64)
            yield int(permute(following, self.images, (self.seed, epoch))[0])


@dataclass(frozen=True)
class Stage:
    """A stretch of training: `steps` steps of `images` pictures each (all workers together), cut to `patch` pixels."""

    steps: int
    patch: int
    images: int

    def __post_init__(self) -> None:
        if min(self.steps, self.patch, self.images) < 1:
            raise ValueError(f"a stage needs at least one step, pixel and picture: {self}")


@dataclass(frozen=True)
class Located:
    """Where a step lies: number of its stage (from 0), its first sample, and the stage."""

    number: int
    first: int
    stage: Stage


@dataclass(frozen=True)
class Schedule:
    """The stages of a job, in order; steps and samples are counted through all of them."""

    stages: tuple[Stage, ...]

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def total_samples(self) -> int:
        """Samples of all stages."""
        return sum(stage.steps * stage.images for stage in self.stages)

    def locate(self, step: int) -> Located:
        """Where step `step` (0 to total_steps - 1) lies.

        Raises:
            ValueError: The step is outside the schedule.
        """
        if not 0 <= step < self.total_steps:
            raise ValueError(f"step {step} is outside the schedule of {self.total_steps} steps")
        starts = [0, *accumulate(stage.steps for stage in self.stages)]
        number = bisect_right(starts, step) - 1
        before = sum(stage.steps * stage.images for stage in self.stages[:number])
        stage = self.stages[number]
        return Located(number, before + (step - starts[number]) * stage.images, stage)


def share(first: int, images: int, rank: int, world: int) -> range:
    """Samples of worker `rank` of `world` in a step of `images` samples from `first` on: a contiguous, equal share.

    Raises:
        ValueError: The samples do not divide by the workers, or there is no such worker.
    """
    if images % world or not 0 <= rank < world:
        raise ValueError(f"{images} samples cannot be shared equally by {world} workers (rank {rank})")
    each = images // world
    return range(first + rank * each, first + (rank + 1) * each)


def permute(positions: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Images of `positions` under a keyed bijection of range(size), without a table of it: int64, same shape.

    A balanced Feistel network permutes the next power of four; a value that falls outside the range goes through it
    again (cycle walking), which keeps the map a bijection: Black and Rogaway, "Ciphers with Arbitrary Finite Domains"
    (2002). On a few elements such a network is not quite fair, so up to `SORTED` of them are sorted by keyed hashes.
    """
    keys = np.frombuffer(keyed_digest(8 * ROUNDS, "permutation", *key), np.uint64)
    if size <= SORTED:
        return np.argsort(_mix(_mix(np.arange(size, dtype=np.uint64) ^ keys[0]) ^ keys[1]), kind="stable")[positions]
    half = ((size - 1).bit_length() + 1) // 2
    out = _feistel(positions.astype(np.uint64), half, keys)
    outside = np.flatnonzero(out >= size)
    while outside.size:
        out[outside] = _feistel(out[outside], half, keys)
        outside = outside[out[outside] >= size]
    return out.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << shift) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64: every bit of the input moves every bit of the output (products wrap at 64 bits)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
