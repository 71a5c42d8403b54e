"""`--set train.stages.0.steps=200`: one value of a document replaced from the command line, by dotted path."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.source import Document, KeyPath, parse_yaml


def apply_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """A copy of `document` with each `KEY=VALUE` put in place, in order; the schema types the values afterwards.

    KEY is a dotted path; a number addresses an item of a list. VALUE is YAML: `200`, `3e-4`, `[denoise, deblur]`,
    `{sigma: 25}`, `null`. Mappings on the way that the file does not have are made.

    Raises:
        SpecError: An override is not KEY=VALUE, its value is not YAML, or its path leads through a value that has
            no keys. Carries every such problem.
    """
    value = deepcopy(document.value) if document.value is not None else {}
    lines = dict(document.lines)
    given = dict(document.overrides)
    problems: list[Problem] = []
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.append(Problem("expected KEY=VALUE, as in train.stages.0.steps=200", file=f"--set {override}"))
            continue
        try:
            path = _put(value, parts, parse_yaml(text, f"--set {override}").value)
        except SpecError as error:
            problems += [replace(problem, line=0) for problem in error.problems]
        except _NoWayError as error:
            problems.append(Problem(str(error), file=f"--set {override}"))
        else:
            # Lines below a replaced value are of the file, not of the command line: forget them.
            lines = {where: line for where, line in lines.items() if where[: len(path)] != path}
            given = {where: what for where, what in given.items() if where[: len(path)] != path} | {path: override}
    if problems:
        raise SpecError(problems)
    return Document(value, lines, document.file, given)


ABSENT = object()
"""What `value_at` gives where there is nothing."""


def value_at(value: Any, dotted: str) -> Any:
    """What stands at a dotted path of plain values, a number addressing an item of a list; ABSENT: the path leads nowhere."""
    for part in dotted.strip().split("."):
        try:
            value = value[int(part) if isinstance(value, list | tuple) else part]
        except (LookupError, TypeError, ValueError):
            return ABSENT
    return value


class _NoWayError(Exception):
    """A dotted path that cannot be followed."""


def _put(root: Any, parts: list[str], new: Any) -> KeyPath:
    """Puts `new` at the path and returns the path with list positions as numbers."""
    here: Any = root
    path: KeyPath = ()
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        where = ".".join(parts[:depth]) or "the file"
        if isinstance(here, list):
            if not part.isdecimal() or int(part) >= len(here):
                raise _NoWayError(
                    f"'{where}' is a list of {len(here)}; expected a number from 0 to {len(here) - 1}, found '{part}'"
                )
            step: Any = int(part)
        elif isinstance(here, dict):
            step = part
            if not last and here.get(part) is None:
                here[part] = {}
        else:
            raise _NoWayError(f"'{where}' is {here!r}, which has no key '{part}'")
        path = (*path, step)
        if last:
            here[step] = new
        else:
            here = here[step]
    return path
