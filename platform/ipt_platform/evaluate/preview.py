"""Some of the pairs that training would draw, to be looked at before any training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipt_platform.data.bad import Bad
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.shards import expand_shards
from ipt_platform.errors import NotFoundError

SAMPLE = "datasets/sample/train-*.tar"


@dataclass(frozen=True)
class Shown:
    """A pair of training: its task, degraded float32 [P, P, 3], clean uint8 [P, P, 3], and the parameters that made it."""

    task: str
    degraded: np.ndarray
    clean: np.ndarray
    params: dict[str, Any]


@dataclass(frozen=True)
class Preview:
    """Pairs, task by task, and pictures that could not be used and were replaced, as in training."""

    pairs: list[Shown]
    bad: list[Bad]


def open_photographs(patterns: Sequence[str] | None) -> ShardSet:
    """The shards that somebody names, else those of the sample set.

    Raises:
        NotFoundError: there are none, or no index beside one.
        DataError: an index does not match its shard.
    """
    try:
        return ShardSet.open(expand_shards(patterns or SAMPLE))
    except NotFoundError as error:
        if patterns:
            raise
        raise NotFoundError(
            f"{SAMPLE}: the sample set is not here. `ipt-platform data sample` makes it; or name --shards."
        ) from error


def preview(draws: Sequence[TaskDraw | PairedDraw], shards: ShardSet | None, seed: int, count: int, patch: int) -> Preview:
    """The first pairs that a job would train on.

    What a sample holds depends on seed, sample and task alone, so these are the crops of samples 0 to `count` of any job with
    this seed, these shards and this patch, whatever else it does.

    Args:
        draws: What each task takes from a picture, or from pairs of its own.
        shards: Where the clean pictures are; may be None where every task reads pairs.
        seed: Seed of the job.
        count: Pairs of each task.
        patch: Side of the crops, pixels.

    Raises:
        DataError: As `BatchMaker.make`.
    """
    source = shards or next(draw.shards for draw in draws if isinstance(draw, PairedDraw))
    schedule = Schedule((Stage(steps=1, patch=patch, images=count),))
    batch = BatchMaker(shards=source, plan=Plan(seed, source.images), schedule=schedule, draws=draws, seed=seed).make(0)
    pairs = []
    for draw in draws:
        params = [each for each in batch.params if each["task"] == draw.name]
        pairs += [Shown(draw.name, *crops) for crops in zip(*batch.tasks[draw.name], params, strict=True)]
    return Preview(pairs, batch.bad)
