"""How many workers a run trains with: a number, or as many as there is room for between two numbers."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from ipt_platform.spec.base import Spec

MOST = 4096

COUNT, RANGE = "number of workers", "range of workers"
"""Which form `workers` has; pydantic makes it part of where an error is."""


class ElasticSpec(Spec):
    """As many workers as there is room for; steps, samples and the global batch stay what they are.

    A run goes on with fewer after machines were lost, and with more when there are more: right after the next checkpoint, so
    that no step is done twice.
    """

    min: int = Field(ge=1, le=MOST, description="Fewest workers with which the run trains; with room for fewer it waits.")
    max: int = Field(ge=1, le=MOST, description="Most workers; an embedded Ray has room for so many.")
    look_every_s: float = Field(default=60, ge=1, le=86_400, description="Seconds between looks for room for more workers.")

    @model_validator(mode="after")
    def _in_order(self) -> "ElasticSpec":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}; give the fewest workers as min, the most as max")
        return self


def _form(value: Any) -> str | None:
    if isinstance(value, ElasticSpec | Mapping):
        return RANGE
    return COUNT if isinstance(value, int) and not isinstance(value, bool) else None


WorkersSpec = Annotated[
    Annotated[int, Field(ge=1, le=MOST), Tag(COUNT)] | Annotated[ElasticSpec, Tag(RANGE)],
    Discriminator(
        _form,
        custom_error_type="workers",
        custom_error_message="expected a whole number or {min: ..., max: ...}",
    ),
]


def fewest(workers: int | ElasticSpec) -> int:
    """The least number of workers."""
    return workers.min if isinstance(workers, ElasticSpec) else workers


def most(workers: int | ElasticSpec) -> int:
    """The greatest number of workers."""
    return workers.max if isinstance(workers, ElasticSpec) else workers


def possible_counts(workers: int | ElasticSpec, images: Iterable[int], accumulate: int) -> tuple[int, ...]:
    """The numbers of workers, ascending, each of which can share the images of every step equally.

    Args:
        workers: of the job.
        images: of a step, in each stage.
        accumulate: parts that each worker's share is split into.
    """
    each = tuple(images)
    return tuple(
        number
        for number in range(fewest(workers), most(workers) + 1)
        if not any(count % (number * accumulate) for count in each)
    )
