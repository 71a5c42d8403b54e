"""`--param sigma=25`: parameters of a degradation given on the command line, typed by the degradation."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipt_platform.errors import Problem, SpecError, UsageError
from ipt_platform.evaluate.testset import FrozenTask, frozen
from ipt_platform.spec.recipe import problems_of_params
from ipt_platform.spec.source import Document, parse_yaml
from ipt_platform.spec.task import load_task

KEY = re.compile(r"[a-z_][a-z0-9_-]*")


def parse_params(given: Sequence[str]) -> dict[str, Any]:
    """The values of `KEY=VALUE` texts, VALUE being YAML: `sigma=25`, `sigma={min: 0, max: 50}`, `linear_light=true`.

    A dotted key is a parameter of a step: `rain.density=0.01` gives `{rain: {density: 0.01}}`.

    Raises:
        SpecError: a text is not KEY=VALUE, a value is no YAML, or a key is given twice; every problem found.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for text in given:
        key, equals, value = text.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(KEY.fullmatch(part) for part in parts):
            problems.append(Problem("expected KEY=VALUE, as in sigma=25", file=f"--param {text}"))
            continue
        try:
            parsed = parse_yaml(value, f"--param {text}").value
        except SpecError as error:
            problems += error.problems
            continue
        if not _put(values, parts, parsed):
            problems.append(Problem(f"'{key.strip()}' was already given; keep one of them", file=f"--param {text}"))
    if problems:
        raise SpecError(problems)
    return values


def _put(values: dict[str, Any], parts: Sequence[str], value: Any) -> bool:
    """Put a value under its key, where there is none yet."""
    *above, last = parts
    for part in above:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            return False
    if last in values:
        return False
    values[last] = value
    return True


def task_with_params(name: str, params: Mapping[str, Any], base: Path = Path(), registered: Path | None = None) -> FrozenTask:
    """A task's frozen form with parameters from the command line in place of its own; the rest as in `frozen_task`.

    Raises:
        SpecError: no such task; a parameter is unknown, of the wrong type, or out of its range; every problem found.
        UsageError: it reads pairs, which have no parameters.
    """
    task = load_task(name, base, registered)
    if task.pairs:
        if params:
            raise UsageError(f"--param {', '.join(params)}: task {name} reads pairs on disk, which have no parameters")
        return frozen(task)
    problems = problems_of_params(task.tested, params, Document(dict(params), {}, "--param"), ())
    if problems:
        raise SpecError(problems)
    return frozen(task, params)
