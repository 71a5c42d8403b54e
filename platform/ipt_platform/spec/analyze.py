"""`kind: analyze`: what an analysis compares, and what of it is checked against the paper."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import Discriminator, Field, Tag

from ipt_platform.spec.base import Many, Name, Number, Spec, Text
from ipt_platform.spec.compound import JobPart

What = Literal["sensitivity", "rank-energy", "interference", "comparison"]
Steps = Annotated[list[JobPart], Len(1)]
PART, STEPS = "part of a job", "list of parts"
"""Which form a variant has; pydantic makes it part of where an error is."""


def _form(value: Any) -> str | None:
    return PART if isinstance(value, Mapping) else STEPS if isinstance(value, list) else None


Variant = Annotated[
    Annotated[JobPart, Tag(PART)] | Annotated[Steps, Tag(STEPS)],
    Discriminator(
        _form, custom_error_type="variant", custom_error_message="expected a part of a job file, or a list of such parts"
    ),
]

NAMED = "name of weights"


def _side(value: Any) -> str | None:
    return PART if isinstance(value, Mapping) else NAMED if isinstance(value, str) else None


Side = Annotated[
    Annotated[Text, Tag(NAMED)] | Annotated[JobPart, Tag(PART)],
    Discriminator(
        _side, custom_error_type="side", custom_error_message="expected the name of a run or a folder, or a part of a job file"
    ),
]


class TransplantSpec(Spec):
    """How much of a finetune's gain single layer groups bring."""

    tasks: Many[Name] = Field(default=(), description="Tasks by which it is measured; none: the tasks of `after`.")
    images: int = Field(default=32, ge=1, le=100_000, description="Crops by which the loss is measured.")
    patch: int = Field(default=64, ge=16, le=4096, description="Side of the crops, pixels.")


class PaperSpec(Spec):
    """What the paper found, to stand beside."""

    table: Text = Field(description="Which table of the paper this is: Table 3.")
    columns: Many[Text] = Field(min_length=1, description="What the numbers are.")
    rows: Annotated[dict[Text, Many[Number | None]], Len(1)] = Field(description="The numbers of each variant; null: none.")
    differs: Text = Field(description="What is different here: size, data, steps.")


BELONGS: dict[str, tuple[str, ...]] = {
    "sensitivity": ("base", "before", "after", "task", "transplant"),
    "rank-energy": ("base", "before", "after", "task", "targets", "compress"),
    "interference": ("base", "tasks"),
    "comparison": ("base", "variants", "claims", "paper"),
}
"""Keys of each analysis beside those that all have."""

NEEDS: dict[str, tuple[str, ...]] = {
    "sensitivity": ("before", "after"),
    "rank-energy": ("before", "after"),
    "interference": ("base", "tasks"),
    "comparison": ("base", "variants"),
}


def own_keys(value: dict[str, Any]) -> dict[str, Any]:
    """Of a resolved job the keys that its analysis has."""
    others = {key for keys in BELONGS.values() for key in keys} - {*BELONGS[value["what"]]}
    return {key: each for key, each in value.items() if key not in others}


def keys_problems(value: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys that do not belong to the analysis that a file asks for, and those that are missing, each with a sentence."""
    what = value.get("what")
    if what not in BELONGS:
        return []
    every = {key for keys in BELONGS.values() for key in keys}
    found = []
    for key in [key for key in value if key in every and key not in BELONGS[what]]:
        homes = [name for name, keys in BELONGS.items() if key in keys]
        found.append((key, f"'{key}' has no meaning for what: {what}; it belongs to {' and '.join(homes)}"))
    found += [(key, f"this key is missing, which what: {what} needs") for key in NEEDS[what] if value.get(key) is None]
    return found
