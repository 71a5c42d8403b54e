"""The table of layer groups and the transplant, on networks in which only chosen weights move."""

import copy
import json
import math

import pytest
import torch
from scipy import stats
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.tune.difference import layer_differences
from ipt_platform.tune.sensitivity import PAPER_TABLE_2, GroupRow, Transplant, group_rows, rank_correlation, transplant


class Pair(nn.Module):
    """`x -> proj(qkv(x))`, with numbers that can be followed by hand."""

    def __init__(self, qkv: list, proj: list):
        super().__init__()
        self.qkv = nn.Linear(2, 2)
        self.proj = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.qkv.weight.copy_(torch.tensor(qkv))
            self.qkv.bias.zero_()
            self.proj.weight.copy_(torch.tensor(proj))


def row(group: str, cosine: float | None) -> GroupRow:
    return GroupRow(group, 1, 10, cosine, 0, 0.1, PAPER_TABLE_2.get(group))


def error(target: nn.Module):
    """Squared distance of all weights from those of `target`: every weight adds its own part."""
    return lambda net: sum((a - b).square().sum().item() for a, b in zip(net.parameters(), target.parameters(), strict=True))


def test_a_row_is_the_mean_over_the_layers_and_the_change_of_all_together():
    before = nn.ModuleDict({"a": nn.ModuleDict({"qkv": nn.Linear(2, 1)}), "b": nn.ModuleDict({"qkv": nn.Linear(2, 1)})})
    after = copy.deepcopy(before)
    with torch.no_grad():
        for net, first, second in ((before, [3.0, 0.0], [0.0, 4.0]), (after, [3.0, 4.0], [0.0, 8.0])):
            net["a"]["qkv"].weight.copy_(torch.tensor([first]))
            net["b"]["qkv"].weight.copy_(torch.tensor([second]))
            net["a"]["qkv"].bias.fill_(7)

    (found,) = group_rows(layer_differences(before, after))

    assert (found.group, found.layers, found.parameters, found.without_cosine) == ("qkv", 2, 4, 0)
    assert found.cosine == pytest.approx((0.6 + 1.0) / 2)
    assert found.norm_ratio == pytest.approx(math.sqrt((16 + 16) / (9 + 16)))
    assert (found.paper, found.won_back) == (0.72, None)


def test_layers_without_a_direction_are_left_out_of_the_mean_and_counted():
    before = build_backbone("iptv2-tiny")  # its last layers of branches are zeros
    after = copy.deepcopy(before)
    with torch.no_grad():
        for name, weight in after.named_parameters():
            if name.endswith(("fc1.weight", "fc2.weight")):
                weight.add_(0.1)
    rows = {each.group: each for each in group_rows(layer_differences(before, after))}

    fc1 = [w for name, w in before.named_parameters() if name.endswith("fc1.weight")]
    cosines = [torch.cosine_similarity(w.double().flatten(), (w + 0.1).double().flatten(), dim=0).item() for w in fc1]
    assert rows["ffn"].cosine == pytest.approx(sum(cosines) / 6, abs=1e-6)
    assert (rows["ffn"].layers, rows["ffn"].without_cosine) == (12, 6)
    assert (rows["proj"].cosine, rows["proj"].norm_ratio, rows["proj"].without_cosine) == (None, 0.0, 6)
    with torch.no_grad():
        after.get_parameter("encoder.0.0.channel_attention.proj.weight").add_(0.1)
    assert {row.group: row.norm_ratio for row in group_rows(layer_differences(before, after))}["proj"] is None
    assert rows["depthwise"].paper is None
    assert set(rows) == set(LAYER_GROUPS)
    assert [json.loads(json.dumps(each.to_dict(), allow_nan=False))["group"] for each in rows.values()] == list(rows)


def test_the_group_that_turned_most_stands_first_and_those_without_a_cosine_last():
    before = build_backbone("iptv2-tiny")
    after = copy.deepcopy(before)
    with torch.no_grad():
        after.get_parameter("reduce.0.weight").neg_()
        after.get_parameter("embed.weight").add_(0.05)
    order = [each.group for each in group_rows(layer_differences(before, after))]

    assert order[:2] == ["reduction", "embed"]
    assert order[-2:] == ["output", "proj"]


def test_the_papers_own_order_correlates_with_itself():
    rows = [row(group, cosine) for group, cosine in PAPER_TABLE_2.items()] + [row("depthwise", 0.1)]

    assert rank_correlation(rows) == pytest.approx(1)
    assert rank_correlation([row(each.group, -each.cosine) for each in rows]) == pytest.approx(-1)


