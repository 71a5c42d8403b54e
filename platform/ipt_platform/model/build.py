"""The backbones by name."""

from typing import Any

from ipt_platform.errors import UsageError
from ipt_platform.model.iptv2 import IPTV2

BACKBONES: dict[str, dict[str, Any]] = {
    # for experiments on one CPU core
    "iptv2-nano": {
        "dim": 16, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (1, 2),
        "window": 8, "grid": 8, "extent": 32, "ffn_ratio": 2, "reduce_first": True, "stem": 2,
    },
    # for two CPU cores and a first look
    "iptv2-tiny": {
        "dim": 48, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (2, 4),
        "window": 8, "grid": 8, "extent": 64, "ffn_ratio": 2, "reduce_first": True, "stem": 2,
    },
    "iptv2-small": {
        "dim": 32, "blocks": (1, 1, 1, 1), "decoder": (1, 1, 1), "refinement": 1, "heads": (1, 2, 4, 8),
        "window": 8, "grid": 8, "extent": 64, "ffn_ratio": 3,
    },
    "iptv2-base": {
        "dim": 48, "blocks": (2, 3, 3, 4), "decoder": (2, 3, 3), "refinement": 2, "heads": (1, 2, 4, 8),
        "window": 8, "grid": 8, "extent": 128, "ffn_ratio": 4,
    },
}  # fmt: skip


def build_backbone(name: str, activation_checkpointing: bool = False) -> IPTV2:
    """The backbone of that name, freshly initialised from torch's global generator.

    Raises:
        UsageError: no backbone has that name.
    """
    if name not in BACKBONES:
        raise UsageError(f"no backbone is called {name!r}; there are: {', '.join(BACKBONES)}")
    return IPTV2(**BACKBONES[name], activation_checkpointing=activation_checkpointing)
