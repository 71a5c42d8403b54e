"""Knobs as Optuna's distributions: values in, parameters out, and back; grids against brute force."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ipt_platform.spec.tune import ChoicesKnob, Knob, RangeKnob, SubsetsKnob
from ipt_platform.tune.space import distributions, grid, nearest, params_of, values_of, words

GROUPS = ("qkv", "proj", "ffn", "output", "sampling", "reduction")
PATHS = ("model.bias.rank", "train.optimizer.lr", "model.bias.targets", "tasks.denoise.weight")

lists_of_groups = st.lists(st.sampled_from(GROUPS), min_size=1, max_size=3, unique=True)
choices = (
    st.lists(st.integers(-9, 9), min_size=1, max_size=4, unique=True)
    | st.lists(st.none() | st.text("abc[]", min_size=1, max_size=3), min_size=1, max_size=4, unique=True)
    | st.lists(lists_of_groups, min_size=1, max_size=3, unique_by=tuple)
    | st.just([True, False])
).map(lambda values: ChoicesKnob(choices=tuple(values)))
subsets = lists_of_groups.flatmap(
    lambda groups: st.integers(1, len(groups)).map(lambda least: SubsetsKnob(subsets=tuple(groups), at_least=least))
)
ends = st.integers(1, 50) | st.floats(1e-6, 50, allow_nan=False)
ranges = st.builds(lambda low, size, log: RangeKnob(min=low, max=low + size, log=log), ends, ends, st.booleans())
discrete = st.dictionaries(st.sampled_from(PATHS), choices | subsets, min_size=1, max_size=3)
spaces = st.dictionaries(st.sampled_from(PATHS), choices | subsets | ranges, min_size=1)


def value_of(knob: Knob) -> st.SearchStrategy[Any]:
    """Every value that a knob has, lists of groups in the order of the knob."""
    match knob:
        case ChoicesKnob():
            return st.sampled_from(knob.choices)
        case SubsetsKnob():
            picked = st.lists(st.sampled_from(knob.subsets), min_size=knob.at_least, unique=True)
            return picked.map(lambda chosen: [group for group in knob.subsets if group in chosen])
        case RangeKnob(min=int(low), max=int(high)):
            return st.integers(low, high)
        case RangeKnob():
            return st.floats(float(knob.min), float(knob.max))


spaces_and_values = spaces.flatmap(
    lambda space: st.tuples(st.just(space), st.fixed_dictionaries({path: value_of(knob) for path, knob in space.items()}))
)


@given(spaces_and_values)
def test_parameters_give_the_values_that_they_were_made_of(drawn):
    space, values = drawn

    params = params_of(space, values)

    assert params is not None
    assert params.keys() == distributions(space).keys()
    assert values_of(space, params) == values


@given(spaces_and_values)
def test_values_survive_their_file(drawn):
    space, values = drawn

    assert params_of(space, json.loads(json.dumps(values))) == params_of(space, values)


@given(spaces, st.integers(0, 2**32 - 1))
def test_what_optuna_draws_gives_values_that_give_it_back(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))

    params = study.ask(distributions(space)).params

    values = values_of(space, params)
    if values is None:  # a subset is too small
        small = [sum(params[f"{path}:{group}"] for group in knob.subsets) < knob.at_least for path, knob in subsets_of(space)]
        assert any(small)
        return
    assert params_of(space, values) == params
    for path, knob in space.items():
        match knob:
            case RangeKnob():
                assert knob.min <= values[path] <= knob.max
            case ChoicesKnob():
                assert values[path] in knob.choices
            case SubsetsKnob():
                assert knob.at_least <= len(values[path])


def subsets_of(space: Mapping[str, Knob]) -> list[tuple[str, SubsetsKnob]]:
    return [(path, knob) for path, knob in space.items() if isinstance(knob, SubsetsKnob)]


def all_values(knob: Knob) -> list[Any]:
    """Brute force: every value of a knob without ranges."""
    if isinstance(knob, ChoicesKnob):
        return [*knob.choices]
    assert isinstance(knob, SubsetsKnob)
    sizes = range(knob.at_least, len(knob.subsets) + 1)
    return [[*chosen] for size in sizes for chosen in itertools.combinations(knob.subsets, size)]


@given(discrete)
def test_a_grid_is_every_combination_once(space):
    found = [values_of(space, params) for params in grid(space)]

    want = [dict(zip(space, values, strict=True)) for values in itertools.product(*map(all_values, space.values()))]
    assert sorted(map(repr, found)) == sorted(map(repr, want))


def test_of_a_grid_the_last_knob_goes_round_first():
    space = {"rank": ChoicesKnob(choices=(2, 4)), "lr": ChoicesKnob(choices=("low", "high"))}

    assert [tuple(params.values()) for params in grid(space)] == [(2, "low"), (2, "high"), (4, "low"), (4, "high")]


def test_subsets_are_a_knob_for_each_group():
    space = {"targets": SubsetsKnob(subsets=("qkv", "ffn"), at_least=1)}

    assert distributions(space) == dict.fromkeys(["targets:qkv", "targets:ffn"], CategoricalDistribution((False, True)))
    assert values_of(space, {"targets:qkv": False, "targets:ffn": True}) == {"targets": ["ffn"]}
    assert values_of(space, {"targets:qkv": False, "targets:ffn": False}) is None
    assert [values_of(space, params) for params in grid(space)] == [
        {"targets": ["ffn"]},
        {"targets": ["qkv"]},
        {"targets": ["qkv", "ffn"]},
    ]


def test_ranges_are_of_whole_numbers_where_both_ends_are():
    space = {
        "rank": RangeKnob(min=2, max=64, log=True),
        "ema": RangeKnob(min=0, max=0.5),
        "lr": RangeKnob(min=1e-4, max=1e-2, log=True),
    }

    assert distributions(space) == {
        "rank": IntDistribution(2, 64, log=True),
        "ema": FloatDistribution(0.0, 0.5),
        "lr": FloatDistribution(1e-4, 1e-2, log=True),
    }


def test_a_choice_that_stands_twice_is_one():
    assert len(distributions({"a": ChoicesKnob(choices=(1, 2, 1))})["a"].choices) == 2


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        (ChoicesKnob(choices=(1, 2)), 3),
        (ChoicesKnob(choices=(["qkv"], ["ffn"])), ["qkv", "ffn"]),
        (RangeKnob(min=1, max=4), 5),
        (RangeKnob(min=1, max=4), 0),
        (SubsetsKnob(subsets=("qkv", "ffn")), ["proj"]),
        (SubsetsKnob(subsets=("qkv", "ffn"), at_least=2), ["ffn"]),
        (SubsetsKnob(subsets=("qkv", "ffn")), []),
    ],
)
def test_values_that_a_space_does_not_have_have_no_parameters(knob, value):
    assert params_of({"a": knob}, {"a": value}) is None


def test_values_of_other_knobs_have_no_parameters():
    assert params_of({"a": ChoicesKnob(choices=(1,))}, {"b": 1}) is None


@pytest.mark.parametrize(
    ("knob", "value", "want"),
    [
        (ChoicesKnob(choices=(2, 4, 16)), 9, 4),
        (ChoicesKnob(choices=(2, 4, 16)), 11, 16),
        (ChoicesKnob(choices=(2, 4, 16)), 100, 16),
        (ChoicesKnob(choices=(None, "a", True, 4)), 1, 4),  # true is no number
        (ChoicesKnob(choices=("a", None)), 3, None),
        (RangeKnob(min=2, max=8), 5.4, 5),
        (RangeKnob(min=2, max=8), 1, 2),
        (RangeKnob(min=2, max=8.0), 5.4, 5.4),
        (RangeKnob(min=2, max=8.0), 90, 8.0),
        (SubsetsKnob(subsets=("qkv",)), 3, None),
    ],
)
def test_the_nearest_value_of_a_knob_of_numbers(knob, value, want):
    assert nearest(knob, value) == want


def test_values_in_words():
    values = {"model.bias.rank": 8, "model.bias.targets": ["qkv", "ffn"], "train.optimizer.lr": 0.00123456, "train.ema": None}

    assert words(values) == "rank 8, targets qkv+ffn, lr 0.00123, ema None"
