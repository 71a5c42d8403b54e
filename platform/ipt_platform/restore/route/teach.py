"""Training a router for pictures from photographs: which tasks it learns, and its stream of pairs."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import DataError, NotFoundError, SpecError
from ipt_platform.restore.route.blind import BlindRouter, Examples, examples_of, train_blind_router
from ipt_platform.restore.route.features import WINDOW
from ipt_platform.restore.route.known import families_of
from ipt_platform.spec.draws import draw_of_task
from ipt_platform.spec.task import TaskSpec, task_names

IMAGES = 4
"""Pictures of a step."""

Draws = Sequence[TaskDraw | PairedDraw]


def draws_to_see(specs: Mapping[str, TaskSpec], note: Callable[[str], None] = lambda text: None, base: Path = Path()) -> Draws:
    """What is learned of each task that a picture can show.

    No picture shows that it should be larger; and a task of the user's own that undoes the same damage as a built-in one looks
    like that one.

    Args:
        specs: all tasks.
        note: told which tasks are left out because their pairs are not here.
        base: what relative paths are relative to.
    """
    shipped = {families_of(spec) for name, spec in specs.items() if name in task_names()}
    draws: list[TaskDraw | PairedDraw] = []
    for name, spec in sorted(specs.items()):
        own = name not in task_names()
        if spec.degradation and (spec.training({}).upscale > 1 or (own and families_of(spec) in shipped)):
            continue
        try:
            draws.append(draw_of_task(spec, 1, {}, base))
        except (SpecError, NotFoundError, DataError) as error:
            note(f"{name} is left out: {error}")
    return draws


def examples_from(
    shards: ShardSet,
    draws: Draws,
    pictures: int,
    seed: int,
    progress: Callable[[float, float], None] = lambda done, total: None,
    processes: int | None = None,
) -> Examples:
    """Windows of photographs, damaged for each task and clean.

    Args:
        shards: the photographs.
        draws: the tasks, in the order of the classes.
        pictures: how many pictures are drawn, each a crop for every task; the same one may come again.
        seed: of everything random.
        progress: told (steps done, steps in all).
        processes: that make pairs; None: one for each core but this one's.

    Raises:
        DataError: too many photographs in a row cannot be used.
    """
    steps = -(-pictures // IMAGES)
    schedule = Schedule((Stage(steps=steps, patch=WINDOW, images=IMAGES),))
    maker = BatchMaker(shards=shards, plan=Plan(seed, shards.images), schedule=schedule, draws=draws, seed=seed)
    cores = len(os.sched_getaffinity(0)) - 1 if processes is None else processes
    stream = local_stream(maker, 0, steps, processes=cores)
    return examples_of(stream, [draw.name for draw in draws], lambda done: progress(done, steps))


def teach(
    shards: ShardSet,
    draws: Draws,
    pictures: int,
    seed: int = 0,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> BlindRouter:
    """A router for pictures that learned from these photographs; errors and arguments as of `examples_from`."""
    return train_blind_router([draw.name for draw in draws], examples_from(shards, draws, pictures, seed, progress), seed)
