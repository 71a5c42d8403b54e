"""One optimizer step against closed forms; what may not happen to a state when a step goes wrong."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ipt_platform.data.batch import Batch
from ipt_platform.errors import TrainingError
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.train.schedule import learning_rate_factor
from ipt_platform.train.state import TrainState, bias_state, new_state, update_average
from ipt_platform.train.step import LOSSES, Stepper, StepSettings, batch_tensors, split

CPU = torch.device("cpu")
PLAIN = StepSettings(loss="l1", grad_clip=None, bias_grad_clip=None, average_decay=None)


class Mixing(nn.Module):
    """Mixes the colours of each pixel by a 3x3 matrix: a backbone whose gradients can be written down."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(3) * 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("oi,bihw->bohw", self.matrix, x)


def toy(tasks=(), **changes) -> TrainState:
    torch.manual_seed(0)
    backbone = Mixing()
    biases = {task: TaskBias(backbone, {"matrix": 2}) for task in tasks}
    for bias in biases.values():
        nn.init.normal_(bias.factor("matrix", "B1"), std=0.1)
    rates = {"lr": 1e-3, "bias_lr": 1e-2, "weight_decay": 0.1, "bias_weight_decay": 0.5}
    return new_state(BiasedModel(backbone, biases), **(rates | {"betas": (0.9, 0.999), "average": True} | changes))


def alive(net: IPTV2) -> IPTV2:
    """With torch's usual weights where a fresh backbone has zeros: as the identity it would pass too much."""
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    return net


def small(tasks=("denoise", "deblur"), **changes) -> TrainState:
    torch.manual_seed(0)
    sizes = {"dim": 8, "blocks": (1, 1), "decoder": (1,), "refinement": 1, "heads": (1, 2)} | changes
    net = alive(IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=2))
    layout = constant_ranks(net, matrices_of(net, {"qkv", "ffn", "output"}), 2)
    model = BiasedModel(net, {task: TaskBias(net, layout) for task in tasks})
    return new_state(
        model, lr=1e-3, bias_lr=1e-2, weight_decay=0, bias_weight_decay=0, betas=(0.9, 0.999), average=True
    )  # fmt: skip


def batch(seed=0, step=0, **crops: int) -> Batch:
    """Dark clean crops under brighter degraded ones: with `Mixing` every error is positive."""
    rng = np.random.default_rng(seed)
    tasks = {
        task: (rng.uniform(0.6, 1, (n, 16, 16, 3)).astype(np.float32), rng.integers(0, 100, (n, 16, 16, 3), dtype=np.uint8))
        for task, n in crops.items()
    }
    return Batch(step, tasks, [f"picture-{i}" for i in range(max(crops.values()))], [], [])


def stepper(state: TrainState, settings: StepSettings = PLAIN) -> Stepper:
    return Stepper(state, settings, state.model, CPU)


def gradients(state: TrainState) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in state.model.named_parameters()}


def everything(state: TrainState) -> dict[str, Tensor]:
    assert state.average is not None
    moments = {f"{i}.{key}": value for i, kept in state.optimizer.state_dict()["state"].items() for key, value in kept.items()}
    average = {f"average.{name}": value for name, value in state.average.state_dict().items()}
    return {name: value.clone() for name, value in (state.model.state_dict() | average | moments).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_schedule_rises_by_line_and_falls_by_half_a_cosine():
    factors = [learning_rate_factor(step, total=11, warmup=4, final_ratio=0.1) for step in range(11)]

    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert factors[4:] == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * i / 6)) / 2 for i in range(7)])
    assert factors[7] == pytest.approx((1 + 0.1) / 2)  # half way down
    assert factors[-1] == 0.1


@pytest.mark.parametrize("warmup", [0, 1, 5, 9, 10, 20])
def test_schedule_never_exceeds_its_peak_nor_asks_for_a_division_by_nothing(warmup):
    factors = [learning_rate_factor(step, total=10, warmup=warmup, final_ratio=0) for step in range(10)]

    assert all(0 <= factor <= 1 for factor in factors)
    assert all(a <= b for a, b in pairwise(factors[:warmup]))
    assert all(a >= b for a, b in pairwise(factors[warmup:]))


def test_losses_are_their_formulas():
    error = torch.tensor([-2.0, -1e-3, 0.0, 1e-3, 0.5], dtype=torch.float64)

    assert LOSSES["l1"](error).tolist() == [2.0, 1e-3, 0, 1e-3, 0.5]
    assert LOSSES["charbonnier"](error).tolist() == pytest.approx([math.hypot(x, 1e-3) for x in error.tolist()], abs=1e-15)


