"""Several tasks on one backbone that is loaded once: changing the task costs one merge, not a model; or mixing them."""

import copy
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ipt_platform.errors import NotFoundError
from ipt_platform.model.bias import BiasedModel

KEPT = 4
"""Tasks whose merged weights are kept; each takes as much memory as the weights that its bias is for."""


class TaskSwitch:
    """One restorer whose weights become those of whichever task is asked for.

    Every merge starts from the backbone's own weights, so that nothing adds up over many changes. Weights change hands and are
    not copied: what no bias is for is the backbone's own tensor.

    Args:
        model: the backbone, not fused, with the biases of its tasks; left as it is.
        keep: of how many tasks, those asked for last, the merged weights are kept; at least 1.
    """

    def __init__(self, model: BiasedModel, keep: int = KEPT):
        self.model, self.keep = model, keep
        self.task = ""
        self.merges = 0
        self._own = dict(model.backbone.named_parameters())
        # One set of tensors for two modules: the restorer's parameters are its own, what they hold is not.
        shared = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in self._own.values()}
        self._restorer = copy.deepcopy(model.backbone, shared).eval()
        self._weights = dict(self._restorer.named_parameters())
        self._merged: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def restorer(self, task: str) -> nn.Module:
        """The restorer, now of this task: `[B, 3, H, W] -> [B, 3, H, W]`; the one that was given before is the same module.

        Raises:
            NotFoundError: there is no bias for the task.
        """
        if task == self.task:
            return self._restorer
        if task not in self.model.biases:
            raise NotFoundError(f"there is no bias for task {task!r}; the model has: {', '.join(self.model.biases)}")
        before, merged = self._merged.get(self.task, {}), self._merge(task)
        for name in before.keys() - merged.keys():
            self._weights[name].data = self._own[name].data
        for name, weight in merged.items():
            self._weights[name].data = weight
        self.task = task
        return self._restorer

    def _merge(self, task: str) -> dict[str, Tensor]:
        if task not in self._merged:
            self.merges += 1
            # The memory of the task that was asked for longest ago is used again: new memory costs about as much as the merge.
            over = self._merged.popitem(last=False)[1] if len(self._merged) == self.keep else {}
            self._merged[task] = self.model.bias(task).merge_over(self._own, over)
        self._merged.move_to_end(task)  # those asked for last are kept
        return self._merged[task]


@torch.no_grad()
def mixture(model: BiasedModel, shares: Mapping[str, float]) -> nn.Module:
    """A restorer with a sum of biases, `W + sum of share x B1 @ B2`, for damage that is a little of each, or may be either.

    Args:
        model: the backbone with the biases of its tasks; left as it is.
        shares: how much of each task's bias; they sum to 1.

    Returns:
        `[B, 3, H, W] -> [B, 3, H, W]`, branches fused, in evaluation mode.

    Raises:
        NotFoundError: there is no bias for one of the tasks.
    """
    if lacking := [task for task in shares if task not in model.biases]:
        raise NotFoundError(f"there is no bias for task {lacking[0]!r}; the model has: {', '.join(model.biases)}")
    restorer = copy.deepcopy(model.backbone).requires_grad_(False).eval()
    own = dict(model.backbone.named_parameters())
    for task, share in shares.items():
        for name, weight in model.bias(task).merged(model.backbone).items():
            restorer.get_parameter(name).add_(weight - own[name], alpha=share)
    if callable(fuse := getattr(restorer, "fuse", None)):
        fuse()
    return restorer
