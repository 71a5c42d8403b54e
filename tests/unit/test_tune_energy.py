"""Rank energy: differences of known spectra, effective rank by closed form, budgets against sums by hand."""

import copy
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from ipt_platform.errors import UsageError
from ipt_platform.model.bias import constant_ranks, layout_parameters, proportional_ranks
from ipt_platform.tune.difference import layer_differences
from ipt_platform.tune.energy import (
    budgets,
    cumulative,
    effective_rank,
    energy,
    kept_of_all,
    layer_energies,
    propose_rank,
    smallest_rank,
    spectra,
)

SPECTRUM = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)  # squares 16, 4, 1 of 21
VALUES = st.lists(st.floats(0, 1e3).filter(lambda value: value == 0 or value > 1e-6), min_size=1, max_size=9)


def falling(values: list[float]) -> Tensor:
    return torch.tensor(sorted(values, reverse=True), dtype=torch.float64)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(6, 8)
        self.qkv_depthwise = nn.Parameter(torch.rand(8, 1, 3, 3))
        self.up = nn.Conv2d(3, 4, 3, bias=False)
        self.output = nn.Conv2d(4, 2, 3, bias=False)
        self.norm1 = nn.LayerNorm(4)


def moved(**values: list[float]) -> tuple[Toy, Toy]:
    """A network before and after a change of chosen singular values, as kernels and matrices both; float64."""
    torch.manual_seed(0)
    before = Toy().double()
    after = copy.deepcopy(before)
    with torch.no_grad():
        for name, spectrum in values.items():
            weight = after.get_parameter(f"{name}.weight")
            left = torch.linalg.qr(torch.randn(weight.shape[0], len(spectrum), dtype=torch.float64)).Q
            right = torch.linalg.qr(torch.randn(weight[0].numel(), len(spectrum), dtype=torch.float64)).Q
            weight += (left @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ right.T).view(weight.shape)
        after.qkv_depthwise += 1
        after.norm1.weight += 1
    return before, after


def test_the_singular_values_of_a_difference_are_found_and_vectors_and_depthwise_left_out():
    before, after = moved(qkv=[3.0, 2.0, 1.0], up=[5.0, 0.5])
    found = spectra(layer_differences(before, after))

    assert {name: len(values) for name, values in found.items()} == {"qkv.weight": 6, "up.weight": 4, "output.weight": 2}
    assert found["qkv.weight"].tolist() == pytest.approx([3, 2, 1, 0, 0, 0], abs=1e-12)
    assert found["up.weight"].tolist() == pytest.approx([5, 0.5, 0, 0], abs=1e-12)
    assert not found["output.weight"].any()
    assert all(values.dtype == torch.float64 for values in found.values())


def test_singular_values_are_those_of_a_float64_matrix_also_of_a_float32_network():
    before, after = (net.float() for net in moved(qkv=[1.0, 1e-5]))
    delta = (after.qkv.weight.double() - before.qkv.weight.double()).detach()
    found = spectra(layer_differences(before, after))["qkv.weight"]

    eigenvalues = torch.linalg.eigvalsh(delta.T @ delta).flip(0).clamp_min(0)
    assert found[:2].tolist() == pytest.approx(eigenvalues[:2].sqrt().tolist(), rel=1e-5)


def test_energy_is_the_share_of_squares():
    assert [energy(SPECTRUM, rank) for rank in range(6)] == pytest.approx([0, 16 / 21, 20 / 21, 1, 1, 1])
    assert [smallest_rank(SPECTRUM, share) for share in (0.0, 0.5, 16 / 21, 0.8, 0.95, 0.96, 1.0)] == [0, 1, 1, 2, 2, 3, 3]


def test_a_layer_that_did_not_change_loses_nothing_and_needs_no_rank():
    zero = torch.zeros(3, dtype=torch.float64)

    assert [energy(zero, rank) for rank in range(4)] == [1, 1, 1, 1]
    assert (smallest_rank(zero, 0.99), effective_rank(zero)) == (0, 0)


@given(VALUES)
def test_energy_grows_to_one_by_ever_smaller_steps(values):
    found = cumulative(falling(values))
    steps = found.diff()

    assert found[-1] == 1
    if any(values):
        assert found[0] == 0
        assert bool((steps >= -1e-15).all())
        assert bool((steps.diff() <= 1e-12).all())


