"""Degradations made of degradations: a chain of them in order, and one of several at random. Both nest.

Real pictures are seldom damaged once: rain falls at dusk, and a camera then compresses the noise. A file spells a chain
as a list, `[lowlight, {name: rain, density: 0.01}, {name: jpeg, probability: 0.5}]`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from ipt_platform.data.degradations.base import Degradation, Params, Picture
from ipt_platform.data.degradations.frame import Frame, Part, grown, seen_from

Families = Mapping[str, type[Degradation]]

OWN_KEYS = ("probability", "as")
"""Keys of a step that stand beside the parameters of its degradation."""

LABEL = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""What a step may be called: a word as tasks and runs are called by."""


def _built(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, Degradation):
        return value
    if info.context is None:
        raise ValueError("expected a built degradation; `build_degradation` builds one from its name and parameters")
    return build(value, info.context)


def _some(steps: tuple["Step", ...]) -> tuple["Step", ...]:
    if not steps:
        raise ValueError("the list is empty; name at least one degradation")
    return steps


class Step(BaseModel):
    """A degradation as a part of others; files write both in one: `{name: rain, density: 0.01, probability: 0.5}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)

    degradation: Annotated[Degradation, BeforeValidator(_built)]
    probability: Annotated[float, Field(ge=0, le=1, strict=True)] = 1.0
    """How often it is applied."""
    label: Annotated[str, StringConstraints(pattern=LABEL)] | None = Field(None, alias="as")
    """What drawn and replaced parameters call the step; null: the name of its family."""

    @model_validator(mode="before")
    @classmethod
    def _of_file(cls, value: Any) -> Any:
        if isinstance(value, Step) or (isinstance(value, Mapping) and isinstance(value.get("degradation"), Degradation)):
            return value
        if not isinstance(value, Mapping):
            return {"degradation": value}
        own = {key: value[key] for key in OWN_KEYS if key in value}
        return {**own, "degradation": {key: part for key, part in value.items() if key not in OWN_KEYS}}

    @model_serializer
    def _to_file(self) -> dict[str, Any]:
        own = {"probability": self.probability} if self.probability < 1 else {}
        label = {} if self.label is None else {"as": self.label}
        return {"name": self.degradation.name, **label, **own, **self.degradation.model_dump(mode="json")}

    @property
    def called(self) -> str:
        """The label, else the name of the family."""
        return self.label or self.degradation.name

    @property
    def upscale(self) -> int:
        """That of the degradation; 1 where the step may be left out."""
        return self.degradation.upscale if self.probability == 1 else 1

    def reach(self, params: Params | None) -> int:
        """Pixels of context that one draw needs; none where it is left out."""
        return 0 if params is None else self.degradation.reach(params)

    def looks_at(self, part: Part, params: Params | None, frame: Frame, limits: Part) -> Part:
        """What the degradation has to see; the part alone where it is left out."""
        return part if params is None else self.degradation.looks_at(part, params, frame, limits)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw whether to apply, and with which parameters (None: not at all); a certain step takes nothing for the first."""
        applied = self.probability == 1 or rng.random() < self.probability
        return {"name": self.called, "params": self.degradation.draw(rng) if applied else None}


class Chain(Degradation):
    """y = d_n(... d_2(d_1(x))): degradations one after another, each applied with a probability of its own.

    The classical model of a picture's way (blur, downsample, add noise, compress) made free in order and number, as in
    Zhang et al., "Designing a Practical Degradation Model" (ICCV 2021).
    """

    name: ClassVar[str] = "chain"

    steps: Annotated[tuple[Step, ...], AfterValidator(_some)]
    """The degradations, first to last."""

    @property
    def margin(self) -> int:
        """The sum of the steps' margins: each spoils a rim of what the next one looks at."""
        return sum(step.degradation.margin for step in self.steps)

    @property
    def upscale(self) -> int:
        """The largest of the steps': each gives the picture its size back, so smaller ones do not multiply."""
        return max(step.upscale for step in self.steps)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw every step: `{"steps": [{"name": ..., "params": {...} or None where it is left out}, ...]}`."""
        return {"steps": [step.draw(rng) for step in self.steps]}

    def reach(self, params: Params) -> int:
        """The sum of what the drawn steps need."""
        return sum(step.reach(drawn["params"]) for step, drawn in zip(self.steps, params["steps"], strict=True))

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Apply the drawn steps in order; each to so much context only as this draw needs from there on.

        What lies outside the whole picture is left out: every step knows for itself what lies beyond a border, which is
        its reflection, and not what the steps before have made of another reflection.
        """
        whole = frame or Frame(*clean.shape[:2])
        asked = whole.inner(*clean.shape[:2])
        inside = whole.inside(*clean.shape[:2])
        part, *parts = self._parts(grown(asked, 0, inside), params, whole, inside)
        degraded = clean[part]
        for step, drawn, after in zip(self.steps, params["steps"], parts, strict=True):
            if drawn["params"] is not None:
                degraded = step.degradation.apply(degraded, drawn["params"], whole.of_part(part, after))
                part = after
        if part == asked and not np.may_share_memory(degraded, clean):
            return degraded
        result = clean[asked].copy()
        result[seen_from(part, asked)] = degraded
        return result

    def looks_at(self, part: Part, params: Params, frame: Frame, limits: Part) -> Part:
        """What the first step has to see, for what the second has to see, and so on."""
        return self._parts(part, params, frame, limits)[0]

    def _parts(self, part: Part, params: Params, frame: Frame, limits: Part) -> list[Part]:
        """What is to be seen before the first step, before the second, and so on; last the part that is to be made."""
        parts = [part]
        for step, drawn in zip(reversed(self.steps), reversed(params["steps"]), strict=True):
            parts.append(step.looks_at(parts[-1], drawn["params"], frame, limits))
        return parts[::-1]


