"""A plain convolutional U-Net: the reference that `learning.py` compares a backbone with. No attention, no norms, no tricks."""

import torch.nn.functional as F
from torch import Tensor, nn

from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks

WIDTH = 33
"""Channels of the first level that give 0.54 M parameters."""


class UNet(nn.Module):
    """Three levels of residual 3x3 convolutions with ReLU; the output is added to the input.

    `[B, 3, H, W] -> [B, 3, H, W]`, H and W multiples of 4. Levels have `width`, `2 width` and `4 width` channels at 1, 1/2 and
    1/4 of the size; strided 2x2 convolutions lead down, 1x1 convolutions with pixel shuffle up, skips are added.
    """

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.embed = _conv(3, width)
        self.encoder = nn.ModuleList([_stage(width, 1), _stage(2 * width, 2), _stage(4 * width, 2)])
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in (width, 2 * width))
        self.up = nn.ModuleList(nn.Conv2d(2 * c, 4 * c, 1) for c in (width, 2 * width))
        self.decoder = nn.ModuleList([_stage(width, 1), _stage(2 * width, 1)])
        self.output = _conv(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch of pictures."""
        first = _run(self.encoder[0], F.relu(self.embed(x)))
        second = _run(self.encoder[1], F.relu(self.down[0](first)))
        y = _run(self.encoder[2], F.relu(self.down[1](second)))
        y = _run(self.decoder[1], F.pixel_shuffle(self.up[1](y), 2) + second)
        y = _run(self.decoder[0], F.pixel_shuffle(self.up[0](y), 2) + first)
        return x + self.output(y)


def biased_unet(tasks: list[str], rank: int) -> BiasedModel:
    """The U-Net with a low-rank bias per task on every convolution but the first, as a backbone's embedding has none."""
    unet = UNet()
    names = [name for name, weight in unet.named_parameters() if weight.dim() == 4 and not name.startswith("embed")]
    layout = constant_ranks(unet, names, rank)
    return BiasedModel(unet, {task: TaskBias(unet, layout) for task in tasks})


def _conv(dim_in: int, dim_out: int) -> nn.Conv2d:
    return nn.Conv2d(dim_in, dim_out, 3, padding=1)


def _stage(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(_conv(width, width) for _ in range(count))


def _run(stage: nn.Module, x: Tensor) -> Tensor:
    for conv in stage.children():
        x = x + F.relu(conv(x))
    return x
