"""Crops on which losses are measured, the same at every call."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ipt_platform.errors import UsageError
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.parts import Stage
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.step import LOSSES, batch_tensors

CPU = torch.device("cpu")
ASIDE = 1_000_003
"""Added to the seed of a training, so that losses are measured on other crops and noise than it has seen."""
AT_ONCE = 16

Pairs = dict[str, tuple[Tensor, Tensor]]
"""`{task: (degraded, clean)}`, each `[n, 3, P, P] float32`."""


def crops_of(job: LearningJob, tasks: Sequence[str], images: int, patch: int, base: Path, registered: Path) -> Pairs:
    """Pairs of a job's tasks that its training has not seen: of the same photographs, drawn with another seed.

    Raises:
        UsageError: the training does not have one of the tasks.
        SpecError, DataError: the photographs cannot be used.
    """
    if unknown := [name for name in tasks if name not in job.tasks]:
        raise UsageError(f"'{unknown[0]}' is no task of the training, which has {', '.join(job.tasks)}")
    uses = {name: use for name, use in job.tasks.items() if not tasks or name in tasks}
    stage = Stage(steps=1, patch=patch, images=images)
    other = job.model_copy(
        update={"tasks": uses, "seed": job.seed + ASIDE, "train": job.train.model_copy(update={"stages": (stage,)})}
    )
    return batch_tensors(batch_maker(other, base, 0, 1, registered).make(0), CPU)


def loss_on(pairs: Pairs, kind: str) -> Callable[[nn.Module], float]:
    """What gives a model's mean loss over the tasks."""
    error_of = LOSSES[kind]

    @torch.no_grad()
    def loss(model: nn.Module) -> float:
        means = []
        for degraded, clean in pairs.values():
            parts = zip(degraded.split(AT_ONCE), clean.split(AT_ONCE), strict=True)
            sums = [float(error_of(model(x).float() - y).sum()) for x, y in parts]
            means.append(sum(sums) / clean.numel())
        return sum(means) / len(means)

    return loss
