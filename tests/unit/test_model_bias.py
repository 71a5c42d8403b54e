"""Task biases: no-op at the start, the two-path form in values and gradients, budgets, and errors that name things."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ipt_platform.model.bias import (
    DENSE,
    BiasedModel,
    TaskBias,
    constant_ranks,
    full_rank,
    is_depthwise,
    layout_parameters,
    proportional_ranks,
)
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2


def randomised(module: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))


def alive(net: IPTV2) -> IPTV2:
    """With torch's usual weights where a fresh backbone has zeros: as the identity it would pass too much."""
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    return net


def backbone(**changes) -> IPTV2:
    torch.manual_seed(0)
    sizes = {"dim": 8, "blocks": (1, 1), "decoder": (1,), "refinement": 1, "heads": (1, 2)}
    return alive(IPTV2(**(sizes | {"window": 4, "grid": 4, "extent": 16, "ffn_ratio": 2} | changes)))


class Classifier(nn.Module):
    """Not ours: strided and grouped convolutions, packed attention weights, a vector, two uses of one layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.mix = nn.ModuleDict({"grouped": nn.Conv2d(8, 8, 3, groups=2), "deep": nn.Conv2d(8, 8, 3, groups=8)})
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.twice = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix["deep"](self.mix["grouped"](self.stem(x))).flatten(2).transpose(1, 2)
        y = self.attention(y, y, y)[0]
        return self.twice(self.twice(y)) * self.scale


ARBITRARY = ["stem.weight", "mix.grouped.weight", "mix.deep.weight", "attention.in_proj_weight", "twice.weight"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fresh_bias_changes_no_bit_of_our_backbone(dtype):
    net = backbone().to(dtype)
    names = matrices_of(net, {"embed", "output", "sampling", "reduction", "qkv", "proj", "ffn", "depthwise"})
    model = BiasedModel(net, {"denoise": TaskBias(net, constant_ranks(net, names, 4))})
    x = torch.rand(2, 3, 19, 16, dtype=dtype)

    assert torch.equal(model({"denoise": x})["denoise"], net(x))
    assert any(p.abs().sum() > 0 for p in model.bias("denoise").parameters())  # B2 is ready to learn


def test_a_fresh_bias_changes_no_bit_of_anybodys_module():
    torch.manual_seed(0)
    net = Classifier()
    bias = TaskBias(net, constant_ranks(net, ARBITRARY, 3) | {"scale": DENSE})
    x = torch.rand(2, 3, 12, 12)

    assert torch.equal(BiasedModel(net, {"t": bias}).run_task("t", x), net(x))


def test_a_bias_is_added_by_name_in_anybodys_module():
    torch.manual_seed(0)
    net = Classifier().double()
    bias = TaskBias(net, constant_ranks(net, ARBITRARY, 3) | {"scale": DENSE})
    randomised(bias)
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    by_hand = Classifier().double()
    by_hand.load_state_dict(net.state_dict())
    with torch.no_grad():
        for name, weight in by_hand.named_parameters():
            if name in ARBITRARY and not is_depthwise(weight):
                B1, B2 = bias.factor(name, "B1").flatten(1), bias.factor(name, "B2").flatten(1)
                weight += torch.einsum("or,ri->oi", B1, B2).reshape(weight.shape)
            elif name in (*ARBITRARY, "scale"):
                weight += bias.factor(name, "dense")

    got = BiasedModel(net, {"t": bias}).run_task("t", x)

    torch.testing.assert_close(got, by_hand(x), rtol=1e-12, atol=1e-11)
    assert not torch.allclose(got, net(x))


TWO_PATHS = [
    (nn.Linear(6, 5), 3, (4, 6)),
    (nn.Conv2d(4, 6, 3, padding=1), 2, (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=2), 3, (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, (3, 5), stride=(1, 2), padding=(0, 1), dilation=(2, 1)), 3, (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 1, bias=False), 2, (2, 4, 5, 5)),
]


@pytest.mark.parametrize(("layer", "rank", "shape"), TWO_PATHS)
def test_values_and_gradients_are_those_of_two_paths(layer, rank, shape):
    layer = layer.double()
    bias = TaskBias(layer, {"weight": rank})
    randomised(layer, 1)
    randomised(bias, 2)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    model = BiasedModel(layer, {"t": bias})
    leaves = [x, layer.weight, bias.factor("weight", "B1"), bias.factor("weight", "B2")]

    merged = model.run_task("t", x)
    got = torch.autograd.grad(merged.sin().sum(), leaves)
    paths = layer(x) + in_sequence(layer, x, *leaves[2:])
    want = torch.autograd.grad(paths.sin().sum(), leaves)

    torch.testing.assert_close(merged, paths, rtol=0, atol=1e-11)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def in_sequence(layer: nn.Module, x: Tensor, B1: Tensor, B2: Tensor) -> Tensor:
    """The bias as a path of its own: into r channels with the layer's kernel, out of them with a 1x1."""
    if isinstance(layer, nn.Linear):
        return F.linear(F.linear(x, B2), B1)
    assert isinstance(layer, nn.Conv2d)
    inner = F.conv2d(x, B2, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
    return F.conv2d(inner, B1)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4, bias=False), nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False)])
