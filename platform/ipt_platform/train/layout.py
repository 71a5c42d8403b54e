"""From the words of a job to the layout of its biases: which weights of a backbone get one, and of which rank."""

from torch import nn

from ipt_platform.model.bias import DENSE, constant_ranks, proportional_ranks
from ipt_platform.model.groups import layer_groups, matrices_of
from ipt_platform.spec.parts import BiasSpec

LAYOUTS = {"constant": constant_ranks, "proportional": proportional_ranks}


def bias_layout(backbone: nn.Module, bias: BiasSpec) -> dict[str, int]:
    """Rank by weight name of each task's bias; what a task replaces has a dense bias, beside a weight that does not learn."""
    groups = {*bias.targets, "depthwise"} if bias.depthwise else {*bias.targets}
    layout = LAYOUTS[bias.allocation](backbone, matrices_of(backbone, groups), bias.rank)
    for group, rank in bias.ranks.items():
        layout |= constant_ranks(backbone, matrices_of(backbone, {group}), rank)
    return layout | dict.fromkeys(replaced_weights(backbone, bias), DENSE)


def replaced_weights(backbone: nn.Module, bias: BiasSpec) -> list[str]:
    """Names of the weights, vectors too, that each task has for itself."""
    return [name for name, group in layer_groups(backbone).items() if group in bias.replace]
