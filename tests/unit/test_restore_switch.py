"""Changing the task: to the bit what a fresh merge gives, however often and in whatever order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from ipt_platform.checkpoint.load import merged_for
from ipt_platform.errors import NotFoundError
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.restore.switch import TaskSwitch, mixture

GROUPS = {"derain": {"qkv", "ffn"}, "dehaze": {"output", "sampling"}, "desnow": {"depthwise", "qkv"}}


def biased() -> BiasedModel:
    torch.manual_seed(0)
    sizes = {"dim": 4, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (1, 2)}
    backbone = IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=2).requires_grad_(False)
    biases = {task: TaskBias(backbone, constant_ranks(backbone, matrices_of(backbone, g), 2)) for task, g in GROUPS.items()}
    for parameter in (*backbone.parameters(), *(factor for bias in biases.values() for factor in bias.parameters())):
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return BiasedModel(backbone, biases)


MODEL = biased()
PICTURE = torch.rand(1, 3, 16, 32)
WANT = {task: merged_for(MODEL, task)(PICTURE) for task in GROUPS}


@settings(max_examples=30)
@given(st.lists(st.sampled_from(list(GROUPS)), min_size=1, max_size=6), st.integers(1, 3))
def test_every_change_gives_what_a_fresh_merge_gives(tasks, keep):
    switch, before = TaskSwitch(MODEL, keep), fingerprint(MODEL.backbone)

    for task in tasks:
        assert torch.equal(switch.restorer(task)(PICTURE), WANT[task])

    assert fingerprint(MODEL.backbone) == before


def test_the_tasks_that_were_asked_for_last_are_merged_once():
    switch = TaskSwitch(MODEL, keep=2)

    for task, merges in (
        ("derain", 1),
        ("dehaze", 2),
        ("derain", 2),
        ("derain", 2),
        ("desnow", 3),
        ("derain", 3),
        ("dehaze", 4),
    ):
        switch.restorer(task)
        assert switch.merges == merges, task


def test_what_no_bias_is_for_takes_no_memory_of_its_own():
    restorer = TaskSwitch(MODEL).restorer("dehaze")

    own = {name: weight.data_ptr() for name, weight in MODEL.backbone.named_parameters()}
    apart = {name for name, weight in restorer.named_parameters() if weight.data_ptr() != own[name]}
    assert apart == set(MODEL.bias("dehaze").layout)


def test_the_tasks_differ():
    assert len({restored.numpy().tobytes() for restored in WANT.values()}) == 3


def test_a_task_without_a_bias_is_named_with_those_there_are():
    with pytest.raises(NotFoundError, match="no bias for task 'denoise'; the model has: derain, dehaze, desnow"):
        TaskSwitch(MODEL).restorer("denoise")


def test_a_mixture_is_the_backbone_with_the_sum_of_shared_biases():
    shares, before = {"derain": 0.7, "dehaze": 0.2, "desnow": 0.1}, fingerprint(MODEL.backbone)
    weights = {name: weight.clone() for name, weight in MODEL.backbone.named_parameters()}
    for task, share in shares.items():
        bias = MODEL.bias(task)
        for name, rank in bias.layout.items():
            own = (
                bias.factor(name, "dense")
                if rank == 0
                else bias.factor(name, "B1").flatten(1) @ bias.factor(name, "B2").flatten(1)
            )
            weights[name] += share * own.view(weights[name].shape)

    with torch.inference_mode():
        mixed, expected = mixture(MODEL, shares)(PICTURE), functional_call(MODEL.backbone, weights, (PICTURE,))

    torch.testing.assert_close(mixed, expected, atol=1e-4, rtol=1e-4)
    assert (mixed - WANT["derain"]).abs().max() > 1e-3
    torch.testing.assert_close(mixture(MODEL, {"desnow": 1.0})(PICTURE), WANT["desnow"], atol=1e-4, rtol=1e-4)
    assert fingerprint(MODEL.backbone) == before
    with pytest.raises(NotFoundError, match="no bias for task 'lowlight'"):
        mixture(MODEL, {"derain": 0.5, "lowlight": 0.5})