@given(VALUES, st.floats(0, 1))
def test_the_smallest_rank_keeps_the_share_and_one_less_does_not(values, share):
    spectrum = falling(values)
    rank = smallest_rank(spectrum, share)

    assert energy(spectrum, rank) >= share
    assert rank == 0 or energy(spectrum, rank - 1) < share


@given(st.integers(1, 8), st.floats(0.01, 100))
def test_n_equal_directions_have_the_effective_rank_n(n, size):
    assert effective_rank(torch.tensor([size] * n + [0.0], dtype=torch.float64)) == pytest.approx(n)


def test_effective_rank_is_the_entropy_of_the_singular_values_themselves():
    p = [4 / 7, 2 / 7, 1 / 7]

    assert effective_rank(SPECTRUM) == pytest.approx(math.exp(-sum(each * math.log(each) for each in p)))


def test_a_row_per_layer_says_what_it_needs():
    before, after = moved(qkv=[3.0, 2.0, 1.0], up=[5.0, 0.5])
    differences = layer_differences(before, after)
    rows = {row.name: row for row in layer_energies(differences, spectra(differences))}

    qkv = rows["qkv.weight"]
    assert list(rows) == ["qkv.weight", "up.weight", "output.weight"]
    assert (qkv.group, qkv.full_rank, qkv.ranks) == ("qkv", 6, (2, 3, 3))  # squares 9, 4, 1 of 14
    assert qkv.share == pytest.approx(14 / (14 + 25.25))
    assert rows["up.weight"].ranks == (1, 1, 1)  # 25 of 25.25 is 99.01 %
    assert rows["output.weight"].to_dict() == {
        "name": "output.weight", "group": "output", "place": "output", "depth": rows["output.weight"].depth,
        "full_rank": 2, "effective_rank": 0.0, "share": 0.0, "rank_90": 0, "rank_95": 0, "rank_99": 0,
    }  # fmt: skip


def test_budgets_set_constant_against_proportional_ranks_of_no_more_parameters():
    before, after = moved(qkv=[3.0, 2.0, 1.0, 0.5], up=[5.0, 0.5, 0.25])
    found = spectra(layer_differences(before, after))
    names = list(found)
    whole = sum(values.square().sum().item() for values in found.values())

    rows = budgets(before, found)

    assert [row.rank for row in rows] == [1, 2, 4, 6]
    for row in rows:
        sides = (row.constant, constant_ranks), (row.proportional, proportional_ranks)
        for side, layout_of in sides:
            layout = layout_of(before, names, row.rank)
            kept = {name: found[name][: layout[name]].square().sum().item() for name in names}
            assert side.parameters == layout_parameters(before, layout)
            assert side.energy == pytest.approx(sum(kept.values()) / whole)
            for name in ("qkv.weight", "up.weight"):
                assert side.layers[name] == pytest.approx(kept[name] / found[name].square().sum().item())
        assert row.proportional.parameters <= row.constant.parameters
        json.dumps(row.to_dict(), allow_nan=False)
    assert rows[-1].constant.energy == 1
    assert [row.rank for row in budgets(before, found, [3])] == [3]


def test_the_proposed_rank_is_the_smallest_that_keeps_enough_of_all_layers_together():
    before, after = moved(qkv=[3.0, 2.0, 1.0], up=[5.0, 0.5])
    found = spectra(layer_differences(before, after))  # squares: rank 1 keeps 9 + 25, rank 2 also 4 + 0.25, of 39.25

    proposal = propose_rank(before, found)

    assert proposal.rank == 2
    assert proposal.energy == pytest.approx(38.25 / 39.25)
    assert proposal.energy == pytest.approx(kept_of_all(found, dict.fromkeys(found, 2)))
    assert proposal.parameters == 2 * (8 + 6) + 2 * (4 + 27) + 2 * (2 + 36)
    assert proposal.reason.startswith("rank 2 keeps 97.45% of the energy of all 3 layers, and rank 1 only 86.62%")
    assert [propose_rank(before, found, share).rank for share in (0.1, 0.86, 0.98)] == [1, 1, 3]


def test_without_a_change_there_is_no_rank_to_propose():
    net = Toy()
    with pytest.raises(UsageError, match="no layer of the target groups has changed"):
        propose_rank(net, spectra(layer_differences(net, net)))
    with pytest.raises(UsageError, match="no layer of the target groups has changed"):
        propose_rank(net, {})