def test_crops_arrive_as_channels_first_in_zero_to_one():
    given = batch(a=2)
    degraded, clean = batch_tensors(given, CPU)["a"]

    assert degraded.shape == clean.shape == (2, 3, 16, 16)
    assert degraded[1, 2, 3, 4] == given.tasks["a"][0][1, 3, 4, 2]
    assert clean[1, 2, 3, 4] == np.float32(given.tasks["a"][1][1, 3, 4, 2]) / np.float32(255)


def test_loss_and_gradient_are_means_over_all_crops_so_that_a_task_weighs_as_much_as_it_has_crops():
    state, given = toy(), batch(denoise=3, deblur=1)

    result = stepper(state)(given)

    # error = 2x - clean > 0: the loss is its mean, dL/dM[o, i] = mean over crops and pixels of x[i] / 3
    for task, (degraded, clean) in given.tasks.items():
        assert result.loss[task] == pytest.approx((2 * degraded - clean / 255).mean(), rel=1e-5)
    every = np.concatenate([degraded for degraded, _ in given.tasks.values()])
    want = np.tile(every.mean((0, 1, 2)) / 3, (3, 1))
    np.testing.assert_allclose(gradients(state)["backbone.matrix"].numpy(), want, rtol=1e-5)
    assert result.grad_norm == pytest.approx(np.linalg.norm(want), rel=1e-5)
    assert result.bias_grad_norm == 0


def test_gradients_of_weights_and_biases_are_clipped_apart():
    free, clipped, given = toy(["denoise"]), toy(["denoise"]), batch(denoise=2)
    want = stepper(free)(given)
    G = gradients(free)

    got = stepper(clipped, StepSettings(loss="l1", grad_clip=0.01, bias_grad_clip=1e9, average_decay=None))(given)

    assert (got.grad_norm, got.bias_grad_norm) == (want.grad_norm, want.bias_grad_norm)  # as they were before clipping
    biases = {name: g for name, g in G.items() if name.startswith("biases")}
    assert want.bias_grad_norm == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in biases.values())), rel=1e-6)
    clipped_to = gradients(clipped)
    torch.testing.assert_close(clipped_to["backbone.matrix"], G["backbone.matrix"] * (0.01 / want.grad_norm), rtol=1e-4, atol=0)
    for name, g in biases.items():
        assert torch.equal(clipped_to[name], g)


def test_weights_and_biases_have_their_own_rate_and_decay():
    state = toy(["denoise"])
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}

    stepper(state)(batch(denoise=2))

    # AdamW's first step: decay, then lr * sign of the gradient (both moments are corrected to g and g^2)
    for name, parameter in state.model.named_parameters():
        lr, decay = (1e-2, 0.5) if name.startswith("biases") else (1e-3, 0.1)
        want = before[name] * (1 - lr * decay) - lr * parameter.grad.sign()
        torch.testing.assert_close(parameter.detach(), want, rtol=0, atol=2e-6)


