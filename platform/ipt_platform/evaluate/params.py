"""`--param sigma=25`: parameters of a degradation given on the command line, typed by the degradation."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ipt_platform.data.degradations import DEGRADATIONS
from ipt_platform.errors import Problem, SpecError
from ipt_platform.evaluate.testset import FrozenTask, frozen_task
from ipt_platform.spec.problems import problems_of
from ipt_platform.spec.source import Document, parse_yaml
from ipt_platform.spec.task import load_task


def parse_params(given: Sequence[str]) -> dict[str, Any]:
    """The values of `KEY=VALUE` texts, VALUE being YAML: `sigma=25`, `sigma={min: 0, max: 50}`, `linear_light=true`.

    Raises:
        SpecError: a text is not KEY=VALUE, a value is no YAML, or a key is given twice; every problem found.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key.isidentifier():
            problems.append(Problem("expected KEY=VALUE, as in sigma=25", file=f"--param {text}"))
        elif key in values:
            problems.append(Problem(f"'{key}' was already given; keep one of them", file=f"--param {text}"))
        else:
            try:
                values[key] = parse_yaml(value, f"--param {text}").value
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(problems)
    return values


def task_with_params(name: str, params: Mapping[str, Any]) -> FrozenTask:
    """A task's frozen form with parameters from the command line in place of its own.

    Raises:
        SpecError: no such task; a parameter is unknown, of the wrong type, or out of its range; every problem found.
    """
    try:
        return frozen_task(name, params)
    except ValidationError as error:
        family = DEGRADATIONS[load_task(name).degradation["name"]]
        raise SpecError(problems_of(error, family, Document(dict(params), {}, "--param"))) from error
