"""A degradation as files spell it: its parameters replaced from elsewhere, and where each wrong one was written.

A replacement is a parameter of the degradation, `{sigma: 25}`; or, where that is made of steps, the name of a step with
parameters of its own: `{rain: {density: 0.01}}`. A step is called what it says `as`, else by its family, at any depth; a
name that more than one step has cannot be used.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from ipt_platform.data.degradations import DEGRADATIONS, build_degradation
from ipt_platform.data.degradations.compose import COMPOSITIONS, OWN_KEYS
from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.problems import shown, told
from ipt_platform.spec.source import Document, KeyPath
from ipt_platform.spec.words import did_you_mean

KEPT = ("name", "as")
"""What makes a step the step it is."""

HOLDERS = {"chain": "steps", "one-of": "choices"}
"""Under which key each composition holds its steps."""


@dataclass
class Recipe:
    """A degradation as a file spells it, with some parameters replaced.

    Attributes:
        spec: What `build_degradation` takes.
        written: Places in `spec` that replacements wrote, and the places of those in the replacements.
        problems: Replacements that cannot be put anywhere: their places and what is wrong.
    """

    spec: Any
    written: dict[KeyPath, KeyPath] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)

    def origin(self, place: KeyPath) -> KeyPath:
        """Where the replacements wrote what stands at `place` of the spec; () where they did not."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.written:
                return (*self.written[place[:length]], *place[length:])
        return ()


def replaced(spec: Any, params: Mapping[str, Any]) -> Recipe:
    """A degradation with some of its parameters replaced; `params` that fit nowhere are among its problems."""
    recipe = Recipe(deepcopy(spec))
    _replace(recipe, recipe.spec, (), params, ())
    return recipe


def with_params(spec: Any, params: Mapping[str, Any]) -> Any:
    """`replaced`, where problems are errors.

    Raises:
        SpecError: A key of `params` is no parameter and no step; every such key.
    """
    recipe = replaced(spec, params)
    if recipe.problems:
        raise SpecError([Problem(message, path=".".join(map(str, place))) for place, message in recipe.problems])
    return recipe.spec


def problems_in(spec: Any, document: Document, prefix: KeyPath) -> list[Problem]:
    """What is wrong with a degradation that stands in a file at `prefix`."""
    return _told(spec, document, lambda place: (*prefix, *place))


def problems_of_params(spec: Any, params: Mapping[str, Any], document: Document, prefix: KeyPath) -> list[Problem]:
    """What is wrong with replacements that stand in a file at `prefix`; the degradation itself is right without them."""
    recipe = replaced(spec, params)
    lost = [document.problem((*prefix, *place), message) for place, message in recipe.problems]
    found = lost + _told(recipe.spec, document, lambda place: (*prefix, *recipe.origin(place)))
    return sorted(found, key=lambda problem: problem.line)


def _told(spec: Any, document: Document, file_place: Any) -> list[Problem]:
    def place(loc: tuple[int | str, ...]) -> tuple[KeyPath, type[BaseModel] | None, KeyPath]:
        in_spec, family, own = _located(spec, loc)
        return file_place(in_spec), family, own

    try:
        build_degradation(spec)
    except ValidationError as error:
        return told(error, document, place)
    return []


def _located(spec: Any, loc: tuple[int | str, ...]) -> tuple[KeyPath, type[BaseModel] | None, KeyPath]:
    """Where pydantic's location stands in the spec, the family it belongs to, and where in that.

    Models say more than files: a list is a chain and its `steps`, and the parameters of a step's `degradation` stand
    beside its name.
    """
    place: KeyPath = ()
    here, family, own = spec, _family(spec), ()
    for part in loc:
        if part == "degradation" and not (isinstance(here, Mapping) and part in here):
            family, own = _family(here), ()
        elif not (part == "steps" and isinstance(here, list)):
            place, own = (*place, part), (*own, part)
            here = _inside(here, part)
    return place, family, own


def _family(spec: Any) -> type[BaseModel] | None:
    return (DEGRADATIONS | COMPOSITIONS).get(_family_name(spec))


def _family_name(spec: Any) -> str:
    if isinstance(spec, list):
        return "chain"
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    return name if isinstance(name, str) else ""


def _inside(value: Any, part: int | str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) and part < len(value) else None


def _replace(recipe: Recipe, here: Any, place: KeyPath, params: Mapping[str, Any], at: KeyPath) -> None:
    """Put `params`, which stand at `at`, into the spec `here`, which stands at `place`; nothing in the way of the rest."""
    steps = list(_steps(here, place))
    own = (
        [*COMPOSITIONS[_family_name(here)].model_fields, *(OWN_KEYS if place else ())]
        if steps and isinstance(here, dict)
        else []
    )
    for key, value in params.items():
        matching = [(there, step) for name, there, step in steps if name == key]
        if key in KEPT:
            recipe.problems.append(((*at, key), f"'{key}' cannot be replaced (found {shown(value)}): a step stays what it is"))
        elif isinstance(here, dict) and (key in own or not steps):
            here[key] = value
            recipe.written[*place, key] = (*at, key)
        elif len(matching) == 1 and isinstance(value, Mapping):
            _replace(recipe, matching[0][1], matching[0][0], value, (*at, key))
        else:
            recipe.problems.append(((*at, key), _no_way(key, value, [(name, step) for name, _, step in steps], own)))


def _no_way(key: str, value: Any, steps: list[tuple[str, Any]], own: list[str]) -> str:
    names = [name for name, _ in steps]
    if names.count(key) > 1:
        return f"{names.count(key)} steps are called '{key}'; give them names of their own with `as:` in the task's file"
    if key in names:
        return f"'{key}' is a step: expected a mapping of its parameters, found {shown(value)}"
    if "." in key:
        return f"there is no step '{key}'; in a file, parameters of a step stand below its name: {{rain: {{density: 0.01}}}}"
    homes = [name for name, step in steps if key in getattr(_family(step), "model_fields", ())]
    if homes:
        return f"'{key}' is a parameter of a step: write {{{homes[0]}: {{{key}: ...}}}}"
    return f"there is no step '{key}'{did_you_mean(key, [*names, *own])}"


def _steps(spec: Any, place: KeyPath) -> Iterator[tuple[str, KeyPath, Any]]:
    """Name, place and spec of every step, at any depth; bare names are written out as mappings on the way."""
    holder = HOLDERS.get(_family_name(spec), "")
    if isinstance(spec, list):
        items = spec
    elif isinstance(spec, Mapping) and isinstance(spec.get(holder), list):
        items, place = spec[holder], (*place, holder)
    else:
        return
    for position, step in enumerate(items):
        if isinstance(step, str):
            step = items[position] = {"name": step}
        label = step.get("as") if isinstance(step, Mapping) else None
        yield label if isinstance(label, str) else _family_name(step), (*place, position), step
        yield from _steps(step, (*place, position))