def test_gradients_are_those_of_finite_differences(layer):
    layer = layer.double()
    bias = TaskBias(layer, {"weight": 2})
    randomised(bias)
    x = torch.rand((2, 3) if isinstance(layer, nn.Linear) else (1, 2, 5, 5), dtype=torch.float64)

    def run(W: Tensor, B1: Tensor, B2: Tensor) -> Tensor:
        trial = BiasedModel(layer, {"t": bias})
        given = {"backbone.weight": W, "biases.t.factors.weight/B1": B1, "biases.t.factors.weight/B2": B2}
        return functional_call(trial, given, ({"t": x},))["t"]

    leaves = (layer.weight, bias.factor("weight", "B1"), bias.factor("weight", "B2"))
    assert torch.autograd.gradcheck(run, tuple(leaf.detach().clone().requires_grad_() for leaf in leaves))


def test_one_tasks_loss_moves_no_other_tasks_bias():
    net = backbone()
    layout = constant_ranks(net, matrices_of(net, {"qkv", "ffn", "output"}), 2)
    model = BiasedModel(net, {task: TaskBias(net, layout) for task in ("denoise", "deblur")})
    x = torch.rand(1, 3, 16, 16)

    model({"denoise": x, "deblur": x})["denoise"].square().sum().backward()

    assert all(p.grad is None or not p.grad.any() for p in model.bias("deblur").parameters())
    assert all(model.bias("denoise").factor(name, "B1").grad.any() for name in layout)
    assert all(p.grad is not None for p in net.parameters())


def test_recomputed_activations_give_a_biased_model_the_same_gradients():
    grads = []
    for saving in (False, True):
        net = backbone(activation_checkpointing=saving).double()
        bias = TaskBias(net, constant_ranks(net, matrices_of(net, {"qkv", "proj", "ffn", "output"}), 2))
        randomised(bias)  # with B1 zero, merged weights and the module's own would be the same
        model = BiasedModel(net, {"t": bias})
        model({"t": torch.ones(1, 3, 16, 16, dtype=torch.float64)})["t"].sin().sum().backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})

    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-12, atol=1e-12, msg=name)


def test_without_biases_all_tasks_go_through_at_once():
    net = backbone()
    inputs = {"denoise": torch.rand(2, 3, 16, 16), "deblur": torch.rand(1, 3, 16, 16)}

    got = BiasedModel(net, {})(inputs)

    assert list(got) == ["denoise", "deblur"]
    for task, x in inputs.items():
        torch.testing.assert_close(got[task], net(x))


def test_merging_for_good_is_running_the_task():
    torch.manual_seed(0)
    net = Classifier()
    bias = TaskBias(net, constant_ranks(net, ARBITRARY, 3))
    randomised(bias)
    x = torch.rand(2, 3, 12, 12)
    biased = BiasedModel(net, {"t": bias}).run_task("t", x)
    merged = Classifier()
    merged.load_state_dict(net.state_dict())

    bias.merge_into(merged)

    assert torch.equal(merged(x), biased)
    assert not torch.equal(merged.twice.weight, net.twice.weight)
    assert torch.equal(merged.scale, net.scale)


def test_ranks_stop_at_full_rank_and_depthwise_kernels_get_a_dense_bias():
    net = nn.ModuleDict(
        {"wide": nn.Linear(100, 7), "conv": nn.Conv2d(2, 50, 3), "deep": nn.Conv2d(9, 9, 3, groups=9), "big": nn.Linear(64, 64)}
    )
    names = [f"{part}.weight" for part in net]

    layout = constant_ranks(net, names, 16)

    assert layout == {"wide.weight": 7, "conv.weight": 16, "deep.weight": DENSE, "big.weight": 16}
    assert constant_ranks(net, names, 1000)["conv.weight"] == 2 * 9
    assert full_rank(net["wide"].weight) == 7


