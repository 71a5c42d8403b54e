"""How far each layer group turns when a task is learned, and how much of the gain it wins back alone.

    differences = layer_differences(before, after)
    measured = transplant(before, after, tuple(members(differences)), loss)
    rows = group_rows(differences, measured)                 # the paper's Table 2, and the shares won back

Source: Instruct-IPT, section 3.2 and Table 2; the group-wise transplant is ours.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.tune.difference import LayerDifference, layer_differences, members

PAPER_TABLE_2 = {
    "sampling": 0.52,
    "output": 0.68,
    "qkv": 0.72,
    "reduction": 0.73,
    "ffn": 0.73,
    "proj": 0.80,
    "embed": 0.97,
    "norm": 0.99,
}
"""Cosine similarity of each layer group before and after one task was learned; depthwise layers are not listed there."""


@dataclass(frozen=True)
class GroupRow:
    """One layer group in the table.

    Attributes:
        group: its name.
        layers: how many layers stand for it (see `members`).
        parameters: numbers in those.
        cosine: mean of their cosines before and after; None where none of them has one.
        without_cosine: layers that the mean leaves out, for they were or became all zeros.
        norm_ratio: norm of all their differences together over the norm of all together before; None where they were all zeros
            and are not any more.
        paper: the cosine of the paper's Table 2, None where it lists none.
        won_back: share of the loss difference that the group alone wins back; None where it was not measured.
    """

    group: str
    layers: int
    parameters: int
    cosine: float | None
    without_cosine: int
    norm_ratio: float | None
    paper: float | None
    won_back: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Transplant:
    """Losses of the two models, and of the first one with one layer group of the second.

    Attributes:
        before: loss of the model before the training.
        after: loss of the model after it.
        losses: loss by layer group; None where it was not finite.
    """

    before: float
    after: float
    losses: dict[str, float | None]

    @property
    def gain(self) -> float:
        """What the training lowered the loss by; negative if it raised it."""
        return self.before - self.after

    def won_back(self, group: str) -> float | None:
        """Share of the gain that the group wins alone: 0 for none, 1 for all; below 0 or above 1 where layers work against
        each other. The shares of all groups need not add up to 1. None if both models have the same loss, the group's is not
        finite, or it was not measured.
        """
        loss = self.losses.get(group)
        return None if loss is None or self.gain == 0 else (self.before - loss) / self.gain

    def to_dict(self) -> dict[str, Any]:
        """Losses and shares as plain values."""
        shares = {group: self.won_back(group) for group in self.losses}
        return {"before": self.before, "after": self.after, "losses": dict(self.losses), "won_back": shares}


def group_rows(differences: Sequence[LayerDifference], measured: Transplant | None = None) -> list[GroupRow]:
    """The table of layer groups: those that the backbone has, the one that turned most first.

    A group's cosine is the plain mean over its layers, as a layer of few parameters may well matter to a task.
    """
    rows = []
    for group, layers in members(differences).items():
        cosines = [each.cosine for each in layers if each.cosine is not None]
        length, change = (math.hypot(*norms) for norms in zip(*((x.norm_before, x.norm_delta) for x in layers), strict=True))
        rows.append(
            GroupRow(
                group=group,
                layers=len(layers),
                parameters=sum(each.parameters for each in layers),
                cosine=math.fsum(cosines) / len(cosines) if cosines else None,
                without_cosine=len(layers) - len(cosines),
                norm_ratio=change / length if length else None if change else 0.0,
                paper=PAPER_TABLE_2.get(group),
                won_back=measured.won_back(group) if measured else None,
            )
        )
    return sorted(rows, key=lambda row: (row.cosine is None, row.cosine, LAYER_GROUPS.index(row.group)))


def rank_correlation(rows: Sequence[GroupRow]) -> float | None:
    """Spearman's rank correlation of the groups' cosines with the paper's: 1 for the paper's order, -1 for its reverse.

    None where fewer than three groups have both, or one side does not differ at all.
    """
    both = [(row.cosine, row.paper) for row in rows if row.cosine is not None and row.paper is not None]
    own, paper = [each[0] for each in both], [each[1] for each in both]
    if len(both) < 3 or len(set(own)) < 2 or len(set(paper)) < 2:
        return None
    return float(np.corrcoef(stats.rankdata(own), stats.rankdata(paper))[0, 1])


def transplant(
    before: nn.Module,
    after: nn.Module,
    groups: Sequence[str],
    loss: Callable[[nn.Module], float],
) -> Transplant:
    """Measure the loss with only one layer group's weights taken from `after` and all others from `before`.

    What is taken are the layers that stand for the group (see `members`): its matrices and kernels, which a task bias can
    bend. Both models stay as they are; `loss` gets copies.

    Args:
        before: the model before the training.
        after: the same backbone after it.
        groups: layer groups to measure, each alone.
        loss: of a model on pictures that are the same at each call; called once per group and twice more.

    Raises:
        UsageError: the two differ in names or shapes, a group has no weights, or the loss of one of the two is not finite.
    """
    layers = members(layer_differences(before, after))
    unknown = [group for group in groups if group not in layers]
    if unknown:
        raise UsageError(f"no weights belong to layer group {unknown[0]!r}; this backbone has: {', '.join(layers)}")
    mixed = copy.deepcopy(before)
    old, new = loss(mixed), loss(copy.deepcopy(after))
    if not (math.isfinite(old) and math.isfinite(new)):
        raise UsageError(f"the loss is {old} before the training and {new} after it; both must be finite numbers")
    losses: dict[str, float | None] = {}
    for group in groups:
        _take(mixed, layers[group], "after")
        value = float(loss(mixed))
        losses[group] = value if math.isfinite(value) else None
        _take(mixed, layers[group], "before")
    return Transplant(float(old), float(new), losses)


@torch.no_grad()
def _take(model: nn.Module, layers: Sequence[LayerDifference], side: str) -> None:
    for each in layers:
        model.get_parameter(each.name).copy_(each.after if side == "after" else each.before)
