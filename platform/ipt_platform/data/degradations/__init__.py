"""Damage to clean photographs, drawn on the fly: one file per family, numpy and OpenCV only."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from ipt_platform.data.degradations.base import Degradation, Draw, Frame, Params, Picture
from ipt_platform.data.degradations.blur import MotionBlur
from ipt_platform.data.degradations.haze import Haze
from ipt_platform.data.degradations.noise import GaussianNoise
from ipt_platform.data.degradations.rain import Rain
from ipt_platform.data.degradations.snow import Snow
from ipt_platform.errors import Problem, SpecError

__all__ = ["DEGRADATIONS", "Degradation", "Draw", "Frame", "Params", "Picture", "build_degradation"]

DEGRADATIONS: dict[str, type[Degradation]] = {
    "gaussian-noise": GaussianNoise,
    "motion-blur": MotionBlur,
    "haze": Haze,
    "rain": Rain,
    "snow": Snow,
}
"""Every family by the word that task files use."""


def build_degradation(spec: Mapping[str, Any]) -> Degradation:
    """Build a degradation from `{"name": <family>, **parameters}`.

    Raises:
        SpecError: the name is missing or unknown.
        pydantic.ValidationError: a parameter is unknown, of the wrong type or out of its range.
    """
    name = spec.get("name")
    family = DEGRADATIONS.get(name) if isinstance(name, str) else None
    if family is None:
        raise SpecError([Problem(_unknown(name), path="degradation.name")])
    return family.model_validate({key: value for key, value in spec.items() if key != "name"})


def _unknown(name: object) -> str:
    known = f"the families are {', '.join(DEGRADATIONS)}"
    if name is None:
        return f"a degradation needs a name; {known}"
    near = get_close_matches(str(name), DEGRADATIONS, n=1)
    return f"unknown degradation {name!r}; " + (f"did you mean {near[0]!r}? " if near else "") + known
