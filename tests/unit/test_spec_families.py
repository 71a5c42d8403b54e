"""The task file's JSON Schema against the models that read task files."""

import inspect

import jsonschema
import pytest
from pydantic import ValidationError

from ipt_platform.data.degradations import DEGRADATIONS, build_degradation
from ipt_platform.data.degradations.compose import COMPOSITIONS, Step
from ipt_platform.spec.families import meanings, parameters
from ipt_platform.spec.schema import task_schema
from ipt_platform.spec.task import load_task, task_names

SCHEMA = task_schema()
HEAD = {"apiVersion": "ipt/v1", "kind": "task", "name": "n", "description": "d", "stage": "downstream"}


def accepted(degradation) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid({**HEAD, "degradation": degradation})


def built(degradation) -> bool:
    try:
        build_degradation(degradation)
    except ValidationError:
        return False
    return True


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", task_names())
def test_tasks_that_ship_are_as_the_schema_says(name):
    assert accepted(load_task(name).degradation)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_defaults_are_as_the_schema_says(name):
    assert accepted(name)
    assert accepted({"name": name, **build_degradation(name).model_dump(mode="json")})


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_bounds_are_those_that_the_models_check(name):
    for key, schema in parameters(DEGRADATIONS[name]).items():
        numbers = [form for form in [schema, *schema.get("anyOf", [])] if "maximum" in form]
        for form in numbers:
            for value, right in (
                (form["maximum"], True),
                (form["minimum"], True),
                (form["maximum"] + 1, False),
                (form["minimum"] - 1, False),
                ("much", False),
            ):
                spec = {"name": name, key: value}
                assert built(spec) == accepted(spec) == right, spec
        if {"type": "integer"}.items() <= (numbers[0] if numbers else {}).items():
            spec = {"name": name, key: 1.5}
            assert built(spec) == accepted(spec) is False, spec


@pytest.mark.parametrize(
    ("spec", "right"),
    [
        (["rain", {"name": "haze", "probability": 0.5, "as": "fog"}], True),
        ([["rain", "snow"], {"name": "one-of", "choices": ["haze", ["jpeg"]], "weights": [1, 2]}], True),
        ({"name": "one-of", "choices": ["haze"]}, True),
        ({"name": "chain", "steps": ["haze"]}, True),
        ({"name": "gaussian-noise", "sigma": {"choices": [15, 25]}}, True),
        ({"name": "gaussian-noise", "sigma": {"min": 15, "max": 25}}, True),
        ({"name": "gaussian-noise", "sigma": {"min": 15}}, False),
        ({"name": "gaussian-noise", "sigma": {"choices": []}}, False),
        ({"name": "gaussian-noise", "sigma": [15, 25]}, False),
        ({"name": "gaussian-noise", "sigma": True}, False),
        ({"name": "gaussian-noise", "sgma": 15}, False),
        ({"name": "rain", "probability": 0.5}, False),
        ({"name": "rain", "as": "shower"}, False),
        ([{"name": "rain", "probability": 1.5}], False),
        ([{"name": "rain", "as": "A b"}], False),
        (["rian"], False),
        ({"name": "rian"}, False),
        ([], False),
        ("chain", False),
        ({"name": "one-of"}, False),
        ({"name": "one-of", "choices": []}, False),
        ({"name": "one-of", "choices": ["haze"], "weights": [-1]}, False),
        ({"sigma": 1}, False),
        (3, False),
    ],
)
def test_the_schema_and_the_models_agree(spec, right):
    assert built(spec) == accepted(spec) == right


@pytest.mark.parametrize("family", [*DEGRADATIONS.values(), *COMPOSITIONS.values()])
def test_every_parameter_says_what_it_means(family):
    assert meanings(family).keys() >= family.model_fields.keys()
    assert all(text[0].isupper() and text.endswith(".") for text in meanings(family).values())
    assert inspect.getdoc(family)


def test_a_meaning_is_the_text_below_its_line():
    assert meanings(Step)["probability"] == "How often it is applied."
