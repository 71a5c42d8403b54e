"""A full finetune as a task bias: nothing beats it at its rank, and what is lost is told."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.model.bias import DENSE, BiasedModel, TaskBias, constant_ranks, full_rank
from ipt_platform.model.build import build_backbone
from ipt_platform.model.groups import matrices_of
from ipt_platform.tune.compress import compress


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(6, 8)
        self.qkv_depthwise = nn.Parameter(torch.rand(8, 1, 3, 3))
        self.up = nn.Conv2d(3, 4, (3, 5), bias=False)
        self.norm1 = nn.LayerNorm(4)


NAMES = ["qkv.weight", "qkv_depthwise", "up.weight"]


def pair(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Toy, Toy]:
    torch.manual_seed(seed)
    before, after = Toy().to(dtype), Toy().to(dtype)
    with torch.no_grad():
        after.norm1.weight += torch.randn(4, dtype=dtype)
    return before, after


def distance(bias: TaskBias, before: nn.Module, after: nn.Module, name: str) -> float:
    """Of the merged weight from the one after the training."""
    return (bias.merged(before)[name] - after.get_parameter(name)).norm().item()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 8))
def test_no_factors_of_the_rank_come_nearer_than_the_tail_of_the_singular_values(seed, rank):
    before, after = pair(seed)
    layout = constant_ranks(before, NAMES, rank)
    bias, _ = compress(before, after, layout)
    rival = TaskBias(before, layout)
    for factor in rival.parameters():
        nn.init.normal_(factor, std=0.3)

    for name in ("qkv.weight", "up.weight"):
        tail = torch.linalg.svdvals((after.get_parameter(name) - before.get_parameter(name)).detach().flatten(1))[
            layout[name] :
        ]
        assert distance(bias, before, after, name) == pytest.approx(tail.norm().item(), abs=1e-12)
        assert distance(rival, before, after, name) >= tail.norm().item()
    assert distance(bias, before, after, "qkv_depthwise") == 0


def test_a_descent_from_the_factors_finds_nothing_better():
    before, after = pair()
    bias, _ = compress(before, after, {"qkv.weight": 2})
    at = distance(bias, before, after, "qkv.weight")
    loss = (bias.merged(before)["qkv.weight"] - after.qkv.weight.detach()).square().sum()
    loss.backward()

    assert all(factor.grad is not None and factor.grad.abs().max() < 1e-12 for factor in bias.parameters())
    assert at > 0.1


def test_both_factors_carry_the_root_of_the_singular_values():
    before, after = pair()
    bias, _ = compress(before, after, {"up.weight": 3})
    B1, B2 = bias.factor("up.weight", "B1").flatten(1), bias.factor("up.weight", "B2").flatten(1)
    values = torch.linalg.svdvals((after.up.weight - before.up.weight).detach().flatten(1))[:3]

    torch.testing.assert_close(B1.T @ B1, torch.diag(values))
    torch.testing.assert_close(B2 @ B2.T, torch.diag(values))
    assert {name: tuple(tensor.shape) for name, tensor in bias.tensors().items()} == {
        "up.weight.B1": (4, 3, 1, 1),
        "up.weight.B2": (3, 3, 3, 5),
    }


def test_what_is_kept_and_lost_adds_up():
    before, after = pair()
    layout = {"qkv.weight": 2, "qkv_depthwise": DENSE}
    bias, info = compress(before, after, layout)
    change = {name: (after.get_parameter(name) - w).detach().square().sum().item() for name, w in before.named_parameters()}
    whole = sum(change.values())
    lost = distance(bias, before, after, "qkv.weight") ** 2

    assert info.layers == {"qkv.weight": pytest.approx(1 - lost / change["qkv.weight"]), "qkv_depthwise": 1.0}
    inside = change["qkv.weight"] + change["qkv_depthwise"]
    assert info.energy == pytest.approx(1 - lost / inside)
    assert info.kept == pytest.approx((inside - lost) / whole)
    assert info.outside == {
        "qkv": pytest.approx(change["qkv.bias"] / whole),
        "sampling": pytest.approx(change["up.weight"] / whole),
        "norm": pytest.approx((change["norm1.weight"] + change["norm1.bias"]) / whole),
    }
    assert info.kept + sum(info.outside.values()) + lost / whole == pytest.approx(1)
    assert info.parameters == 2 * (8 + 6) + 72
    json.dumps(info.to_dict(), allow_nan=False)


def test_at_full_rank_a_biased_backbone_is_the_finetuned_one():
    torch.manual_seed(0)
    before = build_backbone("iptv2-tiny")
    after = copy.deepcopy(before)
    names = matrices_of(before, {"embed", "output", "sampling", "reduction", "qkv", "proj", "ffn", "depthwise"})
    with torch.no_grad():
        for name in names:
            after.get_parameter(name).add_(0.02 * torch.randn_like(after.get_parameter(name)))
    states = [copy.deepcopy(net.state_dict()) for net in (before, after)]
    bias, info = compress(before, after, constant_ranks(before, names, 10_000))
    x = torch.rand(1, 3, 64, 64)

    torch.testing.assert_close(BiasedModel(before, {"t": bias}).run_task("t", x), after(x), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before(x), after(x), rtol=1e-2, atol=1e-2)
    assert info.energy == pytest.approx(1)
    assert all(bias.layout[n] in (DENSE, full_rank(before.get_parameter(n))) for n in names)
    for net, state in zip((before, after), states, strict=True):
        assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)


def test_a_training_that_changed_nothing_is_a_bias_that_changes_nothing():
    net = Toy()
    bias, info = compress(net, copy.deepcopy(net), constant_ranks(net, NAMES, 2))

    assert not any(value.any() for name in NAMES for value in [bias.merged(net)[name] - net.get_parameter(name)])
    assert (info.energy, info.kept, set(info.layers.values()), set(info.outside.values())) == (1, 1, {1.0}, {0.0})


def test_the_bias_has_the_precision_of_the_backbone_and_can_learn_on():
    bias, _ = compress(*pair(dtype=torch.float32), {"up.weight": 1})

    assert all(factor.dtype == torch.float32 and factor.requires_grad for factor in bias.parameters())


def test_a_layout_or_a_backbone_that_does_not_fit_is_refused():
    before, after = pair()
    with pytest.raises(ValueError, match=r"rank 7 of qkv.weight is not between 1 and its full rank 6"):
        compress(before, after, {"qkv.weight": 7})
    with pytest.raises(ValueError, match=r"ffn.weight is no weight of Toy"):
        compress(before, after, {"ffn.weight": 1})
    after.proj = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(UsageError, match="only after: proj"):
        compress(before, after, {"qkv.weight": 1})
