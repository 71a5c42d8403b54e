"""The IPT-V2-style backbone: a U-shape of FG blocks, in pure torch.

Reconstructed from what is published about IPT-V2 (abstract; NTIRE 2023 denoising report: three down- and upsamplings, 26.03 M
parameters, 41.16 GFLOPs at 128x128); everything that is not published is our choice, so it is "IPT-V2-style", not IPT-V2.

Shapes: pictures are `[B, 3, H, W]` in [0, 1], maps inside are channels-last `[B, H, W, C]`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ipt_platform.model.attention import GridAttention, WindowChannelAttention
from ipt_platform.model.ffn import RepLeFFN


class FGBlock(nn.Module):
    """FCSA, Rep-LeFFN, GGSA, Rep-LeFFN, each after a LayerNorm and around a residual; `[B, H, W, C] -> [B, H, W, C]`."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, grid: int, region: int, ffn_ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.channel_attention = WindowChannelAttention(dim, heads, window, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.ffn1 = RepLeFFN(dim, ffn_ratio)
        self.norm3 = nn.LayerNorm(dim)
        self.grid_attention = GridAttention(dim, heads, grid, region)
        self.norm4 = nn.LayerNorm(dim)
        self.ffn2 = RepLeFFN(dim, ffn_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        x = x + self.channel_attention(self.norm1(x))
        x = x + self.ffn1(self.norm2(x))
        x = x + self.grid_attention(self.norm3(x))
        return x + self.ffn2(self.norm4(x))


def conv3x3(dim_in: int, dim_out: int) -> nn.Conv2d:
    """3x3 convolution of the same size, `[B, C_in, H, W] -> [B, C_out, H, W]`; torch's own, as adapter libraries know it."""
    return nn.Conv2d(dim_in, dim_out, 3, padding=1, bias=False)


class Down(nn.Module):
    """Conv to C/2, then 2x2 pixels into channels: `[B, H, W, C] -> [B, H/2, W/2, 2C]`."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = conv3x3(dim, dim // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the map."""
        return F.pixel_unshuffle(self.conv(x.permute(0, 3, 1, 2)), 2).permute(0, 2, 3, 1)


class Up(nn.Module):
    """Conv to 2C, then channels into 2x2 pixels: `[B, H, W, C] -> [B, 2H, 2W, C/2]`."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = conv3x3(dim, dim * 2)

    def forward(self, x: Tensor) -> Tensor:
        """Double the map."""
        return F.pixel_shuffle(self.conv(x.permute(0, 3, 1, 2)), 2).permute(0, 2, 3, 1)


class IPTV2(nn.Module):
    """U-shaped restoration backbone: `[B, 3, H, W] -> [B, 3, H, W]`, any H and W.

    Level `l` has `dim * 2^l` channels at `1 / 2^l` of the size. Decoder levels reduce the concatenation with the skip by a 1x1
    layer; unless told to, the first one does not, and works like the refinement on `2 * dim` channels. The output is added to
    the input.

    Args:
        dim: channels of the first level.
        blocks: FG blocks per level of the encoder, the last being the bottom of the U.
        decoder: FG blocks per level of the decoder, first level first; one fewer than `blocks`.
        refinement: FG blocks after the decoder.
        heads: attention heads per level.
        window: side of FCSA's windows, pixels of the level's map.
        grid: tokens per side of GGSA's grids.
        extent: side, in pixels of the picture, of the region over which GGSA attends; sizes are padded to multiples of it.
        ffn_ratio: hidden over outer channels of Rep-LeFFN.
        reduce_first: reduce at the first level too: a third of the work at full size, for a machine without a GPU.
        stem: pixels of the picture along each side of one pixel of the first level (folded into channels before `embed`).
        activation_checkpointing: recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        dim: int,
        blocks: Sequence[int],
        decoder: Sequence[int],
        refinement: int,
        heads: Sequence[int],
        window: int,
        grid: int,
        extent: int,
        ffn_ratio: int,
        reduce_first: bool = False,
        stem: int = 1,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        self.extent, self.stem, self.activation_checkpointing = extent, stem, activation_checkpointing
        bottom = stem << (len(blocks) - 1)
        if extent % (window * bottom) or extent % (grid * bottom):
            raise ValueError(f"extent {extent} is not a multiple of window {window} and grid {grid} at 1/{bottom} of the size")

        def stage(count: int, level: int, width: int, first: int = 0) -> nn.ModuleList:
            region, shifts = extent // stem >> level, [window // 2 * ((first + i) % 2) for i in range(count)]
            return nn.ModuleList(FGBlock(width, heads[level], window, s, grid, region, ffn_ratio) for s in shifts)

        dims = [dim << level for level in range(len(blocks))]
        self.embed = conv3x3(3 * stem**2, dim)
        self.encoder = nn.ModuleList(stage(n, level, dims[level]) for level, n in enumerate(blocks))
        self.down = nn.ModuleList(Down(width) for width in dims[:-1])
        self.up = nn.ModuleList(Up(width) for width in dims[1:])
        top = dim if reduce_first else 2 * dim
        widths = [top, *dims[1:-1]]
        self.reduce = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for width in dims[not reduce_first : -1])
        self.decoder = nn.ModuleList(stage(n, level, widths[level], blocks[level]) for level, n in enumerate(decoder))
        self.refinement = stage(refinement, 0, top, blocks[0] + decoder[0])
        self.output = conv3x3(top, 3 * stem**2)
        self._start_as_identity()

    @property
    def calls_layers(self) -> bool:
        """Whether every `nn.Linear` takes part in a forward pass by being called then, and in no other way."""
        return not (self.activation_checkpointing and self.training)

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch of pictures; sizes are reflect-padded to multiples of `extent` and cut back."""
        H, W = x.shape[-2:]
        padded = reflect_pad(x, self.extent)
        folded = F.pixel_unshuffle(padded, self.stem).contiguous(memory_format=torch.channels_last)
        y = self.embed(folded).permute(0, 2, 3, 1)
        skips = []
        for level, blocks in enumerate(self.encoder):
            y = self._run(blocks, y if level == 0 else self.down[level - 1](y))
            skips.append(y)
        for level in reversed(range(len(self.down))):
            y = torch.cat([self.up[level](y), skips[level]], dim=-1)
            reduced = level - (len(self.down) - len(self.reduce))
            y = self._run(self.decoder[level], self.reduce[reduced](y) if reduced >= 0 else y)
        y = self.output(self._run(self.refinement, y).permute(0, 3, 1, 2))
        return (padded + F.pixel_shuffle(y, self.stem))[..., :H, :W]

    @torch.no_grad()
    def _start_as_identity(self) -> None:
        """Zero the last layer of every branch and of the whole: a fresh backbone returns its input, each block its own.

        Otherwise the normed branches drown the picture in the residual stream, and hundreds of steps go by until it is back;
        for the same reason the embedding starts at three times torch's default scale.
        Source: for the branches, Goyal et al. 2017, section 5.1 (zero-initialised last scale); the rest measured here.
        """
        self.embed.weight.mul_(3)
        self.output.weight.zero_()
        for module in self.modules():
            if isinstance(module, FGBlock):
                for last in (module.channel_attention.proj, module.ffn1.fc2, module.grid_attention.proj, module.ffn2.fc2):
                    last.weight.zero_()
                    if last.bias is not None:
                        last.bias.zero_()

    def _run(self, blocks: nn.Module, y: Tensor) -> Tensor:
        recompute = self.activation_checkpointing and self.training
        for block in blocks.children():
            if recompute:
                # The weights go in by hand: merged ones stand in the module only during the forward pass, and a
                # recomputation that took the module's own would give wrong gradients without a word.
                y = checkpoint(functional_call, block, dict(block.named_parameters()), (y,), use_reentrant=False)
            else:
                y = block(y)
        return y

    def fuse(self) -> "IPTV2":
        """Fold the branches of every Rep-LeFFN, for inference; returns self."""
        for module in self.modules():
            if isinstance(module, RepLeFFN):
                module.fuse()
        return self


def reflect_pad(x: Tensor, multiple: int) -> Tensor:
    """Pad the right and bottom of `x [..., H, W]` by reflection to multiples of `multiple`, however small H and W are."""
    for dim in (-2, -1):
        size = x.shape[dim]
        target = -(-size // multiple) * multiple
        if target != size:
            period = max(2 * (size - 1), 1)
            phase = torch.arange(target, device=x.device) % period
            x = x.index_select(dim, torch.minimum(phase, period - phase) if size > 1 else torch.zeros_like(phase))
    return x