def test_the_average_follows_its_formula():
    average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 5.0)
    want = 5.0
    for step in range(300):
        nn.init.constant_(model.weight, float(step))
        update_average(average, model, step, 0.9)
        decay = min(0.9, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * step
        assert float(average.weight.detach()) == pytest.approx(want, rel=1e-4)
    # a long time after the start it lags decay / (1 - decay) = 9 steps behind
    assert float(average.weight.detach()) == pytest.approx(299 - 9, abs=0.5)


def test_a_step_moves_the_average_towards_the_new_weights():
    state = toy(["denoise"])
    old = {name: value.clone() for name, value in state.average.state_dict().items()}

    stepper(state, StepSettings(average_decay=0.999))(batch(denoise=2))

    for name, value in state.average.state_dict().items():
        torch.testing.assert_close(value, 0.1 * old[name] + 0.9 * state.model.state_dict()[name])
        assert not value.requires_grad


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_the_gradients_of_the_whole(parts):
    whole, in_parts, given = small(), small(), batch(denoise=8, deblur=4)

    one = stepper(whole, StepSettings(grad_clip=None, bias_grad_clip=None))(given)
    other = stepper(in_parts, StepSettings(grad_clip=None, bias_grad_clip=None, accumulate=parts))(given)

    assert other.loss == pytest.approx(one.loss, rel=1e-5)
    G = gradients(in_parts)
    for name, grad in gradients(whole).items():
        torch.testing.assert_close(G[name], grad, rtol=1e-4, atol=1e-6, msg=name)


class Wrapped(nn.Module):
    """A model as DDP or a compiler hands it back."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.model(inputs)


@pytest.mark.parametrize("parts", [1, 2])
def test_tasks_that_share_nothing_go_one_after_the_other_and_learn_the_same_to_the_bit(parts):
    one, other = biases_of(small().model), biases_of(small().model)
    calls: list[list[str]] = []
    one.model.register_forward_hook(lambda module, given, restored: calls.append(list(given[0])))
    settings = StepSettings(apart=True, accumulate=parts, bias_grad_clip=0.01)

    for seed in range(2):
        given = batch(seed=seed, denoise=4, deblur=2)
        alone = stepper(one, settings)(given)
        together = Stepper(other, settings, Wrapped(other.model), CPU)(given)
        assert alone == together

    assert calls == [["denoise"], ["deblur"]] * parts * 2
    assert same(one.model.state_dict(), other.model.state_dict())
    assert same(one.average.state_dict(), other.average.state_dict())


def biases_of(model: BiasedModel) -> TrainState:
    model.backbone.requires_grad_(False)
    return bias_state(model, bias_lr=1e-2, bias_weight_decay=0, betas=(0.9, 0.999), average=True)


def test_parts_take_every_crop_of_every_task_once():
    tensors = batch_tensors(batch(a=4, b=2), CPU)

    pieces = split(tensors, 2)

    assert [{task: len(clean) for task, (_, clean) in piece.items()} for piece in pieces] == [{"a": 2, "b": 1}] * 2
    for task in tensors:
        for side in (0, 1):
            assert torch.equal(torch.cat([piece[task][side] for piece in pieces]), tensors[task][side])


def test_recomputing_activations_takes_the_same_step():
    plain, saving, given = small(), small(activation_checkpointing=True), batch(denoise=2, deblur=2)

    for state in (plain, saving):
        for step in range(2):  # in the second step B1 is no longer zero
            stepper(state, StepSettings())(given)
            state.step = step + 1

    for (name, one), other in zip(everything(plain).items(), everything(saving).values(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-7, msg=name)


def spoilt(given: Batch, task: str, value: float) -> Batch:
    given.tasks[task][0][-1, 3, 3, 1] = value
    return given


@pytest.mark.parametrize("loss", ["l1", "charbonnier"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_nothing_and_is_named(loss, value):
    state = small()
    take = stepper(state, StepSettings(loss=loss))
    take(batch(denoise=2, deblur=2))
    state.step = 1
    before = everything(state)

    with pytest.raises(TrainingError, match=r"step 1: the loss of deblur is not finite on picture-0, picture-1\."):
        take(spoilt(batch(seed=1, step=1, denoise=2, deblur=2), "deblur", value))

    assert same(everything(state), before)
    take(batch(seed=2, step=1, denoise=2, deblur=2))  # and one can go on
    assert all(torch.isfinite(value).all() for value in everything(state).values())


def test_a_loss_that_overflows_with_finite_gradients_spoils_the_gradients_too():
    # then other workers, whose own losses are fine, see it in the averaged gradients
    state = toy(["denoise"])
    nn.init.constant_(state.model.backbone.matrix, 3e36)
    before = everything(state)

    with pytest.raises(TrainingError, match="the loss of denoise is not finite"):
        stepper(state)(batch(denoise=2))

    assert same(everything(state), before)
    assert all(torch.isnan(p.grad).all() for p in state.model.parameters())


def test_a_gradient_that_is_not_finite_changes_nothing_either():
    state = toy()
    state.model.backbone.matrix.register_hook(lambda grad: grad * math.inf)
    before = everything(state)

    with pytest.raises(TrainingError, match=r"a gradient is not finite .* holds picture-0, picture-1; lower"):
        stepper(state)(batch(denoise=2))

    assert same(everything(state), before)


def test_bf16_steps_stay_finite_and_near_those_of_fp32():
    losses = {}
    for precision in ("fp32", "bf16"):
        state = small()
        take = stepper(state, StepSettings(precision=precision))
        for step in range(4):
            losses.setdefault(precision, []).append(take(batch(denoise=2, deblur=2)).loss["denoise"])
            state.step = step + 1
        assert all(p.dtype == torch.float32 for p in state.model.parameters())
        assert all(torch.isfinite(value).all() for value in everything(state).values())

    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["bf16"] != losses["fp32"]
    assert losses["fp32"][-1] < losses["fp32"][0]


def test_a_compiled_model_takes_the_same_steps():
    """With the backend that runs the graphs as they are traced, forward and backward; what makes kernels of them is torch's."""
    plain, compiled = small(["denoise"], refinement=0), small(["denoise"], refinement=0)
    forward = torch.compile(compiled.model, backend="aot_eager")
    assert isinstance(forward, nn.Module)
    takes = (stepper(plain, StepSettings()), Stepper(compiled, StepSettings(), forward, CPU))

    for step in range(3):
        one, other = (take(batch(seed=step, denoise=2)) for take in takes)
        plain.step = compiled.step = step + 1
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-2)


def test_a_copy_of_the_state_is_not_touched_by_training():
    state = small()
    kept = copy.deepcopy(state.average.state_dict())

    stepper(state, StepSettings(average_decay=None))(batch(denoise=2, deblur=2))

    assert same(state.average.state_dict(), kept)
    assert not same(state.model.state_dict(), kept)
