"""Norms of what tasks add to a model, against what they add it to, and of their gradients; looked at between two steps."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ipt_platform.model.bias import DENSE, BiasedModel, TaskBias
from ipt_platform.train.sharding import is_sharded, local
from ipt_platform.train.state import TrainState


@torch.no_grad()
def bias_norms(model: BiasedModel) -> dict[str, float]:
    """Frobenius norm of each task's bias, over all its layers."""
    return {task: math.sqrt(sum(_squares(bias))) for task, bias in model.all_biases()}


def _squares(bias: TaskBias) -> list[float]:
    """`||B1 B2||^2` of each layer, as `trace((B1^T B1) (B2 B2^T))`: the products are `[r, r]`, the bias is never formed."""
    found = []
    for name, rank in bias.layout.items():
        if rank == DENSE:
            found.append(bias.factor(name, "dense").square().sum())
            continue
        down, up = bias.factor(name, "B1").flatten(1), bias.factor(name, "B2").flatten(1)
        found.append(((down.T @ down) * (up @ up.T)).sum())
    # rounding may leave a little less than nothing
    return torch.stack(found).double().clamp(min=0).tolist() if found else []


@torch.no_grad()
def share_of_squares(model: BiasedModel) -> dict[str, float]:
    """For each task, the sum of squares of the weights that its bias is added to, as far as this worker has them."""
    squares = {
        name: local(weight).square().sum()
        for name, weight in model.backbone.named_parameters()
        if any(name in bias.layout for _, bias in model.all_biases())
    }
    if not squares:
        return {}
    values = dict(zip(squares, torch.stack([*squares.values()]).double().tolist(), strict=True))
    return {task: sum(values[name] for name in bias.layout) for task, bias in model.all_biases()}


def weight_norms(model: BiasedModel, shares: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """For each task, the norm of the weights that its bias is added to.

    Args:
        model: of one worker.
        shares: `share_of_squares` of all workers; where the model is not sharded, each of them has all.
    """
    first, *others = shares
    more = others if is_sharded(model) else []
    return {task: math.sqrt(value + sum(other[task] for other in more)) for task, value in first.items()}


@torch.no_grad()
def bias_grad_norms(state: TrainState, norms: Mapping[str, float]) -> dict[str, float]:
    """Norm of the gradient of each task's bias in the step just done, before it was clipped.

    The gradients are still there, clipped; clipping has made all those of a group smaller by the same factor.

    Args:
        state: after the step.
        norms: by group of the optimizer, before clipping (`StepResult.norms`).
    """
    found: dict[str, float] = {}
    biases = dict(state.model.all_biases())
    for group in state.optimizer.param_groups:
        own = {id(each) for each in group["params"]}
        clipped = {
            task: math.hypot(*_norms([each.grad for each in bias.parameters() if id(each) in own and each.grad is not None]))
            for task, bias in biases.items()
        }
        if (whole := math.hypot(*clipped.values())) > 0:
            found |= {task: norm * norms[group["name"]] / whole for task, norm in clipped.items() if norm}
    return {task: found.get(task, 0.0) for task in biases}


def _norms(gradients: list[Tensor]) -> list[float]:
    return torch.stack(torch._foreach_norm(gradients)).tolist() if gradients else []
