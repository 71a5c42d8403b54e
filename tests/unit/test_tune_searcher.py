"""What is tried next, asked as Ray Tune asks, without a Ray: no value twice, the grid in its order, and all of it again."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from ipt_platform.spec.tune import SearchSpec
from ipt_platform.tune.searcher import FINISHED, StudySearcher
from ipt_platform.tune.trials import Suggestion

SMALL = {"bias.rank": {"choices": [2, 4, 8]}, "bias.targets": {"subsets": ["qkv", "ffn"]}}
WIDE = {"lr": {"min": 1e-4, "max": 1.0, "log": True}, "rank": {"min": 1, "max": 64}, "mode": {"choices": ["a", "b", "c"]}}

Told = Callable[[Mapping[str, Any]], dict[str, float]]


def spec(space: Mapping[str, Any], **search: Any) -> SearchSpec:
    return SearchSpec.model_validate({"space": space, **search})


class Tuner:
    """Asks a searcher as Ray Tune does, one trial after another; keeps what was begun, and what each trial was started with."""

    def __init__(
        self,
        search: SearchSpec,
        seed: int = 0,
        before: Iterable[Suggestion] = (),
        first: Iterable[tuple[Mapping[str, Any], str]] = (),
        possible: Callable[[dict[str, Any]], bool] = lambda values: True,
    ):
        self.begun: list[Suggestion] = []
        self.searcher = StudySearcher(search, seed, before, first, possible, self._start)

    def _start(self, suggestion: Suggestion) -> dict[str, Any]:
        self.begun.append(suggestion)
        return {"run": suggestion.trial}

    def ask(self) -> Suggestion | None:
        config = self.searcher.suggest(f"tune-{len(self.begun)}")
        if config is FINISHED:
            return None
        assert config == {"run": self.begun[-1].trial}
        return self.begun[-1]

    def tell(self, result: dict[str, Any] | None, error: bool = False) -> None:
        """Of the last trial that was asked for."""
        self.searcher.on_trial_complete(f"tune-{len(self.begun) - 1}", result, error)

    def run(self, told: Told = lambda values: {"psnr": 30.0}, at_most: int = 10_000) -> list[Suggestion]:
        """Trials to the end of the search."""
        for _ in range(at_most):
            if (suggestion := self.ask()) is None:
                break
            self.tell({"step": 9, "steps": 9, "parameters": 5, **told(suggestion.values)})
        return self.begun


def values(suggestions: Iterable[Suggestion]) -> list[dict[str, Any]]:
    return [suggestion.values for suggestion in suggestions]


@pytest.mark.parametrize("searcher", ["grid", "random", "tpe"])
def test_nothing_is_tried_twice_and_a_space_that_is_searched_ends(searcher):
    """Nine combinations: three ranks, three subsets that are not empty."""
    found = Tuner(spec(SMALL, searcher=searcher, trials=100)).run()

    assert len(found) == 9
    assert len({repr(each) for each in values(found)}) == 9
    assert [each.trial for each in found] == [f"t{number:03d}" for number in range(1, 10)]
    assert {each.source for each in found} == {searcher}


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_there_are_as_many_trials_as_were_asked_for(searcher):
    assert len(Tuner(spec(WIDE, searcher=searcher, trials=7)).run()) == 7


def test_a_grid_is_tried_in_its_order_and_whole_without_a_number_of_trials():
    search = spec({"a": {"choices": [3, 1]}, "b": {"choices": ["y", "x"]}}, searcher="grid")

    found = Tuner(search).run()

    assert [tuple(each.values()) for each in values(found)] == [(3, "y"), (3, "x"), (1, "y"), (1, "x")]


def test_a_grid_is_whole_however_large():
    search = spec({"a": {"choices": [*range(30)]}, "b": {"choices": [*range(20)]}}, searcher="grid")

    assert len(Tuner(search).run()) == 600


@pytest.mark.parametrize("searcher", ["grid", "random", "tpe"])
def test_values_that_no_job_can_have_are_passed_over(searcher):
    search = spec(SMALL, searcher=searcher, trials=50)

    found = Tuner(search, possible=lambda values: values["bias.rank"] != 4).run()

    assert len(found) == 6
    assert all(each["bias.rank"] != 4 for each in values(found))
    assert [each.trial for each in found] == [f"t{number:03d}" for number in range(1, 7)]  # no name is left out


def test_many_impossible_values_in_a_row_do_not_end_a_grid():
    """The first 300 of 302 combinations are impossible."""
    search = spec({"a": {"choices": [*range(302)]}}, searcher="grid")

    found = Tuner(search, possible=lambda values: values["a"] >= 300).run()

    assert [each["a"] for each in values(found)] == [300, 301]


def test_where_nothing_is_possible_there_is_no_trial():
    assert Tuner(spec(WIDE, trials=3), possible=lambda values: False).run() == []


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_the_seed_decides(searcher):
    search = spec(WIDE, searcher=searcher, trials=6)

    one, again, other = (values(Tuner(search, seed).run()) for seed in (1, 1, 2))

    assert one == again != other


# A search that was cut off and goes on


@pytest.mark.parametrize("searcher", ["grid", "random", "tpe"])
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_what_was_suggested_before_is_suggested_again_first_and_then_the_search_goes_on(searcher, cut):
    search = spec(SMALL, searcher=searcher, trials=100)
    whole = Tuner(search).run()

    found = Tuner(search, before=whole[:cut]).run()

    assert found[:cut] == whole[:cut]
    assert [each.trial for each in found] == [each.trial for each in whole]
    assert sorted(map(repr, values(found))) == sorted(map(repr, values(whole)))
    assert searcher != "grid" or found == whole


def test_a_long_grid_that_was_cut_off_late_is_searched_to_its_end():
    search = spec({"a": {"choices": [*range(20)]}, "b": {"choices": [*range(15)]}}, searcher="grid")
    whole = Tuner(search).run()
    assert len(whole) == 300

    assert Tuner(search, before=whole[:250]).run() == whole


def test_trials_of_before_count_for_the_number_of_trials():
    search = spec(WIDE, searcher="random", trials=5)
    whole = Tuner(search).run()

    assert len(Tuner(search, before=whole[:3]).run()) == 5
    assert Tuner(search, before=whole).run() == whole


def test_what_trials_of_before_came_to_teaches_as_if_nothing_had_happened():
    """The sampler of both has the same finished trials; only its own generator stands elsewhere."""
    search = spec(WIDE, searcher="tpe", trials=40)
    tuner = Tuner(search)
    whole = tuner.run(bowl)

    again = Tuner(search, before=whole)
    again.run(bowl)

    assert [(trial.params, trial.values, trial.state) for trial in tuner.searcher.study.trials] == [
        (trial.params, trial.values, trial.state) for trial in again.searcher.study.trials
    ]


# What comes first


PRIOR = ({"bias.rank": 8, "bias.targets": ["ffn"]}, "prior: sense")


@pytest.mark.parametrize("searcher", ["grid", "random", "tpe"])
def test_the_prior_is_tried_first_and_not_again(searcher):
    found = Tuner(spec(SMALL, searcher=searcher, trials=100), first=[PRIOR]).run()

    assert (found[0].values, found[0].source) == PRIOR
    assert {each.source for each in found[1:]} == {searcher}
    assert len({repr(each) for each in values(found)}) == len(found) == 9


def test_a_prior_that_the_space_does_not_have_is_left_out():
    first = [({"bias.rank": 3, "bias.targets": ["ffn"]}, "prior: a"), PRIOR, PRIOR]

    found = Tuner(spec(SMALL, searcher="random", trials=2), first=first).run()

    assert [each.source for each in found] == ["prior: sense", "random"]


def test_a_search_with_a_prior_that_was_cut_off_tries_the_prior_once():
    search = spec(SMALL, searcher="grid")
    whole = Tuner(search, first=[PRIOR]).run()

    assert Tuner(search, before=whole[:3], first=[PRIOR]).run() == whole


# What trials came to


def bowl(values: Mapping[str, Any]) -> dict[str, float]:
    """Highest, 40, at lr 0.01, rank 16 and mode b."""
    distance = (math.log10(values["lr"]) + 2) ** 2 + ((values["rank"] - 16) / 16) ** 2 + (values["mode"] != "b")
    return {"psnr": 40 - distance}


def test_tpe_learns_what_random_search_does_not():
    def best(searcher: str, seed: int) -> float:
        trials = Tuner(spec(WIDE, searcher=searcher, trials=40), seed).run(bowl)
        return statistics.mean(sorted((bowl(each.values)["psnr"] for each in trials), reverse=True)[:10])

    seeds = range(6)
    learnt, drawn = ([best(searcher, seed) for seed in seeds] for searcher in ("tpe", "random"))

    assert sum(one > other for one, other in zip(learnt, drawn, strict=True)) >= 5
    assert statistics.mean(learnt) > statistics.mean(drawn)


def test_both_objectives_are_told_psnr_up_and_parameters_down():
    tuner = Tuner(spec(WIDE, searcher="tpe", trials=30, objectives=["psnr", "parameters"]))

    found = tuner.run(lambda values: bowl(values) | {"parameters": 100 * values["rank"]})

    study = tuner.searcher.study
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert [trial.values for trial in study.trials] == [[bowl(each)["psnr"], 100 * each["rank"]] for each in values(found)]
    # the front by brute force
    points = [(bowl(each)["psnr"], each["rank"]) for each in values(found)]
    front = {p for p in points if not any(q != p and q[0] >= p[0] and q[1] <= p[1] for q in points)}
    assert {(trial.values[0], trial.values[1] / 100) for trial in study.best_trials} == front


def states(tuner: Tuner) -> list[str]:
    return [trial.state.name for trial in tuner.searcher.study.trials]


@pytest.mark.parametrize("seed", range(6))
def test_a_search_for_few_parameters_goes_on_where_the_estimator_insists_on_a_bias_without_any(seed):
    groups = ["output", "sampling", "qkv", "proj", "ffn"]
    space = {
        "bias.rank": {"choices": [2, 4, 8, 16]},
        "bias.targets": {"subsets": groups},
        "bias_lr": {"min": 1e-3, "max": 3e-2, "log": True},
    }
    search = spec(space, searcher="tpe", trials=16, objectives=["psnr", "parameters"])

    def told(values: Mapping[str, Any]) -> dict[str, float]:
        many = values["bias.rank"] * len(values["bias.targets"])
        return {"psnr": 28.0 + many / 100, "parameters": 100 * many}

    assert len(Tuner(search, seed).run(told)) == 16


def test_a_trial_that_failed_teaches_nothing_and_the_search_goes_on():
    tuner = Tuner(spec(WIDE, searcher="tpe", trials=4))
    for result, error in (
        (None, True),
        ({"psnr": None, "step": 0, "steps": 9}, False),
        ({"psnr": 30.0, "step": 3, "steps": 9}, True),
        ({"psnr": 31.0, "step": 9, "steps": 9}, False),
    ):
        tuner.ask()
        tuner.tell(result, error)

    assert states(tuner) == ["FAIL", "FAIL", "FAIL", "COMPLETE"]
    assert tuner.searcher.study.best_value == 31.0
    assert tuner.ask() is None


def test_a_trial_that_was_stopped_is_known_as_far_as_it_came():
    tuner = Tuner(spec(WIDE, searcher="tpe", trials=2))
    tuner.ask()
    for step, psnr in ((3, 20.0), (6, 21.0)):
        tuner.searcher.on_trial_result("tune-0", {"psnr": psnr, "step": step, "steps": 9})
    tuner.tell({"psnr": 21.0, "step": 6, "steps": 9})

    assert states(tuner) == ["PRUNED"]
    assert tuner.searcher.study.trials[0].intermediate_values == {3: 20.0, 6: 21.0}


def test_an_end_of_a_trial_that_it_did_not_begin_is_passed_over():
    tuner = Tuner(spec(WIDE, searcher="random", trials=1))

    tuner.searcher.on_trial_complete("of-somebody-else", {"psnr": 3.0, "step": 1, "steps": 1})

    assert states(tuner) == []
