"""Layouts of task biases: ranks of single layer groups, and groups that each task has for itself."""

import pytest

from ipt_platform.model.bias import DENSE, TaskBias, layout_parameters
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.groups import layer_groups, matrices_of
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.train.layout import bias_layout, replaced_weights

BACKBONE = build_backbone("iptv2-nano")
GROUPS = layer_groups(BACKBONE)
SHAPES = {name: tuple(weight.shape) for name, weight in BACKBONE.named_parameters()}


def full(name: str) -> int:
    rows, *rest = SHAPES[name]
    columns = 1
    for size in rest:
        columns *= size
    return min(rows, columns)


def test_ranks_of_single_groups_stand_in_the_place_of_rank():
    layout = bias_layout(BACKBONE, BiasSpec(rank=4, targets=("qkv", "ffn", "proj"), ranks={"qkv": 1, "ffn": 1000}))

    own = {"qkv": 1, "ffn": 1000, "proj": 4}
    assert layout == {name: min(own[GROUPS[name]], full(name)) for name in layout}
    assert {*layout} == {name for name in SHAPES if GROUPS[name] in own and len(SHAPES[name]) in (2, 4)}


def test_ranks_that_all_say_the_same_are_a_rank():
    targets = ("qkv", "ffn")

    assert bias_layout(BACKBONE, BiasSpec(rank=9, targets=targets, ranks=dict.fromkeys(targets, 3))) == bias_layout(
        BACKBONE, BiasSpec(rank=3, targets=targets)
    )


def test_ranks_leave_depthwise_weights_alone():
    layout = bias_layout(BACKBONE, BiasSpec(rank=2, targets=("qkv",), ranks={"qkv": 3}, depthwise=True))

    assert {GROUPS[name]: rank for name, rank in layout.items()} == {"qkv": 3, "depthwise": DENSE}


@pytest.mark.parametrize("group", sorted({*GROUPS.values()}))
def test_every_group_can_be_replaced_whole_its_vectors_too(group):
    bias = BiasSpec(rank=2, targets=("qkv",) if group != "qkv" else ("ffn",), replace=(group,))

    layout = bias_layout(BACKBONE, bias)

    replaced = {name for name in SHAPES if GROUPS[name] == group}
    assert {*replaced_weights(BACKBONE, bias)} == replaced
    assert {name for name, rank in layout.items() if rank == DENSE} == replaced
    assert layout_parameters(BACKBONE, layout) == count_parameters(TaskBias(BACKBONE, layout))


def test_a_task_may_have_nothing_but_what_it_replaces():
    bias = BiasSpec(targets=(), replace=("output", "norm"))

    assert bias_layout(BACKBONE, bias) == {name: DENSE for name in SHAPES if GROUPS[name] in ("output", "norm")}


def test_without_either_a_layout_is_what_it_was():
    bias = BiasSpec(rank=4)

    assert replaced_weights(BACKBONE, bias) == []
    assert [*bias_layout(BACKBONE, bias)] == matrices_of(BACKBONE, {*bias.targets})
