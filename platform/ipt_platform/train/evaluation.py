"""Measuring the state during and after training, the pictures shared out over the workers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.evaluate.run import OnItem, RestoreFn, evaluate_sets
from ipt_platform.evaluate.testset import FrozenTask, TestItem, TestSet
from ipt_platform.evaluate.triptych import triptych
from ipt_platform.model.bias import BiasedModel
from ipt_platform.observe.rundir import RunDir
from ipt_platform.restore.tiles import restore_array
from ipt_platform.train.group import Workers

SetScores = dict[str, dict[str, dict[str, Any]]]
"""`{set: {task: {"psnr", "psnr_input", "ssim", "n"}}}`"""

WITHOUT_ERROR = 1000.0
"""dB; more than two pictures of float32 values can differ by."""


def evaluate_together(
    model: BiasedModel,
    testsets: Sequence[TestSet],
    tasks: Sequence[FrozenTask],
    protocol: str,
    workers: Workers,
    on_item: OnItem,
    device: torch.device | None = None,
) -> SetScores:
    """Measure every task on every set; each worker measures its share and all get the same result, or the same error.

    Args:
        model: what restores.
        testsets: the sets.
        tasks: the tasks.
        protocol: how it is measured.
        workers: who measures together.
        on_item: called after each picture.
        device: where pictures are restored; None: where the model lies.

    Raises:
        DataError: a picture does not decode.
        TrainingError: the model gives values that are not finite.
    """
    device = device or next(model.parameters()).device

    def restore_fn_of(task: str) -> RestoreFn:
        restorer = merged_for(model, task).to(device)
        return lambda degraded: restore_array(restorer, degraded, device)

    share = (workers.rank, workers.world)
    return evaluate_sets(restore_fn_of, testsets, tasks, protocol, on_item, share, workers.gather)


def mean_psnr(scores: SetScores) -> float | None:
    """The mean dB over sets and tasks, by which checkpoints are compared; None if nothing was measured.

    A set restored without any error counts as `WITHOUT_ERROR` dB, so that JSON can hold the mean.
    """
    values = [numbers["psnr"] for tasks in scores.values() for numbers in tasks.values()]
    values = [WITHOUT_ERROR if value is None else value for value in values]
    return sum(values) / len(values) if values else None


def sample_name(testset: TestSet, task: FrozenTask, key: str) -> str:
    """What the triptych of a picture is called, without suffix."""
    return f"{testset.name}-{task.name}-{key}".replace("/", "_")


def sample_writer(run: RunDir, step: int, per_task: int) -> OnItem:
    """What writes the triptychs `samples/step-N/<set>-<task>-<key>.png` of the first pictures of each set and task."""
    folder = run.samples(step)

    def write(testset: TestSet, task: FrozenTask, item: TestItem, restored: np.ndarray, scores: Mapping[str, float]) -> None:
        if item.index >= per_task:
            return
        folder.mkdir(parents=True, exist_ok=True)
        name = sample_name(testset, task, item.key)
        picture = triptych(item.degraded, restored, item.clean, scores["psnr_input"], scores["psnr"])
        for suffix, data in (("png", picture), ("json", json.dumps(item.params).encode() + b"\n")):
            path = folder / f"{name}.{suffix}"
            replace_file(path, data)
            run.keep(path)

    return write
