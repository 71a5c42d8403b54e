"""The knobs of a search as Optuna knows them: its distributions, and what a trial's parameters are as values of a job.

A choice that is a list stands as JSON text; a subset of layer groups is one knob for each group, in or out.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ipt_platform.spec.tune import ChoicesKnob, Knob, RangeKnob, SubsetsKnob

Space = Mapping[str, Knob]
Params = dict[str, bool | int | float | str | None]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each of its parameters."""
    found: dict[str, BaseDistribution] = {}
    for path, knob in space.items():
        match knob:
            case ChoicesKnob():
                found[path] = CategoricalDistribution(tuple(dict.fromkeys(map(_word, knob.choices))))
            case RangeKnob(min=int(low), max=int(high)):
                found[path] = IntDistribution(low, high, log=knob.log)
            case RangeKnob():
                found[path] = FloatDistribution(float(knob.min), float(knob.max), log=knob.log)
            case SubsetsKnob():
                found |= {_member(path, group): CategoricalDistribution((False, True)) for group in knob.subsets}
    return found


def values_of(space: Space, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values that a trial's parameters give to the job, by dotted path; None where a subset is too small."""
    values: dict[str, Any] = {}
    for path, knob in space.items():
        match knob:
            case ChoicesKnob():
                values[path] = next(choice for choice in knob.choices if _word(choice) == params[path])
            case SubsetsKnob():
                values[path] = [group for group in knob.subsets if params[_member(path, group)]]
                if len(values[path]) < knob.at_least:
                    return None
            case RangeKnob():
                values[path] = params[path]
    return values


def params_of(space: Space, values: Mapping[str, Any]) -> Params | None:
    """The parameters that give these values; None where the space does not have them."""
    params: Params = {}
    for path, knob in space.items():
        if path not in values:
            return None
        value = values[path]
        match knob:
            case ChoicesKnob():
                if _word(value) not in [_word(choice) for choice in knob.choices]:
                    return None
                params[path] = _word(value)
            case SubsetsKnob():
                if not {*value} <= {*knob.subsets}:
                    return None
                params |= {_member(path, group): group in value for group in knob.subsets}
            case RangeKnob():
                if not knob.min <= value <= knob.max:
                    return None
                params[path] = value
    return params if values_of(space, params) is not None else None


def grid(space: Space) -> Iterator[Params]:
    """Every combination of choices, the last knob going round first."""
    names, choices = zip(*((name, each.choices) for name, each in distributions(space).items()), strict=True)  # pyright: ignore[reportAttributeAccessIssue] (a grid has no ranges)
    for combination in itertools.product(*choices):
        params = dict(zip(names, combination, strict=True))
        if values_of(space, params) is not None:
            yield params


def nearest(knob: Knob, value: float) -> Any:
    """The value of a knob of numbers that is nearest to one; None where it has no numbers."""
    if isinstance(knob, RangeKnob):
        near = min(max(value, knob.min), knob.max)
        return round(near) if isinstance(knob.min, int) and isinstance(knob.max, int) else near
    numbers = [
        choice
        for choice in (knob.choices if isinstance(knob, ChoicesKnob) else ())
        if isinstance(choice, int | float) and not isinstance(choice, bool)
    ]
    return min(numbers, key=lambda number: abs(number - value), default=None)


def words(values: Mapping[str, Any]) -> str:
    """Values in a few words, by the last part of their paths: `rank 8, targets qkv+ffn`."""
    return ", ".join(f"{path.rpartition('.')[2]} {_shown(value)}" for path, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(str(each) for each in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _word(choice: Any) -> Any:
    return json.dumps(choice) if isinstance(choice, list) else choice


def _member(path: str, group: str) -> str:
    return f"{path}:{group}"
