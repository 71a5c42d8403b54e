"""What every specification model has in common, and the shorthands its fields use."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Strict, StringConstraints

T = TypeVar("T")


class Spec(BaseModel):
    """A part of a file that a user writes.

    Unknown keys are errors, nothing is converted ("2" is no number, 8.0 no count), nothing changes after it was read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1)]

# A YAML list is a tuple in a frozen model: the container is converted, its items are not.
Many = Annotated[tuple[T, ...], Strict(False)]
Texts = Annotated[
    Many[Text],
    BeforeValidator(_one_or_many, json_schema_input_type=Text | Annotated[list[Text], Len(1)]),
]


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, found {str(value).lower() if isinstance(value, bool) else repr(value)}")
    return value


# A whole number stays one; said in one sentence, where the union of both would say what it is not twice.
Number = Annotated[int | float, BeforeValidator(_number, json_schema_input_type=int | float)]


def finite(value: Any) -> Any:
    """What may stand in a field of any type: `allow_inf_nan` does not reach into it, and JSON has no such numbers."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for each in inner:
        finite(each)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"found {value}, expected a finite number")
    return value


def _not_the_family(params: dict[str, Any]) -> dict[str, Any]:
    if "name" in params:
        raise ValueError(f"'name' cannot be replaced (found {params['name']!r}): a task keeps its degradation")
    return params


# Parameters that replace some of a task's own; the degradation itself judges their names and ranges.
Replacements = Annotated[dict[str, Any], AfterValidator(finite), AfterValidator(_not_the_family)]


def named(value: Any) -> Any:
    """`[denoise, deblur]`, and keys without a value, as `{denoise: {}, deblur: {}}`; the schema judges anything else.

    Raises:
        ValueError: A name stands twice in the list.
    """
    if isinstance(value, Mapping):
        return {name: {} if use is None else use for name, use in value.items()}
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        return value
    twice = next((name for position, name in enumerate(value) if name in value[:position]), None)
    if twice is not None:
        raise ValueError(f"'{twice}' stands twice in the list; name each task once")
    return {name: {} for name in value}


def weighted(value: Any) -> Any:
    """`{denoise: 2}` as `{denoise: {weight: 2}}`, and lists as `named` has them.

    Raises:
        ValueError: As `named`.
    """
    value = named(value)
    if not isinstance(value, Mapping):
        return value
    return {name: {"weight": use} if _is_count(use) else use for name, use in value.items()}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
