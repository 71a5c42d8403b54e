"""Ranks of task biases on layers of any shape: never above full rank, never above the budget."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ipt_platform.model.bias import (
    DENSE,
    TaskBias,
    constant_ranks,
    full_rank,
    is_depthwise,
    layout_parameters,
    proportional_ranks,
)
from ipt_platform.model.counts import count_parameters

sizes = st.integers(1, 40)
linears = st.builds(nn.Linear, sizes, sizes, bias=st.just(False), device=st.just("meta"))
convs = st.builds(nn.Conv2d, sizes, sizes, st.integers(1, 5), bias=st.just(False), device=st.just("meta"))
deeps = sizes.map(lambda n: nn.Conv2d(n, n, 3, groups=n, bias=False, device="meta"))
nets = st.lists(linears | convs | deeps, min_size=1, max_size=6).map(nn.ModuleList)


@settings(max_examples=60)
@given(nets, st.integers(1, 50))
def test_layouts_keep_their_limits(net: nn.ModuleList, rank: int):
    weights = dict(net.named_parameters())
    constant, proportional = (ranks(net, list(weights), rank) for ranks in (constant_ranks, proportional_ranks))

    assert layout_parameters(net, proportional) <= layout_parameters(net, constant)
    for layout in (constant, proportional):
        assert list(layout) == list(weights)
        for name, weight in weights.items():
            assert (layout[name] == DENSE) == is_depthwise(weight)
            assert is_depthwise(weight) or 1 <= layout[name] <= full_rank(weight)
        assert count_parameters(TaskBias(net, layout)) == layout_parameters(net, layout)


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(1, 12))
def test_a_bias_has_the_rank_it_says(n_out: int, n_in: int, kernel: int, rank: int):
    layer = nn.Conv2d(n_in, n_out, kernel, bias=False).double()
    rank = min(rank, full_rank(layer.weight))
    bias = TaskBias(layer, {"weight": rank})
    torch.manual_seed(0)
    for factor in bias.parameters():
        nn.init.normal_(factor)

    nn.init.zeros_(layer.weight)  # what remains of the merged weight is B1 @ B2

    assert int(torch.linalg.matrix_rank(bias.merged(layer)["weight"].flatten(1))) == rank
