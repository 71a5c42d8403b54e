"""What training changes, all of it: weights, biases, their averages, the optimizer and the number of steps done."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from ipt_platform.model.bias import BiasedModel
from ipt_platform.train.optimizer import AdamW
from ipt_platform.train.sharding import local

Module = TypeVar("Module", bound=nn.Module)


@dataclass
class TrainState:
    """The state between two steps.

    Attributes:
        model: backbone and task biases.
        optimizer: AdamW with the groups "weights" and, where there are biases, "biases"; on a frozen backbone with a group
            "bias of TASK" for each task.
        average: exponential moving average of `model`, or None; it shares a frozen backbone with it.
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
    shard: Callable[[Sequence[BiasedModel]], None] | None = None,
) -> TrainState:
    """The state at step 0 of a model that lies on its device, or that `shard` brings there together with its average."""
    copied = frozen_copy(model) if average else None
    if shard:
        shard([each for each in (model, copied) if each is not None])
    learning = [weight for weight in model.backbone.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [{"name": "weights", "params": learning, "lr": lr, "weight_decay": weight_decay}]
    if biases := list(model.biases.parameters()):
        groups.append({"name": "biases", "params": biases, "lr": bias_lr, "weight_decay": bias_weight_decay})
    return _state(model, groups, betas, copied)


def bias_state(
    model: BiasedModel, *, bias_lr: float, bias_weight_decay: float, betas: tuple[float, float], average: bool
) -> TrainState:
    """The state at step 0 of a model on its device whose backbone is frozen: nothing but biases is kept twice or moved.

    Each task has a group of its own, so that none of them feels how large the gradients of another are.
    """
    groups: list[dict[str, Any]] = [
        {"name": f"bias of {task}", "params": list(bias.parameters()), "lr": bias_lr, "weight_decay": bias_weight_decay}
        for task, bias in model.all_biases()
    ]
    copied = BiasedModel(model.backbone, {task: frozen_copy(bias) for task, bias in model.all_biases()})
    return _state(model, groups, betas, copied if average else None)


def _state(
    model: BiasedModel, groups: list[dict[str, Any]], betas: tuple[float, float], average: BiasedModel | None
) -> TrainState:
    for group in groups:
        group["peak_lr"] = group["lr"]
    return TrainState(model, AdamW(groups, betas=betas, fused=True), average)


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
    pairs = zip(average.parameters(), model.parameters(), strict=True)
    moving = [pair for pair in pairs if pair[1].requires_grad]
    torch._foreach_lerp_([local(own) for own, _ in moving], [local(new) for _, new in moving], weight)
