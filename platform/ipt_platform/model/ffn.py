"""Rep-LeFFN: the feed-forward part of an FG block, with a re-parameterised depthwise convolution in its middle."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ipt_platform.model.attention import depthwise


class RepLeFFN(nn.Module):
    """`fc2(GELU(K3 * h + K1 * h + h))` with `h = fc1(x)`: expand, look at the neighbours, contract.

    The three branches (3x3, 1x1, identity) are sums of one linear map, so they are always run as the single kernel
    `K3 + pad(K1) + delta`: exact in training as in inference, at the cost of one branch. `fuse` folds it for good.

    Args:
        dim: channels C.
        ratio: hidden channels over `dim`.

    Source: IPT-V2 abstract (names the part); branch layout after RepVGG (Ding et al. 2021, section 3.3) without norms.
    """

    def __init__(self, dim: int, ratio: int):
        super().__init__()
        hidden = dim * ratio
        self.fc1 = nn.Linear(dim, hidden)
        self.depthwise3 = nn.Parameter(torch.empty(hidden, 1, 3, 3))
        self.depthwise1: nn.Parameter | None = nn.Parameter(torch.zeros(hidden, 1, 1, 1))
        self.fc2 = nn.Linear(hidden, dim)
        nn.init.uniform_(self.depthwise3, -1 / 3, 1 / 3)

    def kernel(self) -> Tensor:
        """The kernel that all branches together are, `[hidden, 1, 3, 3]`."""
        if self.depthwise1 is None:
            return self.depthwise3
        return self.depthwise3 + F.pad(self.depthwise1 + 1, (1, 1, 1, 1))

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the branches into `depthwise3`; the output stays the same to the bit, the model can no longer be trained on."""
        if self.depthwise1 is not None:
            self.depthwise3.copy_(self.kernel())
            self.depthwise1 = None

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H, W, C] -> [B, H, W, C]`."""
        return self.fc2(F.gelu(depthwise(self.fc1(x), self.kernel())))
