"""What training changes, all of it: weights, biases, their averages, the optimizer and the number of steps done."""

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from ipt_platform.model.bias import BiasedModel

Module = TypeVar("Module", bound=nn.Module)


@dataclass
class TrainState:
    """The state between two steps.

    Attributes:
        model: backbone and task biases.
        optimizer: AdamW with the group "weights" and, where there are biases, the group "biases".
        average: exponential moving average of `model`, or None.
        step: steps done.
        seconds: time spent in training steps, over all attempts.
        waited: seconds of that in which the step waited for data.
        images: images taken from the plan.
    """

    model: BiasedModel
    optimizer: torch.optim.Optimizer
    average: BiasedModel | None
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    images: int = 0

    @property
    def best_model(self) -> BiasedModel:
        """The weights to evaluate and restore with: the average where there is one."""
        return self.average or self.model


def new_state(
    model: BiasedModel,
    *,
    lr: float,
    bias_lr: float,
    weight_decay: float,
    bias_weight_decay: float,
    betas: tuple[float, float],
    average: bool,
) -> TrainState:
    """The state at step 0 of a model that lies on its device."""
    groups = [{"name": "weights", "params": list(model.backbone.parameters()), "lr": lr, "weight_decay": weight_decay}]
    if biases := list(model.biases.parameters()):
        groups.append({"name": "biases", "params": biases, "lr": bias_lr, "weight_decay": bias_weight_decay})
    for group in groups:
        group["peak_lr"] = group["lr"]
    optimizer = torch.optim.AdamW(groups, betas=betas, fused=True)
    return TrainState(model, optimizer, frozen_copy(model) if average else None)


def frozen_copy(module: Module) -> Module:
    """A copy that takes no gradients, in evaluation mode."""
    return copy.deepcopy(module).requires_grad_(False).eval()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move the average towards the model: `average += (1 - d) * (model - average)`, `d = min(decay, (1 + step) / (10 + step))`.

    The smaller decay of the first steps lets the average forget the random start.
    Source: TensorFlow's ExponentialMovingAverage with `num_updates`.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
