"""On a frozen backbone factors learn without the gradient of a whole weight: the same gradients, to rounding."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.factored import factors_learn, worth_factoring
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2

GROUPS = {"output", "sampling", "reduction", "qkv", "proj", "ffn"}


def model(rank=2, dtype=torch.float64, **changes) -> BiasedModel:
    torch.manual_seed(0)
    sizes = {"dim": 16, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (1, 2)}
    net = IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=2, **changes).to(dtype)
    bias = TaskBias(net, constant_ranks(net, matrices_of(net, GROUPS), rank))
    for weight in (*net.parameters(), *bias.parameters()):
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    return BiasedModel(net.requires_grad_(False), {"t": bias})


def gradients(restored: torch.Tensor, biased: BiasedModel) -> list[torch.Tensor]:
    target = torch.linspace(0, 1, restored.numel(), dtype=restored.dtype).view(restored.shape)
    return list(torch.autograd.grad((restored - target).square().sum(), list(biased.biases.parameters())))


def by_whole_weights(biased: BiasedModel, x: torch.Tensor) -> torch.Tensor:
    return functional_call(biased.backbone, biased.bias("t").merged(biased.backbone), (x,))


@pytest.mark.parametrize("changes", [{}, {"reduce_first": True, "stem": 2}])
def test_values_and_gradients_are_those_of_merged_weights(changes):
    biased, x = model(**changes), torch.rand(2, 3, 32, 32, dtype=torch.float64)

    restored, plain = biased.run_task("t", x), by_whole_weights(biased, x)

    assert biased._factored("t")
    assert torch.equal(restored, plain)
    for one, other in zip(gradients(restored, biased), gradients(plain, biased), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_layer_that_is_called_twice_learns_from_both_calls():
    torch.manual_seed(0)
    layer, B1, B2 = nn.Linear(12, 12).double().requires_grad_(False), *torch.rand(2, 12, 1, dtype=torch.float64)
    B1, B2, x = B1.requires_grad_(), B2.t().requires_grad_(), torch.rand(5, 12, dtype=torch.float64)

    def twice() -> torch.Tensor:
        return layer(torch.tanh(layer(x))).square().sum()

    with factors_learn({layer: (B1, B2)}):
        got = torch.autograd.grad(twice(), [B1, B2])
    whole = layer.weight.clone().requires_grad_()
    y = nn.functional.linear(torch.tanh(nn.functional.linear(x, whole, layer.bias)), whole, layer.bias).square().sum()
    (expected,) = torch.autograd.grad(y, [whole])

    torch.testing.assert_close(got, (expected @ B2.t(), B1.t() @ expected))
    assert not twice().requires_grad  # outside of the block the layer is as it was


def test_under_autocast_gradients_are_near_those_of_full_precision():
    biased, x = model(dtype=torch.float32), torch.rand(2, 3, 32, 32)
    expected = gradients(biased.run_task("t", x), biased)

    with torch.autocast("cpu", torch.bfloat16):
        restored = biased.run_task("t", x)
    got = gradients(restored.float(), biased)

    for one, other in zip(got, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.1 * other.norm()


def test_recomputed_activations_and_a_backbone_that_learns_take_whole_weights():
    recomputing = model(activation_checkpointing=True)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)

    assert recomputing._factored("t") == {}
    got, expected = (gradients(each.run_task("t", x), each) for each in (recomputing, model()))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    learning = model()
    learning.backbone.requires_grad_(True)
    assert learning._factored("t") == {}


def test_it_is_done_where_it_takes_half_the_operations():
    assert worth_factoring(nn.Linear(96, 96), 12)  # 2 * 12 * 192 * 2 = 96 * 96
    assert not worth_factoring(nn.Linear(96, 96), 13)
    assert model(rank=2)._factored("t").keys() > model(rank=3)._factored("t").keys()
