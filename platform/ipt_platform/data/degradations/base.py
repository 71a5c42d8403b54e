"""What every degradation is: typed parameters, a draw of them, and a pure function of picture and drawn parameters.

A degradation draws first and applies afterwards: `draw(rng)` settles everything random as plain JSON values,
`apply(clean, params, frame)` uses no other randomness. So stored params rebuild the same pair without the generator
that drew them, and the same params can be applied to a crop and to the whole picture. Where many numbers are needed
(noise, flakes), params hold the key of a generator of their own.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from ipt_platform.data.degradations.frame import Frame, Part, grown

Picture = NDArray[np.float32]
"""float32 [H, W, 3] RGB in [0, 1]."""

Params = dict[str, Any]
"""Drawn parameters: plain Python values that survive JSON unchanged."""

_KEYS = 2**53
"""Keys stay below 2^53, so that a reader of JSON that keeps numbers as doubles reads them exactly."""


class Draw(BaseModel):
    """A number drawn anew for every pair: `25`, `{choices: [15, 25, 50]}`, or uniform `{min: 0, max: 50}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min: float | None = None
    max: float | None = None
    choices: tuple[float, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"choices": [value]}
        if isinstance(value, list | tuple):
            raise ValueError("a bare list does not say what it means; write {choices: [...]} or {min: ..., max: ...}")
        return value

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.choices is not None and (self.min is not None or self.max is not None):
            raise ValueError("found both choices and a range; write {choices: [...]} or {min: ..., max: ...}")
        if self.choices is None and (self.min is None or self.max is None):
            raise ValueError("expected a number, {choices: [...]} or {min: ..., max: ...}")
        if self.choices is not None and not self.choices:
            raise ValueError("choices are empty; name at least one number")
        if self.low > self.high:
            raise ValueError(f"min {self.low:g} is above max {self.high:g}")
        return self

    @model_serializer
    def _shortest_form(self) -> float | dict[str, Any]:
        if self.choices is None:
            return {"min": self.min, "max": self.max}
        return self.choices[0] if len(self.choices) == 1 else {"choices": list(self.choices)}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        number = {"type": "number"}
        choices = {"choices": {"type": "array", "items": number, "minItems": 1}}
        return {"anyOf": [number, _closed(choices), _closed({"min": number, "max": number})]}

    @property
    def low(self) -> float:
        """The smallest number that can be drawn."""
        return min(self.choices) if self.choices is not None else float(self.min or 0.0)

    @property
    def high(self) -> float:
        """The largest number that can be drawn."""
        return max(self.choices) if self.choices is not None else float(self.max or 0.0)

    def sample(self, rng: np.random.Generator) -> float:
        """Draw one number; a constant takes nothing from the generator."""
        if self.choices is None:
            low = float(self.min or 0.0)
            # What `rng.uniform` does, in a fifth of the time.
            return low + (float(self.max or 0.0) - low) * rng.random()
        if len(self.choices) == 1:
            return self.choices[0]
        return self.choices[int(rng.integers(len(self.choices)))]


def constant(value: float) -> Draw:
    """A draw that always gives `value`."""
    return Draw(choices=(value,))


def uniform(low: float, high: float) -> Draw:
    """A uniform draw from [low, high]."""
    return Draw(min=low, max=high)


@dataclass(frozen=True)
class Within:
    """A bound for a field: a draw that could leave it is refused."""

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return _numbers(handler.resolve_ref_schema(handler(schema)), minimum=self.low, maximum=self.high)

    def _check(self, draw: Draw) -> Draw:
        if draw.low < self.low or draw.high > self.high:
            found = f"{draw.low:g}" if draw.low == draw.high else f"{draw.low:g} to {draw.high:g}"
            raise ValueError(f"expected numbers between {self.low:g} and {self.high:g}, found {found}")
        return draw


class Whole:
    """A bound for a field: a draw of anything but whole numbers is refused."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = _numbers(handler.resolve_ref_schema(handler(schema)), type="integer")
        return {"anyOf": [form for form in found["anyOf"] if "min" not in form.get("properties", ())]}

    def _check(self, draw: Draw) -> Draw:
        if draw.choices is None or any(not value.is_integer() for value in draw.choices):
            raise ValueError("expected whole numbers, one by one: 3 or {choices: [2, 3, 4]}")
        return draw


def within(low: float, high: float) -> Within:
    """The bound of a field.

    Write `sigma: Annotated[Draw, within(0, 255)]`.
    """
    return Within(low, high)


whole = Whole()
"""The bound of a field: write `scale: Annotated[Draw, whole]`."""


def _closed(properties: dict[str, Any]) -> JsonSchemaValue:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _numbers(schema: Any, **bounds: Any) -> Any:
    """A JSON Schema with bounds put on every number in it."""
    if isinstance(schema, list):
        return [_numbers(each, **bounds) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _numbers(each, **bounds) for key, each in schema.items()}
    return found | bounds if schema.get("type") in {"number", "integer"} else found


def draw_key(rng: np.random.Generator) -> int:
    """Draw the key of a generator of its own, to be stored in params and opened with `keyed`."""
    return int(rng.integers(_KEYS))


def keyed(key: int) -> np.random.Generator:
    """Open the generator of a stored key; the same key gives the same numbers on every machine.

    SFC64, because it draws normal numbers a third faster than the Philox that keys the pairs, and a field of numbers
    needs no counter.
    """
    return np.random.Generator(np.random.SFC64(key))


class Degradation(BaseModel, ABC):
    """A family of damage with typed parameters; subclasses say how to draw and how to apply.

    Attributes:
        name: the word under which task files know the family.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]

    @property
    def margin(self) -> int:
        """Pixels of context a crop needs on every side, so that its trimmed result equals the crop of the whole."""
        return 0

    def reach(self, params: Params) -> int:
        """Pixels of context that one draw needs on every side: at most `margin`."""
        return self.margin

    def looks_at(self, part: Part, params: Params, frame: Frame, limits: Part) -> Part:
        """What one draw has to see of an array to make a part of it; never more than `reach` pixels round it.

        Args:
            part: what is to be made.
            params: what `draw` returned.
            frame: where the array lies in the whole picture.
            limits: what there is of the array to be seen.
        """
        return grown(part, self.reach(params), limits)

    @property
    def upscale(self) -> int:
        """How many times smaller a side of the file that people have is than the degraded picture made here.

        Restoration enlarges a file by so much first. 1 but for super-resolution; the smallest where it is drawn.
        """
        return 1

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Params:
        """Settle everything random about one pair as JSON values, independent of the picture and its size."""

    @abstractmethod
    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Degrade a picture by drawn parameters; a pure function.

        Args:
            clean: [H, W, 3] float32 in [0, 1]; never written to.
            params: what `draw` returned.
            frame: where `clean` lies in the whole picture; None where it is the whole picture.

        Returns:
            [h, w, 3] float32, a new array: all of the picture but the frame's context.
        """

    def __call__(self, clean: Picture, rng: np.random.Generator) -> tuple[Picture, Params]:
        """Draw parameters and degrade a whole picture by them.

        Args:
            clean: [H, W, 3] float32 in [0, 1].
            rng: the generator keyed for this pair.

        Returns:
            the degraded picture [H, W, 3] float32, and the parameters that made it.
        """
        params = self.draw(rng)
        return self.apply(clean, params), params


def cut_at_white(picture: Picture, clean: Picture) -> Picture:
    """Cut what is above white, in place, but not below what was there before: noise under it is not the weather's to clip.

    Args:
        picture: [H, W, 3] float32; written to.
        clean: [H, W, 3] float32, what the picture was made of.
    """
    if clean.max(initial=1) > 1:
        return np.minimum(picture, np.maximum(clean, 1), out=picture)
    return np.asarray(cv2.threshold(picture, 1.0, 0.0, cv2.THRESH_TRUNC, dst=picture)[1], np.float32)
