"""Random generators that know where they stand, not what ran before them."""

import hashlib

import numpy as np


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
    return np.random.Generator(
        np.random.Philox(key=int.from_bytes(keyed_digest(16, seed, epoch, sample, copy, task), "little"))
    )


def keyed_digest(size: int, *key: int | str) -> bytes:
    """BLAKE2b digest of `size` bytes over a tuple of numbers and names; equal only for equal tuples."""
    # repr quotes names, so ("a", "b") and ("a', 'b",) differ; the person string keeps these digests apart from all
    # others.
    return hashlib.blake2b(repr(key).encode(), digest_size=size, person=b"ipt-platform/rng").digest()
