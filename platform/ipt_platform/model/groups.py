"""Which layer group each weight of our backbones belongs to: the classes of the paper's Table 2, and depthwise.

Source: Instruct-IPT, Table 2. There the image embedder and the norms hardly move when a task is learned (cosine similarity
0.97 and 0.99), sampling, output and the layers between move most; depthwise weights are not listed.
"""

from collections.abc import Collection

from torch import nn

# The part of a weight's name that decides, most specific first.
_GROUP_OF_PART = {
    "qkv_depthwise": "depthwise",
    "depthwise1": "depthwise",
    "depthwise3": "depthwise",
    "qkv": "qkv",
    "temperature": "qkv",
    "proj": "proj",
    "fc1": "ffn",
    "fc2": "ffn",
    "norm1": "norm",
    "norm2": "norm",
    "norm3": "norm",
    "norm4": "norm",
    "embed": "embed",
    "output": "output",
    "down": "sampling",
    "up": "sampling",
    "reduce": "reduction",
}


def layer_groups(backbone: nn.Module) -> dict[str, str]:
    """Map the name of every weight of a backbone of ours to its one layer group.

    Raises:
        ValueError: a weight belongs to no group; add its part to the table above.
    """
    return {name: _group(name) for name, _ in backbone.named_parameters()}


def matrices_of(backbone: nn.Module, groups: Collection[str]) -> list[str]:
    """Names of the weights of those groups that are matrices or kernels, in the backbone's order; vectors are left out."""
    shapes = {name: weight.dim() for name, weight in backbone.named_parameters()}
    return [name for name, group in layer_groups(backbone).items() if group in groups and shapes[name] in (2, 4)]


def _group(name: str) -> str:
    parts = name.split(".")
    for part, group in _GROUP_OF_PART.items():
        if part in parts:
            return group
    raise ValueError(f"weight {name} belongs to no layer group")
