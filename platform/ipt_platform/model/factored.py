"""Gradients of low-rank biases on a frozen backbone, without the gradient of a whole weight.

A layer `y = x W'^T` with `W' = W + B1 B2`, `W [m, n]`, `B1 [m, r]`, `B2 [r, n]`, and N rows in x: autograd would form
`dW' = dy^T x`, `2 N m n` operations, to learn `dB1 = dW' B2^T` and `dB2 = B1^T dW'` from it. The same gradients are
`dB1 = dy^T (x B2^T)` and `dB2 = (dy B1)^T x`, `4 N r (m + n)` operations: fewer where r is small beside m and n, which is what
makes learning a bias of a large backbone cheaper than learning the backbone.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WORTH = 2.0
"""How many times fewer operations it must take: the narrow products read x and dy twice."""


def worth_factoring(layer: nn.Linear, rank: int) -> bool:
    """Whether the gradients of a bias of this rank are had sooner from its factors."""
    m, n = layer.weight.shape
    return 2 * rank * (m + n) * WORTH <= m * n


@contextmanager
def factors_learn(layers: Mapping[nn.Linear, tuple[Tensor, Tensor]]) -> Iterator[None]:
    """Within the block, calls of these layers give gradients to the factors B1 and B2 of their weights.

    The weights are merged already, and without gradients; each is used by calling its layer, and in no other way.
    """
    handles = [layer.register_forward_hook(_hook(*factors)) for layer, factors in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(B1: Tensor, B2: Tensor) -> Any:
    return lambda layer, given, y: _Factors.apply(y, given[0], B1, B2)


class _Factors(torch.autograd.Function):
    """The identity of y, with gradients for the factors that had part in y."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, B1: Tensor, B2: Tensor) -> Tensor:
        ctx.save_for_backward(x, B1, B2)
        return y.view_as(y)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, None, Tensor, Tensor]:
        x, B1, B2 = ctx.saved_tensors
        # under autocast the output, and so its gradient, has fewer bits than the factors
        g, rows = grad.flatten(0, -2), x.flatten(0, -2).to(grad.dtype)
        dB1 = g.t() @ (rows @ B2.t().to(g.dtype))
        dB2 = (g @ B1.to(g.dtype)).t() @ rows
        return grad, None, dB1.to(B1.dtype), dB2.to(B2.dtype)
