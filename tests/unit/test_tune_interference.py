"""Gradients of tasks, who may be trained with whom, and whether the one tells the other."""

from copy import deepcopy
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.model.groups import matrices_of
from ipt_platform.observe.storage import create
from ipt_platform.spec.members import MemberFile
from ipt_platform.spec.source import Document
from ipt_platform.train.evaluation import WITHOUT_ERROR
from ipt_platform.tune.interference import compatible, cosine, gradient, predict, psnr_of, sentence_of
from ipt_platform.tune.members import Outcome
from ipt_platform.tune.seeds import Paired, Verdict

TASKS: tuple[str, ...] = ("a", "b", "c", "d")


def gain(mean: float, verdict: Verdict = "inside the noise") -> Paired:
    return Paired(mean, 0.1, 3, (mean - 0.2, mean + 0.2), 0.5, verdict)


def gains_of(means: dict[tuple[str, str], float]) -> dict[tuple[str, str], Paired]:
    """The same gain in both directions of a pair."""
    return {order: gain(mean) for pair, mean in means.items() for order in permutations(pair, 2)}


# Gradients


@pytest.fixture(scope="module")
def model() -> BiasedModel:
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    layout = dict.fromkeys(matrices_of(backbone, ["output", "qkv", "sampling"]), 2) | dict.fromkeys(
        matrices_of(backbone, ["depthwise"]), 0
    )
    biases = {task: TaskBias(backbone, layout) for task in ("one", "other")}
    with torch.no_grad():
        backbone.output.weight.normal_(0, 0.05)
        for bias in biases.values():
            for factor in bias.parameters():
                factor.normal_(0, 0.1)
    return BiasedModel(backbone, biases).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return {task: (torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)) for task in ("one", "other")}


@pytest.mark.parametrize("loss", ["charbonnier", "l1"])
@pytest.mark.parametrize("task", ["one", "other"])
def test_a_gradient_is_that_of_weights_merged_by_hand(model, pairs, task, loss):
    merged, bias = deepcopy(model.backbone), model.bias(task)
    for name, rank in bias.layout.items():
        weight = merged.get_parameter(name)
        delta = bias.factor(name, "B1").flatten(1) @ bias.factor(name, "B2").flatten(1) if rank else bias.factor(name, "dense")
        weight.data.add_(delta.view_as(weight))
    merged.requires_grad_(True)
    degraded, clean = pairs[task]
    error = merged(degraded) - clean
    value = (error**2 + 1e-6).sqrt() if loss == "charbonnier" else error.abs()
    value.mean().backward()

    found = gradient(model, task, pairs, loss)

    parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in merged.parameters()]
    want = torch.cat([part.flatten() for part in parts])
    assert found.shape == want.shape
    assert torch.allclose(found, want, rtol=1e-4, atol=1e-7)
    assert not found.requires_grad


def test_a_gradient_changes_no_weight_and_leaves_none_behind(model, pairs):
    before = {name: value.clone() for name, value in model.state_dict().items()}

    gradient(model, "one", pairs, "l1")

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_task_agrees_with_itself_and_not_quite_with_another(model, pairs):
    one, again, other = (gradient(model, task, pairs, "charbonnier") for task in ("one", "one", "other"))

    assert cosine(one, again) == pytest.approx(1, abs=1e-5)
    assert cosine(one, -one) == pytest.approx(-1, abs=1e-5)
    assert cosine(one, other) == pytest.approx(cosine(other, one))
    assert -1 < cosine(one, other) < 1
    assert cosine(one, torch.zeros_like(one)) == 0


def test_length_does_not_matter():
    one, other = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])

    assert cosine(one, other) == pytest.approx(24 / 25)
    assert cosine(7 * one, 0.1 * other) == pytest.approx(24 / 25)


# Who may be trained with whom


def test_tasks_of_which_none_loses_are_trained_together():
    gains = gains_of(dict.fromkeys(combinations(TASKS, 2), -0.1))

    assert compatible(TASKS, gains) == [*TASKS]


def test_one_direction_beyond_the_noise_is_enough_to_part_two():
    gains = gains_of(dict.fromkeys(combinations(TASKS, 2), 0.1)) | {("c", "a"): gain(-0.3, "lower")}

    assert compatible(TASKS, gains) == ["a", "b", "d"]


def test_the_largest_group_is_taken_though_an_earlier_one_is_smaller():
    """`a` hurts all others."""
    gains = gains_of(dict.fromkeys(combinations(TASKS, 2), 0.1))
    gains |= {(other, "a"): gain(-1, "lower") for other in "bcd"}

    assert compatible(TASKS, gains) == ["b", "c", "d"]


