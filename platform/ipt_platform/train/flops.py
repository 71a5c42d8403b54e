"""What a step computes, and what part of a GPU's peak that is (model FLOPs utilization, MFU).

Source: Chowdhery et al., PaLM (2022), appendix B: what the model needs, without what is computed a second time to save memory.
"""

from collections.abc import Collection

import torch

from ipt_platform.model.attention import GridAttention, WindowChannelAttention
from ipt_platform.model.iptv2 import IPTV2

PEAKS = {
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40": 181e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA B200": 2250e12,
}
"""Peak of dense bf16 products in operations per second, by the whole name of a GPU: one that begins alike is another board or
a slice of one (MIG). Source: NVIDIA's data sheets, where figures with sparsity are twice as high."""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Operations per second that a device could do at most; None where that is not known.

    Args:
        device: a GPU, or not.
        precision: of the job; float32 has several peaks, which one holds depends on what each product was allowed to round.
    """
    if device.type != "cuda" or precision != "bf16":
        return None
    return PEAKS.get(torch.cuda.get_device_name(device))


def crop_flops(backbone: IPTV2, learning: Collection[str], size: int) -> int:
    """Floating-point operations of one crop, forward and backward; a multiply-add counts as two.

    Of layers with weights and of both products of each attention, from their shapes. Backward, a layer computes the gradient of
    its input, and of its weight if that learns; a product has two inputs.

    Args:
        backbone: whose shapes count.
        learning: names of its weights that get a gradient: they learn, or a bias is added to them.
        size: side of the crop in pixels.
    """
    side = -(-size // backbone.extent) * backbone.extent // backbone.stem
    total = 0
    for name, weight in backbone.named_parameters():
        # a 1x1 branch is folded into the 3x3 one before it is used
        if weight.dim() in (2, 4) and not name.endswith("depthwise1"):
            # nothing learns before the first layer
            passes = 1 + (name != "embed.weight") + (name in learning)
            total += passes * 2 * weight.numel() * (side >> _level(backbone, name)) ** 2
    for name, module in backbone.named_modules():
        here = side >> _level(backbone, name)
        match module:
            case WindowChannelAttention():
                width = module.proj.in_features
                filled = here + (module.window if module.shift else 0)
                total += 3 * 4 * width * (width // module.heads) * filled**2
            case GridAttention():
                total += 3 * 4 * module.proj.in_features * module.grid**2 * here**2
    return total


def _level(backbone: IPTV2, name: str) -> int:
    """At which level of the U a module or weight works: its map is `1 / 2^level` of the first one's size."""
    match name.split("."):
        case ["encoder" | "decoder" | "down", number, *_]:
            return int(number)
        case ["up", number, *_]:
            return int(number) + 1
        case ["reduce", number, *_]:
            return int(number) + len(backbone.down) - len(backbone.reduce)
        case _:
            return 0
