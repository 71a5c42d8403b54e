"""Layers before and after a training: angles and norms by closed form, zeros without NaN, errors that name both sides."""

import copy
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.model.build import build_backbone
from ipt_platform.tune.difference import LayerDifference, layer_differences, members

NUMBER = st.floats(-1e3, 1e3).filter(lambda value: value == 0 or abs(value) > 1e-6)  # far from what float32 rounds to zero
PAIRS = st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=12)


def difference(before: list, after: list) -> LayerDifference:
    return LayerDifference("a.qkv.weight", "qkv", "a", 0.0, torch.tensor(before), torch.tensor(after))


class Toy(nn.Module):
    def __init__(self, width: int = 3, **more: nn.Module):
        super().__init__()
        self.embed = nn.Conv2d(2, width, 3, bias=False)
        self.qkv = nn.Linear(width, 4)
        self.norm1 = nn.LayerNorm(4)
        for name, module in more.items():
            self.add_module(name, module)


def test_an_angle_and_a_change_that_can_be_worked_out_by_hand():
    turned = difference([[3.0, 0.0]], [[3.0, 4.0]])

    assert turned.cosine == pytest.approx(3 / 5, abs=1e-15)
    assert turned.norm_ratio == pytest.approx(4 / 3, abs=1e-15)
    assert (turned.norm_before, turned.norm_after, turned.norm_delta) == (3.0, 5.0, 4.0)


@given(PAIRS, st.floats(0.1, 10))
def test_scaling_a_weight_turns_nothing_and_changes_its_norm_by_the_factor(pairs, factor):
    before = [x for x, _ in pairs]
    scaled = difference(before, [x * factor for x in before])
    if not any(before):
        assert (scaled.cosine, scaled.norm_ratio) == (None, None)
    else:
        assert scaled.cosine == pytest.approx(1, abs=1e-5)
        assert scaled.norm_ratio == pytest.approx(abs(factor - 1), abs=1e-5)


@given(PAIRS)
def test_cosine_and_change_obey_the_law_of_cosines(pairs):
    each = difference([x for x, _ in pairs], [y for _, y in pairs])
    if each.cosine is None:
        assert 0 in (each.norm_before, each.norm_after)
    else:
        a, b = each.norm_before, each.norm_after
        assert -1 <= each.cosine <= 1
        assert each.norm_delta**2 == pytest.approx(a * a + b * b - 2 * a * b * each.cosine, rel=1e-9, abs=1e-9 * (a + b) ** 2)


def test_a_small_turn_of_a_large_float32_weight_is_seen():
    before = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[0, 0] += 1
    each = LayerDifference("qkv", "qkv", "qkv", 0.0, before, after)

    a, b = before.double().flatten(), after.double().flatten()
    assert each.cosine == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=1e-15)
    assert each.cosine < 1


@pytest.mark.parametrize(
    ("before", "after", "cosine", "ratio"),
    [([0.0, 0.0], [1.0, 0.0], None, None), ([2.0, 0.0], [0.0, 0.0], None, 1.0), ([0.0], [0.0], None, None)],
)
def test_zeros_give_none_and_never_nan(before, after, cosine, ratio):
    each = difference(before, after)

    assert (each.cosine, each.norm_ratio) == (cosine, ratio)
    assert json.loads(json.dumps(each.to_dict(), allow_nan=False))["cosine"] is None


def test_a_kernel_is_the_matrix_that_a_bias_sees():
    kernel = torch.arange(2 * 3 * 3 * 3.0).view(2, 3, 3, 3)
    each = LayerDifference("up", "sampling", "up", 0.0, torch.zeros_like(kernel), kernel)

    assert torch.equal(each.delta, kernel.double().reshape(2, 27))
    assert difference([0.0, 0.0], [1.0, 2.0]).delta.shape == (2, 1)


def test_all_weights_of_our_backbone_are_there_in_the_order_of_the_flow():
    before = build_backbone("iptv2-tiny")
    after = copy.deepcopy(before)
    found = layer_differences(before, after)

    assert sorted(each.name for each in found) == sorted(name for name, _ in before.named_parameters())
    assert sum(each.parameters for each in found) == sum(weight.numel() for weight in before.parameters())
    assert list(dict.fromkeys(each.place for each in found)) == [
        "embed", "encoder.0.0", "down.0", "encoder.1.0", "up.0", "reduce.0", "decoder.0.0", "output",
    ]  # fmt: skip
    assert all(each.cosine is None or each.cosine == pytest.approx(1, abs=1e-12) for each in found)
    assert all(each.norm_ratio in (None, 0.0) for each in found)
    assert {each.name for each in found if each.has_rank} == {
        name for name, weight in before.named_parameters() if weight.dim() in (2, 4) and weight.shape[1] > 1
    }


def test_a_group_is_stood_for_by_its_matrices_or_else_by_its_vectors():
    net = Toy()
    found = {group: [each.name for each in layers] for group, layers in members(layer_differences(net, net)).items()}

    assert found == {"embed": ["embed.weight"], "qkv": ["qkv.weight"], "norm": ["norm1.weight", "norm1.bias"]}


def test_other_names_and_shapes_are_told_from_both_sides():
    with pytest.raises(UsageError, match=r"only before: nothing; only after: proj.weight, proj.bias"):
        layer_differences(Toy(), Toy(proj=nn.Linear(4, 4)))
    with pytest.raises(UsageError, match=r"only before: proj.weight, proj.bias; only after: nothing"):
        layer_differences(Toy(proj=nn.Linear(4, 4)), Toy())
    with pytest.raises(UsageError, match=r"embed.weight is \[3, 2, 3, 3\] before and \[5, 2, 3, 3\] after"):
        layer_differences(Toy(3), Toy(5))


def test_a_fused_backbone_is_no_other_state_of_the_one_it_was():
    net = build_backbone("iptv2-tiny")
    with pytest.raises(UsageError, match="depthwise1"):
        layer_differences(net, copy.deepcopy(net).fuse())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    before, after = Toy(), Toy()
    with torch.no_grad():
        after.qkv.weight[1, 1] = bad

    with pytest.raises(UsageError, match=r"qkv.weight holds numbers that are not finite after"):
        layer_differences(before, after)
