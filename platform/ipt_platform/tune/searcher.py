"""What is tried next: an Optuna study behind Ray Tune's interface, whose memory is the search's own files.

Everything that was suggested before is suggested again first, in the same order; trials that are over then only tell what they
came to. So a search that was killed goes on with all that it knew, and nothing is read back but its own JSON.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState
from ray.tune.search import Searcher

from ipt_platform.spec.tune import SearchSpec
from ipt_platform.tune.space import Params, distributions, grid, params_of, values_of
from ipt_platform.tune.trials import Suggestion

PATIENCE = 200
"""Suggestions of a sampler in a row that were made before, or cannot be, after which the space counts as searched."""
INSISTENT = 10
"""Suggestions in a row that were made before, or cannot be, after which chance decides. With few trials the estimator may see
one best point only, and insist on it: with fewer parameters as an objective the bias that has none.
"""

FINISHED: Any = Searcher.FINISHED
"""What Tune is told when there is nothing more to try; its own annotation forgets it."""

Start = Callable[[Suggestion], dict[str, Any]]
"""Writes a suggestion down and gives what its trial is started with."""


class StudySearcher(Searcher):
    """Suggests trials.

    Args:
        search: what is searched.
        seed: of the sampler.
        before: what was suggested by earlier attempts.
        first: what to try before the sampler is asked, each with who says so.
        possible: whether a job can have these values.
        start: begins a trial.
    """

    def __init__(
        self,
        search: SearchSpec,
        seed: int,
        before: Iterable[Suggestion],
        first: Iterable[tuple[Mapping[str, Any], str]],
        possible: Callable[[dict[str, Any]], bool],
        start: Start,
    ):
        super().__init__(metric="psnr", mode="max")
        self.search, self.possible, self.start = search, possible, start
        self.directions = directions_of(search)
        self.space = distributions(search.space)
        self.study = new_study(search, seed)
        self.chance = optuna.create_study(sampler=RandomSampler(seed=seed))
        self.before: list[Suggestion] = [*before]
        self.queue = [*self._queue(first)]
        self.seen: set[str] = set()
        self.trials: dict[str, optuna.trial.Trial] = {}
        self.number = 0

    def _queue(self, first: Iterable[tuple[Mapping[str, Any], str]]) -> Iterator[tuple[Params, str]]:
        """What to try in this order before the sampler decides."""
        for values, source in first:
            if (params := params_of(self.search.space, values)) is not None:
                yield params, source
        if self.search.searcher == "grid":
            yield from ((params, "grid") for params in grid(self.search.space))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial, or that there is none (Ray Tune's interface)."""
        if self.search.trials is not None and self.number >= self.search.trials:
            return FINISHED
        found = self._again() or self._new()
        if found is None:
            return FINISHED
        suggestion, trial = found
        self.number += 1
        self.trials[trial_id] = trial
        return self.start(suggestion)

    def _again(self) -> tuple[Suggestion, optuna.trial.Trial] | None:
        """What an earlier attempt suggested."""
        if not self.before:
            return None
        suggestion = self.before.pop(0)
        params = params_of(self.search.space, suggestion.values)
        assert params is not None, f"{suggestion.trial} was suggested by another search"
        self.study.enqueue_trial(params)
        self.seen.add(repr(suggestion.values))
        return suggestion, self.study.ask(self.space)

    def _new(self) -> tuple[Suggestion, optuna.trial.Trial] | None:
        asked = 0
        while asked < PATIENCE:
            params, source = self.queue.pop(0) if self.queue else (None, self.search.searcher)
            if params is None and self.search.searcher == "grid":
                return None
            if params is None:
                asked += 1
            if asked > INSISTENT:
                params, source = self.chance.ask(self.space).params, "random"
            if params is not None:
                self.study.enqueue_trial(params)
            trial = self.study.ask(self.space)
            values = values_of(self.search.space, trial.params)
            if values is not None and repr(values) not in self.seen and self.possible(values):
                self.seen.add(repr(values))
                return Suggestion(f"t{self.number + 1:03d}", values, source), trial
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial was measured while it trains (Ray Tune's interface)."""
        if len(self.directions) == 1 and result["psnr"] is not None:
            self.trials[trial_id].report(result["psnr"], result["step"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over (Ray Tune's interface)."""
        trial = self.trials.pop(trial_id, None)
        if trial is None:
            return
        if error or not result or result.get("psnr") is None:
            self.study.tell(trial, state=TrialState.FAIL)
        elif len(self.directions) == 1 and result["step"] < result["steps"]:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, [result[each] for each in self.search.objectives])

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict, **spec: Any) -> bool:
        """Nothing is set from outside (Ray Tune's interface)."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the files of the search are its memory (Ray Tune's interface)."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as `save` (Ray Tune's interface)."""

    def get_state(self) -> dict[str, Any]:
        """Nothing that would have to be pickled (Ray Tune's interface)."""
        return {}


def directions_of(search: SearchSpec) -> list[StudyDirection]:
    """Which way is better, for each objective."""
    return [StudyDirection.MAXIMIZE if each == "psnr" else StudyDirection.MINIMIZE for each in search.objectives]


def new_study(search: SearchSpec, seed: int) -> Study:
    """An empty study with the sampler that a search asks for."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = min(10, max(3, (search.trials or 10) // 3))
    sampler: BaseSampler = (
        TPESampler(seed=seed, n_startup_trials=start) if search.searcher == "tpe" else RandomSampler(seed=seed)
    )
    directions = directions_of(search)
    return optuna.create_study(directions=directions, sampler=sampler)
