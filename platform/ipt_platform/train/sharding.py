"""A backbone shared out over the workers by FSDP2: each keeps its part of every weight, gradient, moment and average.

Weights are put together block by block, when a block is run, and let go after it. So the bias of a task is merged there too:
not into the whole backbone before it is called, as `BiasedModel` does, but into each block while its weights are whole. Biases
are small; every worker keeps them, and their gradients are averaged here.

Nothing is cast before weights are sent: W + B1 B2 is made of float32, as without sharding, and autocast rounds the sum. A W
that was rounded to bf16 first would swallow a bias that is smaller than its last bit.

torch's own sharding is imported when it is used: that takes a second, for which workers that share nothing out need not wait.

Source: torch 2.13, torch.distributed.fsdp.fully_shard.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, distributed, nn
from torch.utils.checkpoint import checkpoint

from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.iptv2 import IPTV2, Down, FGBlock, Up

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def shard(models: Sequence[BiasedModel], device: torch.device) -> None:
    """Leave in this worker its share of each backbone, and all of the biases; needs torch's default process group.

    Args:
        models: whole, on the CPU; one block at a time goes to the device.
        device: where the shares will lie.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if device.type == "cuda":
        torch.cuda.set_device(device)  # FSDP takes the current device
    # Views are given back by many modules of ours, and nothing is written into them, which is what FSDP warns of.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    for model in models:
        for block in _blocks(model.backbone):
            fully_shard(block, mesh=mesh)
        root = fully_shard(model.backbone, mesh=mesh)
        if device.type == "cpu":
            root.set_force_sum_reduction_for_comms(True)  # gloo knows no average
        model.biases.to(device)


def is_sharded(model: BiasedModel) -> bool:
    """Whether this worker has a share of the backbone only."""
    return any(is_share(weight) for weight in model.backbone.parameters())


def is_share(value: object) -> "TypeGuard[DTensor]":
    """Whether something is a tensor of which each worker has a share."""
    made_by = sys.modules.get("torch.distributed.tensor")  # what nobody has imported has made none
    return made_by is not None and isinstance(value, made_by.DTensor)


def local(tensor: Tensor) -> Tensor:
    """What this worker has of a tensor; the memory is the tensor's own where no gradients are kept."""
    return tensor.to_local() if is_share(tensor) else tensor


class ShardedModel(nn.Module):
    """What is called in training in the place of a model that is sharded.

    Args:
        model: sharded; its backbone is called through this alone from now on.
    """

    def __init__(self, model: BiasedModel):
        super().__init__()
        self.model = model
        self.bias: TaskBias | None = None
        backbone = model.backbone
        assert isinstance(backbone, IPTV2)
        # Activations are recomputed inside of a block, where its weights are whole and merged anew: neither is kept.
        recompute, backbone.activation_checkpointing = backbone.activation_checkpointing, False
        for unit in _units(backbone):
            forward = self._forward_of(unit, recompute and isinstance(unit.module, FGBlock))
            unit.module.forward = forward  # pyright: ignore[reportAttributeAccessIssue]

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """As `BiasedModel.forward`."""
        if not self.model.biases:
            return self.model(inputs)
        restored = {}
        for task, x in inputs.items():
            self.bias = self.model.bias(task)
            restored[task] = self.model.backbone(x)
        return restored

    @torch.no_grad()
    def average_biases(self) -> None:
        """Give every worker the mean of all workers' gradients of the biases; those of the backbone are averaged already."""
        gradients = [factor.grad for factor in self.model.biases.parameters() if factor.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        means = (flat / distributed.get_world_size()).split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [mean.view_as(each) for mean, each in zip(means, gradients, strict=True)])

    def _forward_of(self, unit: "_Unit", recompute: bool) -> Callable[[Tensor], Tensor]:
        """The forward pass of a unit with the bias of the task whose turn it is."""
        plain = unit.module.forward

        def forward(y: Tensor) -> Tensor:
            bias = self.bias

            def run(y: Tensor) -> Tensor:
                with unit.merged(bias):
                    return plain(y)

            return checkpoint(run, y, use_reentrant=False) if recompute else run(y)

        return forward


@dataclass(frozen=True)
class _Unit:
    """A module whose weights are put together at once.

    Attributes:
        module: the module.
        weights: by name in the backbone: which module below it has the weight, and under which name.
    """

    module: nn.Module
    weights: dict[str, tuple[nn.Module, str]]

    @contextmanager
    def merged(self, bias: TaskBias | None) -> Iterator[None]:
        """Within the block, merged weights stand in the place of the whole ones."""
        biased = {name: place for name, place in self.weights.items() if bias is not None and name in bias.layout}
        kept = {name: owner.get_parameter(own) for name, (owner, own) in biased.items()}
        try:
            for name, (owner, own) in biased.items():
                assert bias is not None
                owner._parameters[own] = bias.merge(name, kept[name])  # pyright: ignore[reportArgumentType]
            yield
        finally:
            for name, (owner, own) in biased.items():
                owner._parameters[own] = kept[name]


def _blocks(backbone: nn.Module) -> list[nn.Module]:
    """What is put together by itself; what is left goes with the whole."""
    return [module for module in backbone.modules() if isinstance(module, FGBlock | Down | Up)]


def _units(backbone: nn.Module) -> list[_Unit]:
    """The blocks, and the whole with what stands in none of them."""
    names = {module: name for name, module in backbone.named_modules()}
    left = [name for name, _ in backbone.named_parameters()]
    units = []
    for module in (*_blocks(backbone), backbone):
        below = [name for name in left if name.startswith(f"{names[module]}.") or module is backbone]
        left = [name for name in left if name not in below]
        places = (name.rpartition(".") for name in below)
        weights = {name: (backbone.get_submodule(path), own) for name, (path, _, own) in zip(below, places, strict=True)}
        units.append(_Unit(module, weights))
    return units
