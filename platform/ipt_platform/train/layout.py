"""From the words of a job to the layout of its biases: which weights of a backbone get one, and of which rank."""

from torch import nn

from ipt_platform.model.bias import constant_ranks, proportional_ranks
from ipt_platform.model.groups import matrices_of
from ipt_platform.spec.parts import BiasSpec

LAYOUTS = {"constant": constant_ranks, "proportional": proportional_ranks}


def bias_layout(backbone: nn.Module, bias: BiasSpec) -> dict[str, int]:
    """Rank by weight name of each task's bias."""
    groups = {*bias.targets, "depthwise"} if bias.depthwise else {*bias.targets}
    return LAYOUTS[bias.allocation](backbone, matrices_of(backbone, groups), bias.rank)
