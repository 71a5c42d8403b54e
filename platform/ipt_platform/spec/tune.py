"""`kind: tune`: the knobs of a search, how values are tried, and when a trial is stopped."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from ipt_platform.spec.base import Many, Number, Spec, Text, finite
from ipt_platform.spec.compound import Seeds
from ipt_platform.spec.words import LayerGroup

INERT = ("pbt", "pb2", "pbt-replay", "hyperband-bohb")
Value = bool | int | float | str | None


def _choice(value: Any) -> Any:
    if isinstance(value, Mapping):
        raise ValueError("expected a number, a word, null or a list, found a mapping")
    return finite(value)


Choice = Annotated[Value | list[Any], BeforeValidator(_choice, json_schema_input_type=Value | list[Any])]


class ChoicesKnob(Spec):
    """A knob with some values."""

    choices: Many[Choice] = Field(min_length=1, description="The values: numbers, words or lists.")


class RangeKnob(Spec):
    """A knob with every number between two."""

    min: Number = Field(description="Smallest value; whole numbers are drawn where both ends are whole.")
    max: Number = Field(description="Largest value.")
    log: bool = Field(default=False, description="Whether every power of ten gets as many values as the next.")

    @model_validator(mode="after")
    def _a_range(self) -> "RangeKnob":
        if self.min >= self.max:
            raise ValueError(f"min {self.min:g} is not below max {self.max:g}")
        if self.log and self.min <= 0:
            raise ValueError(f"min {self.min:g} has no logarithm; log: true needs a min above 0")
        return self


class SubsetsKnob(Spec):
    """A knob whose values are subsets of layer groups; each group is in or out, and its importance is its own."""

    subsets: Many[LayerGroup] = Field(min_length=1, max_length=16, description="The layer groups from which subsets are made.")
    at_least: int = Field(default=1, ge=1, le=16, description="Groups that a subset has at least.")

    @model_validator(mode="after")
    def _enough(self) -> "SubsetsKnob":
        if len({*self.subsets}) < len(self.subsets):
            raise ValueError("a layer group stands twice in subsets; name each once")
        if self.at_least > len(self.subsets):
            raise ValueError(f"at_least {self.at_least} is more than the {len(self.subsets)} groups of subsets")
        return self


FORMS: dict[str, type[Spec]] = {"knob of choices": ChoicesKnob, "knob of subsets": SubsetsKnob, "knob of a range": RangeKnob}
"""The forms of a knob; pydantic makes them part of where an error is."""


def _form(value: Any) -> str | None:
    """The form that was meant: the first of which some key is there."""
    if not isinstance(value, Mapping):
        return next((form for form, kind in FORMS.items() if isinstance(value, kind)), None)
    return next((form for form, kind in FORMS.items() if kind.model_fields.keys() & value.keys()), None)


Knob = ChoicesKnob | SubsetsKnob | RangeKnob
OneKnob = Annotated[
    Annotated[ChoicesKnob, Tag("knob of choices")]
    | Annotated[SubsetsKnob, Tag("knob of subsets")]
    | Annotated[RangeKnob, Tag("knob of a range")],
    Discriminator(
        _form,
        custom_error_type="knob",
        custom_error_message="expected {choices: [...]}, {min: ..., max: ...} or {subsets: [...]}",
    ),
]


def _active(scheduler: Any) -> Any:
    if isinstance(scheduler, str) and scheduler in INERT:
        raise ValueError(
            f"'{scheduler}' copies one trial's checkpoint to another, and trials that train through Ray Train hand Tune none: "
            "it would run to its end without ever doing so; write asha or none"
        )
    return scheduler


class SearchSpec(Spec):
    """What is searched, and how."""

    space: Annotated[dict[Text, OneKnob], Len(1)] = Field(
        description="Knobs, by the dotted path of what they set in `base`: {bias.rank: {choices: [4, 8, 16]}, "
        "train.optimizer.bias_lr: {min: 1.0e-4, max: 1.0e-2, log: true}, bias.targets: {subsets: [qkv, proj, ffn]}, "
        "tasks.denoise.weight: {choices: [1, 2]}}; of a training job's bias model.bias.rank and so on."
    )
    searcher: Literal["grid", "random", "tpe"] = Field(
        default="tpe",
        description="grid: every combination of choices; random: independent draws; tpe: Optuna's tree-structured Parzen "
        "estimator, which learns from the trials before.",
    )
    trials: int | None = Field(
        default=None, ge=1, le=10_000, description="Trials in all; null: the whole grid (needed for random and tpe)."
    )
    objectives: Annotated[Many[Literal["psnr", "parameters"]], Len(1)] = Field(
        default=("psnr",),
        description="[psnr]: the mean dB over sets and tasks; [psnr, parameters]: that up and the parameters of a bias down.",
    )
    scheduler: Annotated[Literal["asha", "none"], BeforeValidator(_active)] = Field(
        default="asha",
        description="asha: stops a trial that is not among the best of those that came as far (by PSNR at evaluate.every); "
        "none: trains every trial to its end.",
    )
    grace: int | None = Field(
        default=None, ge=1, description="asha: steps before any trial is stopped; null: those of the first evaluation."
    )
    reduction: int = Field(default=3, ge=2, le=16, description="asha: of so many trials one goes on from each rung.")
    prior: Many[Text] = Field(
        default=(),
        description="Runs (ids or folders) of analyses of sensitivity and rank energy: what they propose is tried first.",
    )
    repeat: Seeds = Field(
        default=(),
        description="Further seeds with which the best trials are repeated, for a mean, its deviation and a paired test; the "
        "search itself has the job's seed.",
    )
    best: int = Field(default=2, ge=1, le=100, description="How many of the best trials are repeated.")

    @model_validator(mode="after")
    def _fit_together(self) -> "SearchSpec":
        ranges = [path for path, knob in self.space.items() if isinstance(knob, RangeKnob)]
        if self.searcher == "grid" and ranges:
            raise ValueError(
                f"a grid has no values for the range of {ranges[0]}; give its choices, or search with random or tpe"
            )
        if self.searcher != "grid" and self.trials is None:
            raise ValueError(f"searcher {self.searcher} never ends by itself; say how many trials")
        if "psnr" not in self.objectives or len({*self.objectives}) < len(self.objectives):
            raise ValueError("objectives is [psnr] or [psnr, parameters]")
        return self
