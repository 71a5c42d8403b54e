"""A full finetune as a task bias: each layer's difference cut to its rank.

Source: the truncated singular value decomposition is the nearest matrix of a rank (Eckart and Young 1936).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ipt_platform.model.bias import DENSE, TaskBias
from ipt_platform.tune.difference import LayerDifference, layer_differences
from ipt_platform.tune.threads import one_thread


@dataclass(frozen=True)
class CompressionInfo:
    """What of the difference the bias keeps; energy is the squared norm of `after - before`.

    Attributes:
        parameters: of the bias.
        layers: share of the layer's energy that is kept, by weight name; 1 where the layer did not change.
        energy: share kept of the energy of all layers that have a bias.
        kept: share kept of the energy of all weights of the backbone.
        outside: share of the energy of all weights that lies in weights without a bias, by layer group.
    """

    parameters: int
    layers: dict[str, float]
    energy: float
    kept: float
    outside: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The info as plain values."""
        return asdict(self)


@torch.no_grad()
def compress(before: nn.Module, after: nn.Module, layout: Mapping[str, int]) -> tuple[TaskBias, CompressionInfo]:
    """The task bias of a layout that brings `before` nearest to `after`.

    With `after - before = U S V^T` of a layer, `B1 = U sqrt(S)` and `B2 = sqrt(S) V^T`, cut to the layer's rank; a dense
    bias is the whole difference. Weights outside the layout keep their values of `before`.

    Args:
        before: the backbone that the bias is for; left as it is.
        after: the same backbone after a full finetune; left as it is.
        layout: rank by weight name, `DENSE` for a dense bias.

    Raises:
        UsageError: the two differ in names or shapes of weights, or one is not finite.
        ValueError: the layout does not fit the backbone.
    """
    bias, kept, inside = TaskBias(before, layout), {}, 0.0
    kept_energy, outside, total = 0.0, dict[str, float](), 0.0
    for each in layer_differences(before, after):
        whole = each.norm_delta**2
        total += whole
        if each.name not in layout:
            outside[each.group] = outside.get(each.group, 0.0) + whole
            continue
        share = _fill(bias, each, layout[each.name])
        kept[each.name] = share
        inside, kept_energy = inside + whole, kept_energy + share * whole
    info = CompressionInfo(
        parameters=sum(factor.numel() for factor in bias.parameters()),
        layers=kept,
        energy=kept_energy / inside if inside else 1.0,
        kept=kept_energy / total if total else 1.0,
        outside={group: lost / total if total else 0.0 for group, lost in outside.items()},
    )
    return bias, info


def _fill(bias: TaskBias, difference: LayerDifference, rank: int) -> float:
    """Write the factors of one layer; returns the share of its energy that they keep."""
    if rank == DENSE:
        bias.factor(difference.name, "dense").copy_(difference.after - difference.before)
        return 1.0
    with one_thread():
        U, S, Vh = torch.linalg.svd(difference.delta, full_matrices=False)
    root = S[:rank].sqrt()
    B1, B2 = bias.factor(difference.name, "B1"), bias.factor(difference.name, "B2")
    B1.copy_((U[:, :rank] * root).view(B1.shape))
    B2.copy_((root[:, None] * Vh[:rank]).view(B2.shape))
    total = S.square().sum().item()
    return min(1.0, S[:rank].square().sum().item() / total) if total else 1.0