def test_the_correlation_is_scipys():
    own = [0.9, 0.2, 0.4, 0.4, 0.8, 0.3, 0.95, 0.7]
    rows = [row(group, cosine) for group, cosine in zip(PAPER_TABLE_2, own, strict=True)]

    assert rank_correlation(rows) == pytest.approx(stats.spearmanr(own, list(PAPER_TABLE_2.values())).statistic, abs=1e-12)


@pytest.mark.parametrize("own", [[0.5, 0.6], [0.5, 0.5, 0.5], [0.5, 0.6, None]])
def test_where_there_is_no_order_there_is_no_correlation(own):
    assert rank_correlation([row(group, cosine) for group, cosine in zip(PAPER_TABLE_2, own, strict=False)]) is None


def test_each_group_wins_back_its_own_part_where_parts_add_up():
    before, after = Pair([[0.0, 0], [0, 0]], [[0.0, 0], [0, 0]]), Pair([[1.0, 1], [1, 0]], [[0.0, 0], [0, 1]])

    found = transplant(before, after, ("qkv", "proj"), error(after))

    assert (found.before, found.after, found.gain) == (4.0, 0.0, 4.0)
    assert found.losses == {"qkv": 1.0, "proj": 3.0}
    assert (found.won_back("qkv"), found.won_back("proj"), found.won_back("ffn")) == (0.75, 0.25, None)
    rows = {each.group: each.won_back for each in group_rows(layer_differences(before, after), found)}
    assert rows == {"qkv": 0.75, "proj": 0.25}


def test_a_product_of_two_layers_is_won_by_neither_alone():
    before, after = Pair([[1.0, 0], [0, 1]], [[1.0, 0], [0, 1]]), Pair([[2.0, 0], [0, 2]], [[0.5, 0], [0, 0.5]])

    def loss(net: nn.Module) -> float:
        x = torch.eye(2)
        return (net.proj(net.qkv(x)) - x).square().sum().item() + (net.qkv.weight - 2 * x).square().sum().item()

    found = transplant(before, after, ("qkv", "proj"), loss)

    # before 0 + 2, after 0 + 0; qkv alone 2 + 0, proj alone 0.5 + 2
    assert found.losses == {"qkv": 2.0, "proj": 2.5}
    assert (found.won_back("qkv"), found.won_back("proj")) == (0.0, -0.25)


def test_the_models_stay_as_they_were_even_if_the_loss_spoils_what_it_gets():
    before, after = build_backbone("iptv2-tiny"), build_backbone("iptv2-tiny")
    states = [copy.deepcopy(net.state_dict()) for net in (before, after)]
    seen = []

    def loss(net: nn.Module) -> float:
        seen.append({name: weight.detach().clone() for name, weight in net.named_parameters()})
        net.eval()
        return float(len(seen))

    transplant(before, after, ("qkv", "ffn"), loss)

    for net, state in zip((before, after), states, strict=True):
        assert net.training
        assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    old, new, qkv, ffn = seen
    for name in old:
        assert torch.equal(qkv[name], new[name] if name.endswith("qkv.weight") else old[name])
        assert torch.equal(ffn[name], new[name] if name.endswith(("fc1.weight", "fc2.weight")) else old[name])


def test_shares_that_cannot_be_told_are_none():
    assert Transplant(1.0, 1.0, {"qkv": 0.5}).won_back("qkv") is None
    assert Transplant(1.0, 0.5, {"qkv": None}).won_back("qkv") is None
    before, after = Pair([[0.0, 0], [0, 0]], [[0.0, 0], [0, 0]]), Pair([[1.0, 0], [0, 1]], [[1.0, 0], [0, 1]])

    def loss(net: nn.Module) -> float:
        return math.inf if net.qkv.weight.sum() > net.proj.weight.sum() else 2 - net.proj.weight.sum().item()

    found = transplant(before, after, ("qkv", "proj"), loss)

    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == {
        "before": 2.0, "after": 0.0, "losses": {"qkv": None, "proj": 0.0}, "won_back": {"qkv": None, "proj": 1.0},
    }  # fmt: skip


def test_what_cannot_be_measured_is_refused():
    before, after = Pair([[0.0, 0], [0, 0]], [[0.0, 0], [0, 0]]), Pair([[1.0, 0], [0, 1]], [[1.0, 0], [0, 1]])

    with pytest.raises(UsageError, match=r"layer group 'norm'; this backbone has: qkv, proj"):
        transplant(before, after, ("norm",), error(after))
    with pytest.raises(UsageError, match="the loss is nan before the training and nan after it"):
        transplant(before, after, ("qkv",), lambda _: math.nan)
