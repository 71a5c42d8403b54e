"""Test sets that stay what they were when a task was registered: their digests, and how they are opened again."""

from collections.abc import Sequence
from pathlib import Path

from ipt_platform.errors import RefusedError
from ipt_platform.evaluate.testset import FrozenTask, TestSet, frozen, open_testsets
from ipt_platform.registry.record import FrozenSet, TaskRecord
from ipt_platform.spec.task import TaskSpec


def freeze_sets(task: TaskSpec, base: Path) -> tuple[FrozenSet, ...]:
    """The test sets of a task as they are now; reads every picture.

    Args:
        task: the task.
        base: what relative paths are relative to.

    Raises:
        SpecError, NotFoundError, DataError, UsageError: as `evaluate.testset.open_testsets`.
    """
    own = frozen(task)
    return tuple(
        FrozenSet(name=testset.name, digest=testset.digest(own), pictures=len(testset))
        for testset in open_testsets(task.sets, base, [own])
    )


def open_frozen(record: TaskRecord, base: Path) -> tuple[FrozenTask, Sequence[TestSet]]:
    """The task and the test sets of a record, which are the ones that it was registered with.

    Raises:
        RefusedError: the pairs of a set are others now; both digests are named.
        SpecError, NotFoundError, DataError: a set is not here, or cannot be read.
    """
    own = frozen(record.task)
    testsets = open_testsets([each.name for each in record.sets], base, [own])
    for testset, expected in zip(testsets, record.sets, strict=True):
        if (digest := testset.digest(own)) != expected.digest:
            raise RefusedError(
                f"test set {testset.name} is not the one that {record.name}@{record.version} was registered with: its digest "
                f"is {digest[:16]} ({len(testset)} pictures), the record says {expected.digest[:16]} ({expected.pictures}). "
                "Numbers on it could not be compared: bring the set back, or register the task anew."
            )
    return own, testsets
