"""From a checkpoint to a model that restores pictures for one task."""

import copy
from pathlib import Path

from torch import nn

from ipt_platform.checkpoint.files import verify
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.errors import NotFoundError
from ipt_platform.model.bias import BiasedModel


def load_model(checkpoint: Path, task: str) -> nn.Module:
    """The restorer of a task: `[B, 3, H, W] float32 in [0, 1]` to the same, any H and W.

    Averaged weights where the checkpoint has them; the task's bias merged into the backbone, its branches fused.
    A checkpoint of plain (mixed) training has one model for all of its tasks.

    Raises:
        CheckpointError: the checkpoint is incomplete, damaged or does not fit together.
        NotFoundError: it has no bias for the task.
    """
    verify(checkpoint)
    return merged_for(load_biased_model(checkpoint), task)


def merged_for(model: BiasedModel, task: str) -> nn.Module:
    """A copy of the backbone with a task's bias merged and its branches fused, for inference; `model` stays as it is.

    Raises:
        NotFoundError: the model has biases, but none for the task.
    """
    backbone = copy.deepcopy(model.backbone).requires_grad_(False).eval()
    if model.biases:
        if task not in model.biases:
            raise NotFoundError(f"there is no bias for task {task!r}; the model has: {', '.join(model.biases)}")
        model.bias(task).merge_into(backbone)
    if callable(fuse := getattr(backbone, "fuse", None)):
        fuse()
    return backbone
