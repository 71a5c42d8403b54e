"""Where along a network's flow a weight stands: `embed`, down one side of the U, up the other, `output`.

The parameters of our backbones are listed part by part (all encoder levels, all downsamplings, ...), which is not the order in
which a picture meets them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_PARTS = ("embed", "encoder", "down", "up", "reduce", "decoder", "refinement", "output")


@dataclass(frozen=True)
class Place:
    """A step of the flow that a weight belongs to.

    Attributes:
        name: of the step, as the parameters name it: `encoder.1.0` is the first block of the encoder's second level.
        depth: 0 for the first step of the network, 1 for the last one.
    """

    name: str
    depth: float


def places(names: Iterable[str]) -> dict[str, Place]:
    """The place of every weight, in the order of the flow; weights of one step keep their order.

    Args:
        names: of all weights of one network. Where they are those of our U-shape, a block of it is one step, and so is every
            other layer. In any other network a step is the module that holds the weight, and the flow is the given order.
    """
    listed = list(names)
    if all(name.split(".")[0] in _PARTS for name in listed):
        levels = 1 + max((int(_parts(name)[1]) for name in listed if name.startswith("up.")), default=-1)
        reduced = 1 + max((int(_parts(name)[1]) for name in listed if name.startswith("reduce.")), default=-1)
        listed = sorted(listed, key=lambda name: _u_order(name, levels - reduced))
        step_of = {name: ".".join(_parts(name)) for name in listed}
    else:
        step_of = {name: name.rpartition(".")[0] or name for name in listed}
    steps = list(dict.fromkeys(step_of.values()))
    last = max(len(steps) - 1, 1)
    depths = {step: number / last for number, step in enumerate(steps)}
    return {name: Place(step, depths[step]) for name, step in step_of.items()}


def _parts(name: str) -> list[str]:
    """The words and numbers that name a step of the U: the part, its level, and the block where there are several."""
    part, *rest = name.split(".")
    numbers = {"encoder": 2, "decoder": 2, "down": 1, "up": 1, "reduce": 1, "refinement": 1}.get(part, 0)
    return [part, *rest[:numbers]]


def _u_order(name: str, unreduced: int) -> tuple[int, ...]:
    """Sort key of a weight: side of the U, level in the direction of the flow, part within the level, block.

    Args:
        name: of the weight.
        unreduced: levels of the decoder, from the first, that reduce nothing; `reduce.0` belongs to the level after them.
    """
    part, *numbers = _parts(name)
    first, *block = (int(number) for number in numbers) if numbers else (0,)
    match part:
        case "embed":
            return (0,)
        case "encoder":
            return (1, first, 0, *block)
        case "down":
            return (1, first, 1)
        case "up":
            return (2, -first, 0)
        case "reduce":
            return (2, -(first + unreduced), 1)
        case "decoder":
            return (2, -first, 2, *block)
        case "refinement":
            return (3, first)
        case _:
            return (4,)