def test_where_every_pair_hurts_one_task_is_left():
    gains = {pair: gain(-1, "lower") for pair in permutations(TASKS, 2)}

    assert compatible(TASKS, gains) == ["a"]


def test_help_parts_nobody():
    gains = {pair: gain(1, "higher") for pair in permutations(TASKS, 2)}

    assert compatible(TASKS, gains) == [*TASKS]


# Whether gradients tell it


def test_the_order_of_cosines_is_compared_with_the_order_of_gains():
    pairs = [*combinations(TASKS, 2)]
    gains = gains_of({pair: number / 10 for number, pair in enumerate(pairs)})
    cosines = {pair: {10: number**3 / 100 - 0.1, 20: number**3 / 100} for number, pair in enumerate(pairs)}

    found = predict(TASKS, gains, cosines)

    assert (found["pairs"], found["rho"]) == (6, pytest.approx(1))
    assert found["words"] == "the cosine predicts who helps whom"


def test_an_order_that_is_reversed_predicts_nothing():
    pairs = [*combinations(TASKS, 2)]
    gains = gains_of({pair: -number / 10 for number, pair in enumerate(pairs)})

    found = predict(TASKS, gains, {pair: {1: number / 10} for number, pair in enumerate(pairs)})

    assert found["rho"] == pytest.approx(-1)
    assert found["words"] == "the cosine does not predict beyond chance who helps whom"


def test_a_rho_is_spearmans_of_the_means_of_both_directions():
    pairs = [*combinations(TASKS, 2)]
    own, there, back = [0.3, -0.1, 0.2, 0.0, 0.5, 0.4], [1, 5, 2, 6, 0, 3], [3, 1, 7, 4, 5, 9]
    gains = {pair: gain(x) for pair, x in zip(pairs, there, strict=True)}
    gains |= {(other, one): gain(x) for (one, other), x in zip(pairs, back, strict=True)}

    found = predict(TASKS, gains, {pair: {1: value} for pair, value in zip(pairs, own, strict=True)})

    def ranks(values):
        return np.argsort(np.argsort(values))

    want = np.corrcoef(ranks(own), ranks(np.add(there, back)))[0, 1]
    assert found["rho"] == pytest.approx(want)


@pytest.mark.parametrize("tasks", [("a", "b"), ("a", "b", "c")])
def test_of_too_few_pairs_nothing_is_said(tasks):
    pairs = [*combinations(tasks, 2)]
    gains = gains_of({pair: float(number) for number, pair in enumerate(pairs)})

    found = predict(tasks, gains, {pair: {1: float(number)} for number, pair in enumerate(pairs)})

    assert (found["pairs"], found["rho"], found["p"]) == (len(pairs), None, None)
    assert found["words"].endswith("too few to say")


def test_values_that_are_all_the_same_have_no_order():
    gains = gains_of(dict.fromkeys(combinations(TASKS, 2), 0.5))

    found = predict(TASKS, gains, {pair: {1: float(number)} for number, pair in enumerate(combinations(TASKS, 2))})

    assert (found["rho"], found["p"]) == (None, None)
    assert "6 pairs of tasks are too few" not in found["words"]


def test_a_perfect_prediction_is_told_with_its_numbers():
    pairs = [*combinations(TASKS, 2)]
    gains = gains_of({pair: number / 10 for number, pair in enumerate(pairs)})

    found = predict(TASKS, gains, {pair: {1: number / 10} for number, pair in enumerate(pairs)})

    assert found["p"] == 0
    assert sentence_of(found) == "The cosine predicts who helps whom: Spearman +1.00, p = 0, 6 pairs."
    assert sentence_of(predict(("a", "b"), gains, {("a", "b"): {1: 0.5}})) == "One pair of tasks is too few to say."


# Measured


def test_a_set_restored_without_any_error_counts_with_a_number(tmp_path):
    """In reports it is null, as JSON knows no infinity; a task that is perfect everywhere has gains as well."""
    run = create(tmp_path, "a-s0")
    run.path.mkdir(exist_ok=True)
    sets = {
        name: {"a": {"psnr": psnr, "psnr_input": 20.0, "ssim": 1.0, "n": 1}} for name, psnr in (("one", None), ("two", 40.0))
    }
    write_report(run.report, make_report("rgb-uint8", sets, 10, {}, 6, 1.0, 1.0, 0.0))
    member = MemberFile("a-s0", Document({}, {}, "job.yaml"), 0, "a")

    assert psnr_of([Outcome(member, run)]) == {"a": {"a": {0: (WITHOUT_ERROR + 40.0) / 2}}}
