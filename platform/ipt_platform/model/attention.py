"""The two attentions of an FG block, on channels-last maps `[B, H, W, C]`.

IPT-V2-style: the published text names FCSA and GGSA and what each does; window, grid, heads and shifts are our choice.
Both are local by construction: a window or region always spans the same number of pixels, whatever the size of the picture,
so a tile of a picture and the whole picture are computed alike.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    """Depthwise convolution of `x [B, H, W, C]` with `kernel [C, 1, k, k]`, k odd, same size, zero borders."""
    maps = x.permute(0, 3, 1, 2)
    learns_before_it = torch.is_grad_enabled() and x.requires_grad and not kernel.requires_grad
    y = _FrozenDepthwise.apply(maps, kernel) if learns_before_it else _convolve(maps, kernel)
    return y.permute(0, 2, 3, 1)


def _convolve(maps: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(maps, kernel, padding=kernel.shape[-1] // 2, groups=kernel.shape[0])


class _FrozenDepthwise(torch.autograd.Function):
    """The convolution with a kernel that learns nothing.

    torch keeps the input of every convolution for the gradient of its kernel, also where that is not asked for; on a frozen
    backbone that would be a fifth of all that is kept. The gradient of the input needs the kernel alone: it is the convolution
    of the output's gradient with the kernel turned by half a turn.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.dtype = maps.dtype
        return _convolve(maps, kernel)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kernel,) = ctx.saved_tensors
        # under autocast the output has fewer bits than what went in
        return _convolve(grad, kernel.flip(-2, -1).to(grad.dtype)).to(ctx.dtype), None


class WindowChannelAttention(nn.Module):
    """FCSA: attention between channels inside (shifted) windows, compared by cosine.

    Per window and head, with `q, k, v [c, w*w]`: `softmax(tau * norm(q) @ norm(k)^T) @ v`, `norm` along the pixels.
    A shifted window that reaches over the border is filled with zeros, which add nothing to any product or norm:
    the shift never joins opposite borders of the picture.

    Args:
        dim: channels C.
        heads: groups of channels that attend among themselves; divides `dim`.
        window: side of a window in pixels of this map; divides H and W.
        shift: offset of the windows in pixels, 0 or `window // 2`.

    Source: IPT-V2 abstract and NTIRE 2023 report ("channel attention uses cosine distance"); Restormer, eq. 1, for the
    transposed form.
    """

    def __init__(self, dim: int, heads: int, window: int, shift: int):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.qkv_depthwise = nn.Parameter(torch.empty(3 * dim, 1, 3, 3))
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.proj = nn.Linear(dim, dim, bias=False)
        nn.init.uniform_(self.qkv_depthwise, -1 / 3, 1 / 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H, W, C] -> [B, H, W, C]`."""
        B, H, W, C = x.shape
        w, h, c = self.window, self.heads, C // self.heads
        qkv = depthwise(self.qkv(x), self.qkv_depthwise)
        if self.shift:
            before, after = self.shift, w - self.shift
            qkv = F.pad(qkv, (0, 0, before, after, before, after))
        rows, columns = qkv.shape[1] // w, qkv.shape[2] // w
        # [3, B, rows, columns, heads, w*w, c]: one small matrix per window and head, channels side by side as they lie
        qkv = qkv.reshape(B, rows, w, columns, w, 3, h, c).permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, -1, w * w, c)
        q, k, v = qkv.unbind(0)
        # norm(q)^T @ norm(k) is q^T @ k over both norms, which are one number a channel instead of one a pixel
        tau = self.temperature.view(h, 1).repeat(q.shape[0] // h, 1)
        scores = torch.bmm(q.transpose(1, 2), k) * ((tau / _norms(q))[:, :, None] / _norms(k)[:, None, :])
        y = torch.bmm(v, torch.softmax(scores, dim=-1).transpose(1, 2))
        y = y.reshape(B, rows, columns, h, w, w, c).permute(0, 1, 4, 2, 5, 3, 6).reshape(B, rows * w, columns * w, C)
        if self.shift:
            y = y[:, self.shift : self.shift + H, self.shift : self.shift + W]
        return self.proj(y)


def _norms(x: Tensor) -> Tensor:
    """Of each channel of `x [N, pixels, c]`, at least 1e-12: `[N, c]`."""
    return x.square().sum(1).clamp_min(1e-24).sqrt()


class GridAttention(nn.Module):
    """GGSA: attention between pixels that lie `region / grid` apart, across the windows of a region.

    A region of `region x region` pixels holds `(region / grid)^2` interleaved grids of `grid x grid` pixels; each grid attends
    within itself: `softmax(q @ k^T / sqrt(c)) @ v` over its `grid^2` tokens.

    Args:
        dim: channels C.
        heads: heads of the attention; divides `dim`.
        grid: tokens along each side of a grid; divides `region`.
        region: side of the region in pixels of this map; divides H and W.

    Source: IPT-V2 abstract ("cross-window grid in the spatial dimension"), read as MaxViT's grid attention (eq. 4).
    """

    def __init__(self, dim: int, heads: int, grid: int, region: int):
        super().__init__()
        self.heads, self.grid, self.region = heads, grid, region
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H, W, C] -> [B, H, W, C]`."""
        B, H, W, C = x.shape
        g, h, c = self.grid, self.heads, C // self.heads
        stride, rows, columns = self.region // g, H // self.region, W // self.region
        qkv = self.qkv(x).reshape(B, rows, g, stride, columns, g, stride, 3, h, c)
        q, k, v = qkv.permute(7, 0, 1, 4, 3, 6, 8, 2, 5, 9).reshape(3, -1, h, g * g, c).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.reshape(B, rows, columns, stride, stride, h, g, g, c).permute(0, 1, 6, 3, 2, 7, 4, 5, 8)
        return self.proj(y.reshape(B, H, W, C))
