"""Jobs that are made of others: what they have in common, and the documents of the jobs that they are made of.

A part of a file (`base`, a variant) is written as a job file is, and laid over the others; so each job that comes of it is an
ordinary one, checked as such, and what is wrong with it is told with the line where it stands.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any

from annotated_types import Len
from pydantic import AfterValidator, Field, model_validator

from ipt_platform.errors import SpecError
from ipt_platform.spec.base import Many, Spec, Text
from ipt_platform.spec.parts import BiasOptimizerSpec, FinetuneSpec, OptimizerSpec, TrainSpec
from ipt_platform.spec.source import Document, KeyPath
from ipt_platform.spec.words import API_VERSION

Part = dict[str, Any]
"""Some keys of a job file."""

OWN = ("apiVersion", "name", "storage", "seed")
"""What the whole says for each of its jobs."""


def _parts_alone(part: Part) -> Part:
    if own := [key for key in OWN if key in part]:
        raise ValueError(f"'{own[0]}' stands once for the whole job, at the top level; leave it out here")
    return part


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    twice = next((seed for position, seed in enumerate(seeds) if seed in seeds[:position]), None)
    if twice is not None:
        raise ValueError(f"seed {twice} stands twice in the list; the same seed says the same again")
    return seeds


JobPart = Annotated[Part, AfterValidator(_parts_alone)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[Many[Seed], AfterValidator(_different)]


class ConcurrencySpec(Spec):
    """How many of the jobs run at a time."""

    max_concurrent: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Jobs at a time, at most; null: as many as the machines have room for, worked out from what one asks of "
        "Ray. More than that never run at once: they would wait for each other's resources for ever.",
    )


class ScalesSpec(Spec):
    """Settings for machines of several sizes, one of which is chosen."""

    scale: Text | None = Field(
        default=None, description="Which of `scales` is laid over the file, as in --set scale=a100; null: none of them."
    )
    scales: Annotated[dict[Text, Part], Len(1)] | None = Field(
        default=None,
        description="By name what is laid over the file: mappings key by key, all else in the place of what was there.",
    )
    scaled_to: Text | None = Field(
        default=None, description="Which scale a resolved job was made with; written by the platform."
    )

    @model_validator(mode="after")
    def _known(self) -> "ScalesSpec":
        if self.scale is not None and self.scales is None:
            raise ValueError(f"scale is '{self.scale}', but there are no scales to choose from")
        return self


def scaled(document: Document) -> Document:
    """The document with the scale that it names laid over it; what `--set` said stays on top.

    Raises:
        SpecError: there is no scale of that name, or what `--set` replaced is not in it.
    """
    value = document.value
    if not isinstance(value, dict) or not isinstance(value.get("scales"), dict) or not isinstance(value.get("scale"), str):
        return document
    scales, scale = value["scales"], value["scale"]
    if scale not in scales:
        raise SpecError([document.problem(("scale",), f"expected one of {', '.join(scales)}, found '{scale}'")])
    whole, lines = merged([(value, ()), (scales[scale], ("scales", scale))], document)
    lines[()] = document.lines.get((), 1)
    problems = []
    for path in document.overrides:
        if path[0] in ("scale", "scales"):
            continue
        try:
            put(whole, path, _at(value, path))
        except (KeyError, IndexError, TypeError):
            problems.append(document.problem(path, f"scale '{scale}' has no such place in it"))
        lines = {where: line for where, line in lines.items() if where[: len(path)] != path}
    if problems:
        raise SpecError(problems)
    whole = {key: each for key, each in whole.items() if key not in ("scale", "scales")} | {"scaled_to": scale}
    return Document(whole, lines, document.file, document.overrides)


def part_document(document: Document, *places: KeyPath, given: Mapping[str, Any]) -> Document:
    """The document of an ordinary job: the parts at some places of a file, laid over each other, and what is given.

    A part of `kind: finetune` over a base of `kind: train` keeps of that what a finetune can have.

    Args:
        document: the file.
        places: key paths of the parts, the later ones on top.
        given: top-level keys beside them.
    """
    value: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    for place in places:
        part = _at(document.value, place)
        part = part if isinstance(part, dict) else {}
        if part.get("kind") == "finetune" and value.get("kind") == "train":
            value = as_finetune(value)
        lay_over(value, part, lines, document, place)
    overrides = {
        path[len(place) :]: text for place in places for path, text in document.overrides.items() if path[: len(place)] == place
    }
    whole = {"apiVersion": API_VERSION, **value, **given}
    return Document(whole, {(): document.lines.get(places[-1], 1)} | lines, document.file, overrides)


def merged(parts: Sequence[tuple[Any, KeyPath]], document: Document) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Parts of a document laid over each other, and on which of its lines each value of the outcome stands."""
    whole: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    for part, place in parts:
        lay_over(whole, part if isinstance(part, dict) else {}, lines, document, place)
    return whole, lines


def lay_over(
    under: dict[str, Any], over: Mapping[str, Any], lines: dict[KeyPath, int], document: Document, place: KeyPath
) -> None:
    """Lay a part of a document, which stands at a place of it, over others; lines are noted."""
    own = {path[len(place) :]: line for path, line in document.lines.items() if path[: len(place)] == place}
    _lay_over(under, over, (), lines, own)


def _lay_over(
    under: dict[str, Any], over: Mapping[str, Any], path: KeyPath, lines: dict[KeyPath, int], own: dict[KeyPath, int]
) -> None:
    for key, value in over.items():
        place = (*path, key)
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            _lay_over(under[key], value, place, lines, own)
            continue
        under[key] = deepcopy(value)
        for old in [line for line in lines if line[: len(place)] == place]:
            del lines[old]
        lines |= {where: line for where, line in own.items() if where[: len(place)] == place}


def as_finetune(value: dict[str, Any]) -> dict[str, Any]:
    """What a finetune can have of a training's keys."""
    kept = {key: deepcopy(each) for key, each in value.items() if key not in ("model", "start")}
    if isinstance(model := value.get("model"), dict) and "bias" in model:
        kept.setdefault("bias", deepcopy(model["bias"]))
    if isinstance(train := kept.get("train"), dict):
        _leave_out(train, TrainSpec, FinetuneSpec)
        if isinstance(optimizer := train.get("optimizer"), dict):
            _leave_out(optimizer, OptimizerSpec, BiasOptimizerSpec)
    return kept


def _leave_out(value: dict[str, Any], whole: type[Spec], part: type[Spec]) -> None:
    """Remove the keys that one has and the other does not."""
    for key in whole.model_fields.keys() - part.model_fields.keys():
        value.pop(key, None)


def _at(value: Any, path: KeyPath) -> Any:
    for step in path:
        value = value[step]
    return value


def put(value: Any, path: KeyPath, new: Any) -> None:
    """Put a value at a key path, making the mappings that lead there."""
    for step in path[:-1]:
        if isinstance(value, dict) and value.get(step) is None:
            value[step] = {}
        value = value[step]
    value[path[-1]] = new
