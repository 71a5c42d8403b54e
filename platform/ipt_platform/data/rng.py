"""Random generators that know where they stand, not what ran before them."""

import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike


def keyed_rng(seed: int, epoch: int, sample: int, task: str, copy: int = 0) -> np.random.Generator:
    """The generator of one crop: the same for the same key on every worker, in any order, on any machine.

    Philox is a counter-based generator: its stream is a pure function of a 128-bit key, here the BLAKE2b digest of the
    arguments (numpy's own seeding would stretch fewer bits).

    Args:
        seed: Seed of the job.
        epoch: Pass over the pictures, from 0.
        sample: Number of the sample in the plan, from 0; it does not start again with an epoch.
        task: Name of the task the crop is degraded for.
        copy: Which of the task's crops of this picture, from 0.
    """
    key: Any = _Key(keyed_digest(16, seed, epoch, sample, copy, task))  # numpy takes it, its annotations do not say so
    return np.random.Generator(np.random.Philox(key))


class _Key(ISeedSequence):
    """A digest in the place of a seed: the same as `Philox(key=...)`, which first gathers entropy that it has no use for."""

    def __init__(self, digest: bytes):
        self.digest = digest

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint32) -> np.ndarray:
        return np.frombuffer(self.digest, dtype)[:n_words]


def keyed_digest(size: int, *key: int | str) -> bytes:
    """BLAKE2b digest of `size` bytes over a tuple of numbers and names; equal only for equal tuples."""
    # repr quotes names, so ("a", "b") and ("a', 'b",) differ; the person string keeps these digests apart from all
    # others.
    return hashlib.blake2b(repr(key).encode(), digest_size=size, person=b"ipt-platform/rng").digest()