def test_parameters_of_a_layout_by_closed_form():
    net = nn.ModuleDict({"linear": nn.Linear(100, 7), "conv": nn.Conv2d(4, 50, 3), "deep": nn.Conv2d(9, 9, 5, groups=9)})
    layout = {"linear.weight": 3, "conv.weight": 10, "deep.weight": DENSE}
    want = 3 * (7 + 100) + 10 * (50 + 4 * 9) + 9 * 25

    assert layout_parameters(net, layout) == want
    assert count_parameters(TaskBias(net, layout)) == want


def test_at_full_rank_a_bias_can_be_any_change():
    layer = nn.Conv2d(2, 5, 3).double()
    bias = TaskBias(layer, constant_ranks(layer, ["weight"], 999))
    change = torch.randn(5, 2, 3, 3, dtype=torch.float64)

    with torch.no_grad():
        bias.factor("weight", "B1").copy_(torch.eye(5, dtype=torch.float64)[..., None, None])
        bias.factor("weight", "B2").copy_(change)

    assert torch.equal(bias.merged(layer)["weight"], layer.weight + change)


def test_the_proportional_share_is_the_largest_within_the_constant_budget():
    net = backbone(dim=16)
    names = matrices_of(net, {"output", "sampling", "qkv", "proj", "ffn", "depthwise"})
    weights = dict(net.named_parameters())
    budget = layout_parameters(net, constant_ranks(net, names, 6))

    layout = proportional_ranks(net, names, 6)

    def of_share(share: float) -> dict[str, int]:
        return {
            name: DENSE if is_depthwise(weights[name]) else max(1, round(share * full_rank(weights[name]))) for name in names
        }

    share = next(i for i in range(1, 1001) if layout_parameters(net, of_share(i / 1000)) > budget) - 1
    assert layout == of_share(share / 1000)
    assert 0.9 * budget < layout_parameters(net, layout) <= budget
    assert len(set(layout.values())) > 3


def test_factors_go_out_and_come_back_under_their_names():
    net = Classifier()
    one, other = (TaskBias(net, constant_ranks(net, ARBITRARY, 3)) for _ in range(2))
    randomised(one)

    other.load_tensors(one.tensors())

    assert set(one.tensors()) == {
        f"{name}.{factor}" for name in ARBITRARY for factor in (["dense"] if name == "mix.deep.weight" else ["B1", "B2"])
    }
    assert all(torch.equal(other.tensors()[name], value) for name, value in one.tensors().items())
    assert other.tensors()["stem.weight.B1"].shape == (8, 3, 1, 1)
    assert other.tensors()["stem.weight.B2"].shape == (3, 3, 3, 3)


def test_mistakes_are_named():
    net = nn.Sequential(OrderedDict(first=nn.Linear(4, 6), line=nn.Conv1d(3, 3, 3)))

    with pytest.raises(ValueError, match=r"second\.weight is no weight of Sequential"):
        TaskBias(net, {"second.weight": 2})
    with pytest.raises(ValueError, match=r"first\.bias has shape \(6,\)"):
        TaskBias(net, {"first.bias": 1})
    with pytest.raises(ValueError, match=r"line\.weight has shape \(3, 3, 3\)"):
        TaskBias(net, {"line.weight": 1})
    with pytest.raises(ValueError, match=r"rank 5 of first\.weight is not between 1 and its full rank 4"):
        TaskBias(net, {"first.weight": 5})
    with pytest.raises(KeyError, match="derain"):
        BiasedModel(net, {"t": TaskBias(net, {"first.weight": 2})})({"derain": torch.rand(1, 4)})


def test_factors_that_do_not_fit_are_named_on_both_sides():
    net = nn.Linear(4, 6)
    bias = TaskBias(net, {"weight": 2})

    with pytest.raises(ValueError, match=r"weight\.B1 is \(6, 3\), expected \(6, 2\)"):
        bias.load_tensors(TaskBias(net, {"weight": 3}).tensors())
    with pytest.raises(ValueError, match=r"missing \['weight\.B1', 'weight\.B2'\], unexpected \['weight\.dense'\]"):
        bias.load_tensors(TaskBias(net, {"weight": DENSE}).tensors())
