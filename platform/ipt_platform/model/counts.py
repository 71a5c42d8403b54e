"""How large a backbone is and what it computes."""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(module: nn.Module) -> int:
    """All parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(backbone: nn.Module, size: int) -> int:
    """Multiply-adds of one picture of `size x size`: convolutions, linear layers and both products of each attention."""
    # the plain form of attention is two products that the counter knows; the fused one it does not, on a CPU
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() // 2
