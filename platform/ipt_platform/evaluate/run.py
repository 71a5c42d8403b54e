"""Measuring a model on a test set, on one process or shared out over ranks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipt_platform.errors import IptError, TrainingError
from ipt_platform.evaluate.metrics import json_number
from ipt_platform.evaluate.protocols import measure
from ipt_platform.evaluate.testset import FrozenTask, TestItem, TestSet

RestoreFn = Callable[[np.ndarray], np.ndarray]
"""float32 `[H, W, 3]` -> float32 `[H, W, 3]`, one task's restoration."""

ItemTold = Callable[[TestItem, np.ndarray, Mapping[str, float]], None]
OnItem = Callable[[TestSet, FrozenTask, TestItem, np.ndarray, Mapping[str, float]], None]

COLUMNS = ("psnr", "psnr_input", "ssim", "n")


@dataclass(frozen=True)
class Scores:
    """The numbers of each picture of a set; a rank fills the rows of its share and leaves the others zero.

    So the scores of all ranks are the sum of the scores of each: `a + b`, or an all-reduce of `table`. Every entry is
    written by one rank alone, so the sum is exact and does not depend on how many ranks there were.

    Attributes:
        table: float64 `[pictures, 4]`, columns as in `COLUMNS`; `n` is 1 where the picture was measured.
    """

    table: np.ndarray

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(self.table + other.table)


def evaluate_model(
    restore_fn: RestoreFn,
    testset: TestSet,
    task: FrozenTask,
    protocol: str,
    share: tuple[int, int] = (0, 1),
    on_item: ItemTold | None = None,
) -> Scores:
    """Restore and measure this rank's share of a test set.

    Args:
        restore_fn: the model, with the bias of this task.
        testset: the pictures.
        task: what they are degraded by.
        protocol: a name in `evaluate.protocols.PROTOCOLS`; it measures the degraded and the restored picture alike.
        share: (rank, world).
        on_item: told after each picture: the pair, the restored picture `[H, W, 3]`, and
            `{"psnr", "psnr_input", "ssim"}`; for progress and for triptychs.

    Raises:
        DataError: a picture does not decode, or is smaller than 11 pixels a side.
        TrainingError: the model gives values that are not finite; the message names the picture.
    """
    table = np.zeros((len(testset), len(COLUMNS)))
    for item in testset.items(task, share):
        before = measure(protocol, item.degraded, item.clean)
        restored = restore_fn(item.degraded)
        try:
            after = measure(protocol, restored, item.clean)
        except TrainingError as error:
            raise TrainingError(f"{task.name}, test set {testset.name}, picture {item.key}: {error}") from error
        scores = {"psnr": after["psnr"], "psnr_input": before["psnr"], "ssim": after["ssim"]}
        table[item.index] = [*scores.values(), 1]
        if on_item:
            on_item(item, restored, scores)
    return Scores(table)


def summarise(scores: Scores) -> dict[str, Any]:
    """The mean over the pictures, as reports hold it: `{"psnr", "psnr_input", "ssim", "n"}`.

    The PSNR of a set is the mean of the pictures' dB, as the field computes it, not the dB of the mean error. Where a
    picture is restored without any error, that mean is infinite and written as null (`metrics.json_number`).

    Raises:
        ValueError: nothing was measured.
    """
    measured = scores.table[scores.table[:, -1] > 0]
    if not len(measured):
        raise ValueError("no picture was measured")
    # fsum is exactly rounded: the order of the pictures cannot show in the last digit.
    means = {name: math.fsum(measured[:, column]) / len(measured) for column, name in enumerate(COLUMNS[:-1])}
    return {**{name: json_number(value) for name, value in means.items()}, "n": len(measured)}


def alone(own: "Scores | IptError") -> "list[Scores | IptError]":
    """What one process among one hears of the others' shares: its own."""
    return [own]


def evaluate_sets(
    restore_fn_of: Callable[[str], RestoreFn],
    testsets: Sequence[TestSet],
    tasks: Sequence[FrozenTask],
    protocol: str,
    on_item: OnItem | None = None,
    share: tuple[int, int] = (0, 1),
    gather: Callable[[Scores | IptError], list[Scores | IptError]] = alone,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure every task on every set that says something about it: `{set: {task: {"psnr", "psnr_input", "ssim", "n"}}}`.

    Args:
        restore_fn_of: the model of a task by the task's name; called once per task, so that one model is in memory.
        testsets: the sets.
        tasks: the tasks.
        protocol: as in `evaluate_model`.
        on_item: as in `evaluate_model`, with the set and the task before.
        share: (rank, world) of this process.
        gather: gives every process the answers of all, in the order of ranks.

    Raises:
        DataError, TrainingError: as in `evaluate_model`; in every process where it happened in one.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {testset.name: {} for testset in testsets}
    for task in tasks:
        measuring = [testset for testset in testsets if task in testset.measured(tasks)]
        if not measuring:
            continue
        restore_fn = restore_fn_of(task.name)
        for testset in measuring:

            def told(item: TestItem, restored: np.ndarray, scores: Mapping[str, float], at=testset, of=task) -> None:
                if on_item:
                    on_item(at, of, item, restored, scores)

            answers = gather(_own_scores(restore_fn, testset, task, protocol, share, told))
            table = np.zeros((len(testset), len(COLUMNS)))
            for answer in answers:
                if isinstance(answer, IptError):
                    raise answer
                table += answer.table
            found[testset.name][task.name] = summarise(Scores(table))
    return found


def _own_scores(
    restore_fn: RestoreFn, testset: TestSet, task: FrozenTask, protocol: str, share: tuple[int, int], on_item: ItemTold
) -> Scores | IptError:
    """This process's share; an error is an answer too, or the others would wait for one in vain."""
    try:
        return evaluate_model(restore_fn, testset, task, protocol, share, on_item)
    except IptError as error:
        return error