class OneOf(Degradation):
    """y = d_k(x) with k drawn by weight: one of several degradations for each pair."""

    name: ClassVar[str] = "one-of"

    choices: Annotated[tuple[Step, ...], AfterValidator(_some)]
    """What is chosen from."""
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """How often each is chosen, relative to the others; none: all alike."""

    @field_validator("weights")
    @classmethod
    def _one_each(cls, weights: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        choices = info.data.get("choices")
        if weights is not None and choices is not None and len(weights) != len(choices):
            raise ValueError(f"expected one weight for each of the {len(choices)} choices, found {len(weights)}")
        if weights is not None and not sum(weights):
            raise ValueError("all weights are 0; give at least one choice a weight above 0")
        return weights

    @property
    def margin(self) -> int:
        """The largest of the choices' margins."""
        return max(choice.degradation.margin for choice in self.choices)

    @property
    def upscale(self) -> int:
        """The smallest of the choices'."""
        return min(choice.upscale for choice in self.choices)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw a choice and its parameters: `{"choice": k, "name": ..., "params": {...} or None where it is left out}`."""
        if len(self.choices) == 1:
            choice = 0
        else:
            ends = np.cumsum(self.weights or [1.0] * len(self.choices))
            choice = int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
        return {"choice": choice, **self.choices[choice].draw(rng)}

    def reach(self, params: Params) -> int:
        """What the drawn choice needs."""
        return self.choices[params["choice"]].reach(params["params"])

    def looks_at(self, part: Part, params: Params, frame: Frame, limits: Part) -> Part:
        """What the drawn choice has to see."""
        return self.choices[params["choice"]].looks_at(part, params["params"], frame, limits)

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Apply the drawn choice."""
        if params["params"] is None:
            return clean.copy()
        return self.choices[params["choice"]].degradation.apply(clean, params["params"], frame)


COMPOSITIONS: dict[str, type[Chain] | type[OneOf]] = {"chain": Chain, "one-of": OneOf}
"""What is made of other degradations, by the word that task files use."""


def build(spec: Any, families: Families) -> Degradation:
    """Build a degradation from what a file says.

    Args:
        spec: `{"name": <family>, **parameters}`, the bare name, or a list of both, which is a chain.
        families: The families by name; compositions are known without being in it.

    Raises:
        pydantic.ValidationError: A name is missing or unknown; a parameter is unknown, of the wrong type or out of its
            range. Every such problem, with its place.
    """
    if isinstance(spec, str):
        spec = {"name": spec}
    if isinstance(spec, list | tuple):
        spec = {"name": Chain.name, "steps": spec}
    if not isinstance(spec, Mapping):
        raise _refused((), spec, f"expected {{name: ..., parameters}}, the name of a degradation or a list, found {spec!r}")
    name = spec.get("name")
    known: Families = {**families, **COMPOSITIONS}
    family = known.get(name) if isinstance(name, str) else None
    if family is None:
        raise _refused(("name",), name, _unknown(name, known))
    misplaced = next((key for key in OWN_KEYS if key in spec), None)
    if misplaced is not None:
        message = f"'{misplaced}' belongs to a step of a list; write a list of one: [{{name: {name}, {misplaced}: ...}}]"
        raise _refused((misplaced,), spec[misplaced], message)
    return family.model_validate({key: value for key, value in spec.items() if key != "name"}, context=families)


def _refused(place: tuple[str, ...], found: Any, message: str) -> ValidationError:
    detail = InitErrorDetails(type="value_error", loc=place, input=found, ctx={"error": ValueError(message)})
    return ValidationError.from_exception_data("degradation", [detail])


def _unknown(name: object, known: Families) -> str:
    found = "a degradation needs a name" if name is None else f"unknown degradation {name!r}"
    near = get_close_matches(name, known, n=1) if isinstance(name, str) else []
    return f"{found}; did you mean {near[0]!r}?" if near else f"{found}; the families are {', '.join(known)}"
