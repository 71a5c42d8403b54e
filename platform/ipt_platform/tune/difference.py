"""The layers of a backbone before and after a training.

    differences = layer_differences(before, after)           # every weight, in the order of the flow
    differences[0].cosine, differences[0].norm_ratio

Angles and norms are taken in float64. A weight that is all zeros before (a bias vector of a fresh layer, the last layer of a
branch) has neither direction nor length to compare with: its `cosine` or `norm_ratio` is None, never NaN, and means leave it
out and say how many they left out.

Source: Instruct-IPT, section 3.2 and Table 2 (cosine similarity of weights before and after a task is learned).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ipt_platform.errors import UsageError
from ipt_platform.model.bias import is_depthwise
from ipt_platform.model.groups import layer_groups
from ipt_platform.tune.flow import places


@dataclass(frozen=True, eq=False)
class LayerDifference:
    """One weight before and after.

    Attributes:
        name: of the weight.
        group: its layer group.
        place: the step of the network that it belongs to, such as `encoder.1.0`.
        depth: of that step, 0 for the first and 1 for the last one.
        before: the weight, of any shape; it shares its memory with the module that it came from.
        after: the same shape.
    """

    name: str
    group: str
    place: str
    depth: float
    before: Tensor
    after: Tensor

    @cached_property
    def norm_before(self) -> float:
        """Euclidean norm of the weight before."""
        return _norm(self.before)

    @cached_property
    def norm_after(self) -> float:
        """Euclidean norm of the weight after."""
        return _norm(self.after)

    @cached_property
    def norm_delta(self) -> float:
        """Euclidean norm of `after - before`."""
        return _norm(self.after.double() - self.before.double())

    @cached_property
    def cosine(self) -> float | None:
        """Cosine of the angle between both, -1 to 1; None where one of them is all zeros."""
        if self.norm_before == 0 or self.norm_after == 0:
            return None
        product = torch.dot(self.before.double().flatten(), self.after.double().flatten()).item()
        return max(-1.0, min(1.0, product / self.norm_before / self.norm_after))

    @cached_property
    def norm_ratio(self) -> float | None:
        """Relative change `|after - before| / |before|`; None where the weight was all zeros."""
        return self.norm_delta / self.norm_before if self.norm_before else None

    @property
    def parameters(self) -> int:
        """Numbers in the weight."""
        return self.before.numel()

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix or a kernel, not a vector."""
        return self.before.dim() in (2, 4)

    @property
    def has_rank(self) -> bool:
        """Whether a low-rank bias of it makes sense: a matrix or a kernel that is not depthwise."""
        return self.is_matrix and not is_depthwise(self.before)

    @property
    def delta(self) -> Tensor:
        """`after - before` as the matrix `[out, rest]`, float64; a vector is one column."""
        change = self.after.double() - self.before.double()
        return change.flatten(1) if self.is_matrix else change.reshape(-1, 1)

    def to_dict(self) -> dict[str, Any]:
        """The measures as plain values for a report."""
        return {
            "name": self.name,
            "group": self.group,
            "place": self.place,
            "depth": self.depth,
            "shape": list(self.before.shape),
            "parameters": self.parameters,
            "cosine": self.cosine,
            "norm_before": self.norm_before,
            "norm_after": self.norm_after,
            "norm_ratio": self.norm_ratio,
        }


def layer_differences(before: nn.Module, after: nn.Module) -> list[LayerDifference]:
    """Every weight of a backbone before and after, vectors and depthwise kernels too, in the order of the flow.

    Raises:
        UsageError: names or shapes of the weights differ, or a weight is not finite.
        ValueError: a weight belongs to no layer group.
    """
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    missing, extra = [name for name in old if name not in new], [name for name in new if name not in old]
    if missing or extra:
        raise UsageError(
            f"the two are not of one backbone: only before: {_some(missing)}; only after: {_some(extra)}; "
            "compare two checkpoints of the same backbone, both with or both without fused branches"
        )
    for name, weight in old.items():
        if weight.shape != new[name].shape:
            raise UsageError(
                f"the two are not of one backbone: {name} is {list(weight.shape)} before and {list(new[name].shape)} after; "
                "compare two checkpoints of the same backbone"
            )
        for side, each in (("before", weight), ("after", new[name])):
            if not torch.isfinite(each).all():
                raise UsageError(f"{name} holds numbers that are not finite {side} the training; compare sound checkpoints")
    groups = layer_groups(before)
    return [
        LayerDifference(name, groups[name], place.name, place.depth, old[name].detach(), new[name].detach())
        for name, place in places(old).items()
    ]


def members(differences: Sequence[LayerDifference]) -> dict[str, list[LayerDifference]]:
    """The layers that stand for each layer group: its matrices and kernels, or its vectors where it has nothing else.

    The additive vectors of linear layers and the temperatures of attention thus speak for no group: they are no layers of the
    paper's table, and no task bias bends them.
    """
    found: dict[str, list[LayerDifference]] = defaultdict(list)
    for difference in differences:
        found[difference.group].append(difference)
    return {group: [each for each in layers if each.is_matrix] or layers for group, layers in found.items()}


def _norm(weight: Tensor) -> float:
    return torch.linalg.vector_norm(weight.double()).item()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) or "nothing"
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
