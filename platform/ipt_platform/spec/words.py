"""The closed word lists of the platform: what a job file may say where only some words make sense."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, get_args

API_VERSION = "ipt/v1"

LEARNING = ("train", "finetune")
"""The kinds of jobs that take steps, and so have checkpoints."""

Backbone = Literal["iptv2-nano", "iptv2-tiny", "iptv2-small", "iptv2-base"]
LayerGroup = Literal["embed", "output", "sampling", "reduction", "qkv", "proj", "ffn", "norm", "depthwise"]
Allocation = Literal["constant", "proportional"]
Carrier = Literal["ray", "local"]
Mode = Literal["mixed", "synchronous"]
Loss = Literal["l1", "charbonnier"]
Precision = Literal["fp32", "bf16"]
Sharding = Literal["none", "fsdp"]
Protocol = Literal["rgb-float", "rgb-uint8", "y-uint8"]
TaskStage = Literal["elementary", "downstream"]

BACKBONES: tuple[str, ...] = get_args(Backbone)
LAYER_GROUPS: tuple[str, ...] = get_args(LayerGroup)
PROTOCOLS: tuple[str, ...] = get_args(Protocol)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error sentence that names the nearest known word, or lists all of them when there are few.

    Args:
        word: What was found.
        known: What would have been right.

    Returns:
        Text that starts with "; ", or "" when nothing is near and the list is too long to print.
    """
    candidates = sorted(set(known))
    near = get_close_matches(word, candidates, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(candidates)}" if 0 < len(candidates) <= 12 else ""
