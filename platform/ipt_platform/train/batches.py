"""From a job to what makes the batches of its workers. Without torch."""

from collections.abc import Sequence
from pathlib import Path

from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan
from ipt_platform.data.reader import ShardSet
from ipt_platform.spec.dataset import find_shards
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.parts import DataSpec
from ipt_platform.train.shape import schedule_of


def draws_of(job: LearningJob, base: Path, registered: Path | None = None) -> list[TaskDraw | PairedDraw]:
    """What each task of a job takes from each picture, or from pairs of its own; relative paths are relative to `base`."""
    cache = job.data.s3_cache_mb * 1_000_000
    return [draw_of(name, use.weight, use.params, base, cache, registered) for name, use in job.tasks.items()]


def batch_maker(job: LearningJob, base: Path, rank: int, world: int, registered: Path | None = None) -> BatchMaker:
    """What makes the batches of one worker.

    Args:
        job: the job.
        base: what relative paths in it are relative to.
        rank: of the worker.
        world: number of workers.
        registered: folder of the registered tasks that the job was given with, if there may be some.

    Raises:
        SpecError: shards of pairs are missing, or hold none.
        DataError: there are no shards, or an index is missing or does not match its shard.
    """
    draws = draws_of(job, base, registered)
    # without photographs every task reads pairs, and the maker reads no pictures of its own
    shards = _photographs(job.data, base) or _pairs_of(draws)
    return BatchMaker(
        shards=shards,
        plan=Plan(job.seed, shards.images),
        schedule=schedule_of(job),
        draws=draws,
        seed=job.seed,
        rank=rank,
        world=world,
    )


def _photographs(data: DataSpec, base: Path) -> ShardSet | None:
    return ShardSet.open(find_shards(data.shards, base), data.s3_cache_mb * 1_000_000) if data.shards else None


def _pairs_of(draws: Sequence[TaskDraw | PairedDraw]) -> ShardSet:
    """The pairs of the first task that has some."""
    return next(draw.shards for draw in draws if isinstance(draw, PairedDraw))
