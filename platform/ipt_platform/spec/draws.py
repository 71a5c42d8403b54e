"""From a task's name to what training takes for it from each picture, or from pairs of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipt_platform.data.pairs import PairedDraw, TaskDraw
from ipt_platform.data.reader import CACHE_BYTES, ShardSet
from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.dataset import find_shards
from ipt_platform.spec.task import TaskSpec, load_task, problem_of_pairs


def draw_of(
    name: str,
    weight: int,
    params: Mapping[str, Any],
    base: Path = Path(),
    cache_bytes: int = CACHE_BYTES,
    registered: Path | None = None,
) -> TaskDraw | PairedDraw:
    """What a task takes.

    Args:
        name: The task's.
        weight: Crops of each picture.
        params: Degradation parameters that win over the task's own; a task with pairs has none.
        base: What relative paths are relative to: the directory the command runs in.
        cache_bytes: Bytes of pairs on S3 that each process keeps.
        registered: Folder of registered tasks, if there may be some.

    Raises:
        SpecError: No such task, its file is wrong, or its shards are missing or hold no pairs.
        pydantic.ValidationError: A parameter is unknown or out of range.
        NotFoundError, DataError: A shard of pairs has no index, or one that does not match it.
    """
    task = load_task(name, base, registered)
    if task.pairs:
        return PairedDraw(name, weight, open_pairs(name, task.pairs, base, cache_bytes, registered))
    return draw_of_task(task, weight, params)


def draw_of_task(
    task: TaskSpec, weight: int, params: Mapping[str, Any], base: Path = Path(), cache_bytes: int = CACHE_BYTES
) -> TaskDraw | PairedDraw:
    """What a task takes that need not be where `load_task` looks; arguments and errors as of `draw_of`."""
    if task.pairs:
        return PairedDraw(task.name, weight, pairs_in(task.pairs, base, cache_bytes))
    return TaskDraw(task.name, weight, task.training(params), task.quantize)


def open_pairs(
    name: str, patterns: tuple[str, ...], base: Path, cache_bytes: int = CACHE_BYTES, registered: Path | None = None
) -> ShardSet:
    """The shards of a task's pairs.

    Raises:
        SpecError: They are missing, or hold pictures that are no pairs.
        NotFoundError, DataError: As `ShardSet.open`.
    """
    try:
        return pairs_in(patterns, base, cache_bytes)
    except SpecError as error:
        found = [problem_of_pairs(name, base, problem.message, registered) for problem in error.problems]
        raise SpecError(found) from error


def pairs_in(patterns: tuple[str, ...], base: Path, cache_bytes: int = CACHE_BYTES) -> ShardSet:
    """The shards of pairs that some patterns name.

    Raises:
        SpecError: They are missing, or hold pictures that are no pairs.
        NotFoundError, DataError: As `ShardSet.open`.
    """
    shards = ShardSet.open(find_shards(patterns, base), cache_bytes)
    if shards.pairs:
        return shards
    listed = ", ".join(map(str, shards.shards[:3]))
    raise SpecError([Problem(f"no pairs in {listed}; make paired shards with `data pack --pairs`")])
