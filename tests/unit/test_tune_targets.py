"""The proposal of target groups: what moved is proposed, at the least cost, and always valid for a job file."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.errors import UsageError
from ipt_platform.model.build import build_backbone
from ipt_platform.model.groups import layer_groups
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.spec.words import LAYER_GROUPS
from ipt_platform.tune.difference import layer_differences
from ipt_platform.tune.sensitivity import PAPER_TABLE_2, GroupRow, Transplant, group_rows, transplant
from ipt_platform.tune.targets import propose_targets

LOSSES = Transplant(1.0, 0.0, {})


def row(
    group: str, won_back: float | None = None, parameters: int = 100, cosine: float | None = 0.9, ratio: float | None = 0.1
):
    return GroupRow(group, 1, parameters, cosine, 0, ratio, PAPER_TABLE_2.get(group), won_back)


def trained(*groups: str):
    """A backbone before and after a training that moved only these groups, every weight of them by a tenth."""
    torch.manual_seed(0)
    before = build_backbone("iptv2-tiny")
    for weight in before.parameters():
        torch.nn.init.normal_(weight)
    after = copy.deepcopy(before)
    with torch.no_grad():
        for name, group in layer_groups(after).items():
            if group in groups:
                after.get_parameter(name).add_(0.1 * torch.randn_like(after.get_parameter(name)))
    return before, after


def distance(target: torch.nn.Module):
    return lambda net: sum((a - b).square().sum().item() for a, b in zip(net.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("group", [group for group in LAYER_GROUPS if group not in ("norm", "depthwise")])
def test_what_alone_has_moved_is_alone_proposed(group):
    before, after = trained(group)
    differences = layer_differences(before, after)
    measured = transplant(before, after, LAYER_GROUPS, distance(after))
    by_gain, by_angle = propose_targets(group_rows(differences, measured), measured), propose_targets(group_rows(differences))

    assert (by_gain.by, by_angle.by) == ("transplant", "cosine")
    assert by_gain.targets == by_angle.targets == (group,)
    assert not by_gain.depthwise
    assert not by_angle.depthwise
    assert set(by_gain.reasons) == set(by_angle.reasons) == set(LAYER_GROUPS)


def test_on_the_papers_table_the_angle_gives_the_papers_choice():
    found = propose_targets([row(group, cosine=cosine) for group, cosine in PAPER_TABLE_2.items()])

    assert found.by == "cosine"
    assert set(found.targets) == set(BiasSpec().targets)
    assert found.targets[0] == "sampling"
    assert found.reasons["embed"].startswith("left out: its cosine is 0.970")


@given(st.floats(0.01, 1))
def test_a_shorter_training_that_turns_all_groups_less_gives_the_same_choice(factor):
    rows = [row(group, cosine=1 - factor * (1 - cosine)) for group, cosine in PAPER_TABLE_2.items()]

    assert set(propose_targets(rows).targets) == set(BiasSpec().targets)


def test_cheap_groups_come_first_and_the_costly_one_only_if_it_is_needed():
    rows = [row("qkv", 0.6, 200), row("output", 0.35, 1), row("ffn", 0.05, 500), row("proj", 0.01, 70)]

    found = propose_targets(rows, LOSSES)

    assert found.targets == ("output", "qkv")
    assert (
        found.reasons["qkv"] == "taken: wins back 60.0% of the gain alone with 25.9% of the parameters of all groups but norms"
    )
    assert found.reasons["ffn"].endswith("already hold 95.0% of what all groups win back alone")
    assert found.reasons["proj"] == "left out: wins back 1.0% of the gain alone, less than 2%"
    needed = propose_targets([row("qkv", 0.6, 200), row("output", 0.2, 1), row("ffn", 0.2, 500)], LOSSES)
    assert needed.targets == ("output", "qkv", "ffn")


@pytest.mark.parametrize(
    ("rows", "measured"),
    [
        ([row("qkv", -0.2, cosine=0.5), row("ffn", 0.01)], LOSSES),  # nothing wins alone
        ([row("qkv", 0.9, cosine=0.5), row("ffn", 0.1)], Transplant(1.0, 2.0, {})),  # the training made it worse
        ([row("qkv", None, cosine=0.5), row("ffn", None)], Transplant(1.0, 1.0, {})),  # or changed nothing
    ],
)
def test_where_a_transplant_tells_nothing_the_angle_decides(rows, measured):
    found = propose_targets(rows, measured)

    assert (found.by, found.targets) == ("cosine", ("qkv",))


def test_depthwise_is_a_switch_and_norms_are_never_taken():
    found = propose_targets([row("norm", 0.9), row("depthwise", 0.3), row("embed", 0.3)], LOSSES)

    assert (found.targets, found.depthwise) == (("embed",), True)
    assert found.reasons["norm"] == "left out: norms are vectors, which have no low-rank bias"


def test_where_only_depthwise_moved_a_target_with_a_rank_stands_beside_it():
    found = propose_targets([row("depthwise", 0.9), row("embed", 0.001), row("qkv", 0.0)], LOSSES)

    assert (found.targets, found.depthwise) == (("embed",), True)
    assert found.reasons["embed"].startswith("taken though wins back 0.1% of the gain alone")


def test_layers_that_were_zeros_are_judged_by_whether_they_moved():
    found = propose_targets(
        [row("output", cosine=None, ratio=None), row("qkv", cosine=0.99), row("ffn", cosine=1.0, ratio=0.0)]
    )

    assert found.targets == ("output", "qkv")
    assert found.reasons["output"] == "taken: was all zeros before, so that all it holds was learned"


def test_zeros_that_stayed_zeros_have_not_moved():
    found = propose_targets([row("output", cosine=None, ratio=0.0), row("qkv", cosine=0.99)])

    assert (found.targets, found.reasons["output"]) == (("qkv",), "left out: is all zeros")


def test_without_any_change_there_is_nothing_to_propose():
    with pytest.raises(UsageError, match="no weight that a bias could bend differs"):
        propose_targets([row("qkv", cosine=1.0, ratio=0.0), row("norm", cosine=0.5)])
    with pytest.raises(UsageError, match="no layer group of this backbone can have a low-rank bias"):
        propose_targets([row("norm"), row("depthwise")])


SHARE = st.none() | st.floats(-2, 2)
ROWS = st.dictionaries(
    st.sampled_from(LAYER_GROUPS), st.tuples(SHARE, st.integers(1, 10**7), st.none() | st.floats(-1, 1)), min_size=1
)


@given(ROWS, st.booleans(), st.randoms(use_true_random=False))
def test_every_proposal_is_valid_in_a_job_file_and_does_not_depend_on_the_order_of_the_rows(values, measured, random):
    rows = [row(group, share, size, cosine) for group, (share, size, cosine) in values.items()]
    if not set(values) - {"norm", "depthwise"}:
        return
    found = propose_targets(rows, LOSSES if measured else None)
    shuffled = rows.copy()
    random.shuffle(shuffled)

    BiasSpec(targets=found.targets, depthwise=found.depthwise)
    assert set(found.targets) <= set(values)
    assert set(values) <= set(found.reasons)
    for group in set(values) - {"norm", "depthwise"}:
        assert found.reasons[group].startswith("taken" if group in found.targets else "left out: ")
    again = propose_targets(shuffled, LOSSES if measured else None)
    assert (again.targets, again.depthwise, again.reasons) == (found.targets, found.depthwise, found.reasons)
    json.dumps(found.to_dict(), allow_nan=False)
