"""pydantic's errors in the words of a file: what was expected, what was found, on which line, and what was meant."""

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ipt_platform.errors import Problem
from ipt_platform.spec import tune
from ipt_platform.spec.analyze import NAMED, PART, STEPS
from ipt_platform.spec.source import Document, KeyPath
from ipt_platform.spec.words import did_you_mean
from ipt_platform.spec.workers import COUNT, RANGE, ElasticSpec

# What pydantic puts into a location where a value has one of several forms, and the model of that form, if it is one.
FORMS: dict[Any, type[BaseModel] | None] = {COUNT: None, RANGE: ElasticSpec, NAMED: None, PART: None, STEPS: None, **tune.FORMS}

# pydantic's error type to what was expected; {..} are the bounds that pydantic passes along.
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text of at least {min_length} character(s)",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
}


def problems_of(
    error: ValidationError,
    model: type[BaseModel] | None,
    document: Document,
    prefix: KeyPath = (),
    *,
    tagged: bool = False,
) -> list[Problem]:
    """Every problem of a failed validation, in the order of the file's lines.

    Args:
        error: What pydantic raised.
        model: The model that was validated, for suggestions; None where it is not known.
        document: The file that the value came from.
        prefix: Where in the file the value stands.
        tagged: Whether a tagged union was validated: pydantic then starts each location with the tag.
    """

    def place(loc: KeyPath) -> tuple[KeyPath, type[BaseModel] | None, KeyPath]:
        own = _place(loc, tagged)
        return prefix + tuple(part for part in own if part not in FORMS), model, own

    return told(error, document, place)


def told(
    error: ValidationError,
    document: Document,
    locate: Callable[[KeyPath], tuple[KeyPath, type[BaseModel] | None, KeyPath]],
) -> list[Problem]:
    """Every problem of a failed validation, in the order of the file's lines.

    Args:
        error: What pydantic raised.
        document: The file that the value came from.
        locate: From pydantic's location to the place in the file, the model (None where it is not known) and the place
            in that model.
    """
    details = [(*locate(detail["loc"]), detail) for detail in error.errors(include_url=False)]
    found = [
        document.problem(place, _sentence(detail, own, model))
        for place, model, own, detail in details
        # A list whose items are all wrong also counts as empty: one complaint is enough.
        if not (detail["type"] == "too_short" and any(place == other[: len(place)] != other for other, *_ in details))
    ]
    return sorted(found, key=lambda problem: problem.line)


def shown(value: Any) -> str:
    """A value as its file would write it, short enough for a sentence."""
    if value is None or isinstance(value, bool):
        return {None: "null (nothing)", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _place(loc: tuple[int | str, ...], tagged: bool) -> KeyPath:
    place = loc[1:] if tagged else loc
    return place[:-1] if place and place[-1] == "[key]" else place


def _sentence(detail: ErrorDetails, place: KeyPath, model: type[BaseModel] | None) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key '{place[-1]}'{_suggestion(str(place[-1]), place[:-1], model)}"
    if kind == "missing":
        return f"this key is missing and has no default: {_description(place, model)}"
    if kind == "union_tag_not_found":
        return f"the key {context['discriminator']} is missing; it says what kind of job this is"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"expected lower-case letters, digits and dashes (at most 63, no dash first), found {shown(value)}"
    if context.get("class_name") == "Draw":
        return f"expected a number, {{choices: [...]}} or {{min: ..., max: ...}}, found {shown(value)}"
    if kind == "literal_error":
        return _not_a_word(value, context["expected"])
    if kind == "union_tag_invalid":
        return _not_a_word(context["tag"], context["expected_tags"])
    expected = EXPECTED.get(kind)
    return f"{f'expected {expected.format(**context)}' if expected else detail['msg']}, found {shown(value)}"


def _not_a_word(value: Any, listed: str) -> str:
    """`listed` is pydantic's own list of the words: 'a', 'b' or 'c'."""
    words = [word.strip("'") for word in listed.replace(" or ", ", ").split(", ")]
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    expected = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    return f"expected {expected}, found {shown(value)}{hint if 'did you mean' in hint else ''}"


def _suggestion(key: str, place: KeyPath, model: type[BaseModel] | None) -> str:
    """The near key beside it; else the sections where a key of exactly this name belongs; else the keys there are."""
    here = model_at(model, place)
    if model is None or here is None:
        return ""
    beside = did_you_mean(key, here.model_fields)
    homes = [home for home in _sections(model) if home[-1] == key]
    if "did you mean" in beside or not homes:
        return beside
    return f"; it belongs under {' or '.join('.'.join(home[:-1]) or 'the top level' for home in homes)}"


def _description(place: KeyPath, model: type[BaseModel] | None) -> str:
    here = model_at(model, place[:-1])
    field = here.model_fields.get(str(place[-1])) if here is not None and place else None
    return field.description if field is not None and field.description else "add it"


def model_at(model: type[BaseModel] | None, place: KeyPath) -> type[BaseModel] | None:
    """The model that `place` below `model` is validated with; None where that is not a model."""
    for part in place:
        if model is None:
            return None
        if part in FORMS:
            model = FORMS[part]
        elif isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation)
        # Anything else is a key or position in a container of models, which `_model_in` has already looked into.
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `tuple[Stage, ...]`, `dict[str, TaskUse]` or `Stage | None`."""
    if isinstance(annotation, type) and annotation is not NoneType and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _sections(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Key paths of all fields at and below `model`."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from _sections(inner, (*above, name))
