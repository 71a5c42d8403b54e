"""Several tasks on one backbone that is loaded once: changing the task costs one merge, not a model."""

import copy

import torch
from torch import nn

from ipt_platform.errors import NotFoundError
from ipt_platform.model.bias import BiasedModel


class TaskSwitch:
    """One restorer whose weights become those of whichever task is asked for.

    Every merge starts from the backbone's own weights, so that nothing adds up over many changes.

    Args:
        model: the backbone, not fused, with the biases of its tasks; left as it is.
    """

    def __init__(self, model: BiasedModel):
        self.model = model
        self.task = ""
        self._restorer = copy.deepcopy(model.backbone).requires_grad_(False).eval()
        self._weights = dict(self._restorer.named_parameters())
        self._own = dict(model.backbone.named_parameters())
        self._merged: set[str] = set()

    @torch.no_grad()
    def restorer(self, task: str) -> nn.Module:
        """The restorer, now of this task: `[B, 3, H, W] -> [B, 3, H, W]`; the one that was given before is the same module.

        Raises:
            NotFoundError: there is no bias for the task.
        """
        if task == self.task:
            return self._restorer
        if task not in self.model.biases:
            raise NotFoundError(f"there is no bias for task {task!r}; the model has: {', '.join(self.model.biases)}")
        merged = self.model.bias(task).merged(self.model.backbone)
        for name in self._merged - merged.keys():
            self._weights[name].copy_(self._own[name])
        for name, weight in merged.items():
            self._weights[name].copy_(weight)
        self._merged, self.task = set(merged), task
        return self._restorer
