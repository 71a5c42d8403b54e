"""Norms of task biases and of their gradients, against the matrices themselves."""

import math

import pytest
import torch

from ipt_platform.data.batch import Batch
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.train.layout import bias_layout
from ipt_platform.train.norms import bias_grad_norms, bias_norms, share_of_squares, weight_norms
from ipt_platform.train.state import TrainState, bias_state, new_state
from ipt_platform.train.step import Stepper, StepSettings
from tests.jobs import small_job

pytestmark = pytest.mark.usefixtures("one_thread")

TASKS = ("denoise", "deblur")
CPU = torch.device("cpu")


@pytest.fixture
def model() -> BiasedModel:
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    for weight in backbone.parameters():
        torch.nn.init.normal_(weight, 0, 0.1)
    layout = bias_layout(
        backbone, small_job(model={"backbone": "iptv2-nano", "bias": {"rank": 3, "depthwise": True}}).model.bias
    )
    made = BiasedModel(backbone, {task: TaskBias(backbone, layout) for task in TASKS})
    for number, (_, bias) in enumerate(made.all_biases()):
        for factor in bias.parameters():
            torch.nn.init.normal_(factor, 0, 0.02 * (number + 1))
    return made


def batch(seed: int) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    pairs = {
        task: (
            torch.rand(1, 32, 32, 3, generator=rng).numpy(),
            torch.randint(256, (1, 32, 32, 3), generator=rng).byte().numpy(),
        )
        for task in TASKS
    }
    return Batch(0, pairs, ["a"], [], [])


def gradients(state: TrainState, settings: StepSettings) -> dict[str, float]:
    """Norms of a step without clipping, by task."""
    Stepper(state, settings, state.model, CPU)(batch(1))
    return {
        task: math.hypot(*(float(each.grad.norm()) for each in bias.parameters() if each.grad is not None))
        for task, bias in state.model.all_biases()
    }


def test_the_norm_of_a_bias_is_that_of_the_matrix_that_is_never_formed(model):
    zero = {name: torch.zeros_like(weight) for name, weight in model.backbone.named_parameters()}
    expected = {
        task: math.sqrt(sum(float(bias.merge(name, zero[name]).detach().double().square().sum()) for name in bias.layout))
        for task, bias in model.all_biases()
    }

    assert bias_norms(model) == pytest.approx(expected, rel=1e-4)
    assert min(expected.values()) > 0


def test_a_fresh_bias_has_no_norm():
    backbone = build_backbone("iptv2-nano")

    assert bias_norms(BiasedModel(backbone, {"t": TaskBias(backbone, {"output.weight": 2})})) == {"t": 0.0}
    assert bias_norms(BiasedModel(backbone, {})) == share_of_squares(BiasedModel(backbone, {})) == {}


def test_the_norm_of_the_weights_is_over_those_that_are_biased(model):
    weights = dict(model.backbone.named_parameters())
    layout = model.bias("deblur").layout
    expected = math.sqrt(sum(float(weights[name].detach().double().square().sum()) for name in layout))
    unbiased = set(weights) - set(layout)

    # of workers that all have everything one counts
    found = weight_norms(model, [share_of_squares(model), share_of_squares(model)])

    assert unbiased
    assert found == pytest.approx({"denoise": expected, "deblur": expected}, rel=1e-5)


@pytest.mark.parametrize("clip", [None, 1e-4])
def test_gradients_are_those_before_clipping(model, clip):
    settings = StepSettings(bias_grad_clip=clip, average_decay=None)
    knobs = {"lr": 0.0, "bias_lr": 0.0, "weight_decay": 0.0, "bias_weight_decay": 0.0, "betas": (0.9, 0.99), "average": False}
    state = new_state(model, **knobs)
    expected = gradients(state, StepSettings(bias_grad_clip=None, average_decay=None))

    result = Stepper(state, settings, state.model, CPU)(batch(1))

    found = bias_grad_norms(state, result.norms)
    assert found == pytest.approx(expected, rel=1e-4)
    assert math.hypot(*found.values()) == pytest.approx(result.bias_grad_norm, rel=1e-5)


def test_tasks_that_are_apart_are_clipped_apart(model):
    model.backbone.requires_grad_(False)
    state = bias_state(model, bias_lr=0.0, bias_weight_decay=0.0, betas=(0.9, 0.99), average=False)
    expected = gradients(state, StepSettings(bias_grad_clip=None, average_decay=None, apart=True))

    result = Stepper(state, StepSettings(bias_grad_clip=1e-4, average_decay=None, apart=True), state.model, CPU)(batch(1))

    assert bias_grad_norms(state, result.norms) == pytest.approx(expected, rel=1e-4)
    assert expected["denoise"] != pytest.approx(expected["deblur"], rel=1e-3)
