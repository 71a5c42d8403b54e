"""The first trials of a search: the job as it is written, then what analyses of sensitivity and rank energy say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.observe.storage import find_run
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.overrides import ABSENT, value_at
from ipt_platform.spec.tune import ChoicesKnob, SearchSpec, SubsetsKnob
from ipt_platform.tune.space import nearest, params_of

First = tuple[dict[str, Any], str]


def as_written(search: SearchSpec, job: LearningJob) -> list[First]:
    """The job itself as the first trial, so that no search ends with less than it would have had.

    None of a grid, and none where the space is without its values or the job leaves one to the platform.
    """
    plain = job.model_dump(mode="json")
    own = {path: value_at(plain, path) for path in search.space}
    values = {
        path: value
        for path, value in own.items()
        if value is not ABSENT and (value is not None or isinstance(search.space[path], ChoicesKnob))
    }
    return [] if search.searcher == "grid" or params_of(search.space, values) is None else [(values, "as written")]


def first_trials(search: SearchSpec, storage: Path, base: Path) -> list[First]:
    """Values to try first, by dotted path, each with the analyses that say so; none without a prior.

    The proposed layer groups and rank go onto the knobs that set them (`targets`, `rank`); every other knob takes its first or
    middle value.

    Raises:
        NotFoundError: there is no such run, or it has no report.
        DataError: its report is of no analysis that proposes anything.
    """
    proposals = [proposal(named, storage, base) for named in search.prior]
    return [*_trials(search, proposals)] if proposals else []


def proposal(named: str, storage: Path, base: Path) -> dict[str, Any]:
    """What an analysis proposes: `targets`, `rank`, and `run`.

    Raises:
        NotFoundError, DataError: as `first_trials`.
    """
    run = find_run(storage, str(base / named) if (base / named).is_dir() else named)
    if not run.report.is_file():
        raise NotFoundError(f"{run.path}: this prior has no report yet; it is written when its run finishes")
    try:
        proposed = json.loads(run.report.read_bytes())["proposal"]
        found = {key: proposed[key] for key in ("targets", "rank") if key in proposed}
        if not found:
            raise KeyError("targets or rank")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{run.report}: expected the report of an analysis of sensitivity or rank energy: {error}") from error
    return found | {"run": run.id}


def _trials(search: SearchSpec, proposals: list[dict[str, Any]]) -> Iterator[First]:
    source = f"prior: {', '.join(each['run'] for each in proposals)}"
    together: dict[str, Any] = {}
    for each in proposals:
        together |= each
    for rank in dict.fromkeys([together.get("rank"), _half(together.get("rank"))]):
        yield {path: _value(path, knob, together.get("targets"), rank) for path, knob in search.space.items()}, source


def _likeness(choice: Any, targets: list[str]) -> float:
    """Share of the groups of either that both have."""
    own = {*choice} if isinstance(choice, list) else {choice}
    return len(own & {*targets}) / len(own | {*targets})


def _half(rank: int | None) -> int | None:
    return max(1, rank // 2) if rank else None


def _value(path: str, knob: Any, targets: list[str] | None, rank: int | None) -> Any:
    last = path.rpartition(".")[2]
    if isinstance(knob, SubsetsKnob):
        chosen = [group for group in knob.subsets if targets is None or last != "targets" or group in targets]
        return chosen if len(chosen) >= knob.at_least else [*knob.subsets]
    if last == "targets" and targets is not None and isinstance(knob, ChoicesKnob):
        return max(knob.choices, key=lambda choice: _likeness(choice, targets))
    is_rank = last == "rank" or ".ranks." in path
    if is_rank and rank is not None and (near := nearest(knob, rank)) is not None:
        return near
    if hasattr(knob, "choices"):
        return knob.choices[len(knob.choices) // 2]
    middle = (knob.min * knob.max) ** 0.5 if knob.log else (knob.min + knob.max) / 2
    return nearest(knob, middle)
