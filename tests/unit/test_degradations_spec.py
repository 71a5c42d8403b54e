"""How degradations are named, typed and refused."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from ipt_platform.data.degradations import DEGRADATIONS, Draw, build_degradation


def test_unknown_family_names_the_nearest_one():
    with pytest.raises(ValidationError, match="did you mean 'motion-blur'"):
        build_degradation({"name": "motion-blurr"})


@pytest.mark.parametrize("spec", [{}, {"name": None}, {"name": 3}])
def test_a_missing_name_lists_the_families(spec):
    with pytest.raises(ValidationError, match="gaussian-noise"):
        build_degradation(spec)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([0, 50], "does not say what it means"),
        ({"min": 5}, "expected a number"),
        ({"min": 5, "max": 1}, "min 5 is above max 1"),
        ({"choices": []}, "choices are empty"),
        ({"choices": [1], "min": 0, "max": 2}, "both choices and a range"),
        ({"min": 0, "maximum": 5}, "Extra inputs"),
        (-1, "expected numbers between 0 and 255, found -1"),
        ({"min": 0, "max": 300}, "found 0 to 300"),
        (float("nan"), "finite"),
        (True, "valid dictionary"),
        ("loud", "valid dictionary"),
    ],
)
def test_a_wrong_draw_is_refused_with_the_reason(value, sentence):
    with pytest.raises(ValidationError, match=sentence):
        build_degradation({"name": "gaussian-noise", "sigma": value})


def test_unknown_parameter_is_refused():
    with pytest.raises(ValidationError, match="sigmma"):
        build_degradation({"name": "gaussian-noise", "sigmma": 25})


@pytest.mark.parametrize("form", [25.0, {"choices": [15.0, 25.0, 50.0]}, {"min": 0.0, "max": 50.0}])
def test_a_draw_is_written_in_its_shortest_form(form):
    assert Draw.model_validate(form).model_dump() == form


def test_choices_are_all_drawn():
    draw = Draw(choices=(15, 25, 50))
    rng = np.random.default_rng(0)

    assert {draw.sample(rng) for _ in range(100)} == {15, 25, 50}


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_defaults_work_and_a_spec_survives_json(name):
    degradation = build_degradation({"name": name})
    spec = {"name": name, **json.loads(degradation.model_dump_json())}

    assert build_degradation(spec) == degradation
    assert DEGRADATIONS[name].name == name
