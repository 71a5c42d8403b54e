"""The families of degradations as data: what their parameters may be and mean, for the task file's schema and the docs."""

import ast
import inspect
from textwrap import dedent
from typing import Any

from pydantic import BaseModel

from ipt_platform.data.degradations import DEGRADATIONS
from ipt_platform.data.degradations.compose import COMPOSITIONS, LABEL, OWN_KEYS, Step

STEPS = {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1}


def meanings(family: type[BaseModel]) -> dict[str, str]:
    """What each parameter means: the docstring below its line in the class."""
    (body,) = ast.parse(dedent(inspect.getsource(family))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(below, ast.Expr):
            found[line.target.id] = " ".join(ast.literal_eval(below.value).split())
    return found


def parameters(family: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """JSON Schema of each parameter, with its meaning as `description`."""
    schema = family.model_json_schema()
    said = meanings(family)
    return {
        name: {key: value for key, value in _inline(field, schema).items() if key != "title"} | {"description": said[name]}
        for name, field in schema.get("properties", {}).items()
    }


def degradation_definitions() -> dict[str, Any]:
    """JSON Schemas, by name, of what a task file may write as its `degradation`, which is the one called so."""
    bodies = {name: _body(name, family, parameters(family)) for name, family in DEGRADATIONS.items()}
    bodies |= {name: _body(name, family, _of_steps(family)) for name, family in COMPOSITIONS.items()}
    named = {"anyOf": [_reference(name) for name in bodies]}
    # Compositions have no defaults, so their bare names say too little.
    bare = {"enum": [*DEGRADATIONS], "description": "A degradation with its default parameters."}
    lone = named | {"not": {"anyOf": [{"required": [key]} for key in OWN_KEYS]}}
    return bodies | {
        "step": {"anyOf": [bare, *named["anyOf"], STEPS]},
        "degradation": {"anyOf": [bare, lone, STEPS]},
    }


def _of_steps(family: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of each parameter of a composition: lists of steps, and their weights."""
    weights = {"anyOf": [{"type": "array", "items": {"type": "number", "minimum": 0}}, {"type": "null"}]}
    said = meanings(family)
    return {name: (weights if name == "weights" else STEPS) | {"description": said[name]} for name in family.model_fields}


def _body(name: str, family: type[BaseModel], own: dict[str, Any]) -> dict[str, Any]:
    said = meanings(Step)
    step = {
        "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": said["probability"]},
        "as": {"type": "string", "pattern": LABEL, "description": said["label"]},
    }
    return {
        "type": "object",
        "description": inspect.getdoc(family),
        "properties": {"name": {"const": name, "description": "The degradation."}, **own, **step},
        "required": ["name", *(key for key, field in family.model_fields.items() if field.is_required())],
        "additionalProperties": False,
    }


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _inline(schema: Any, root: dict[str, Any]) -> Any:
    """A schema with the definitions that it refers to written out."""
    if isinstance(schema, list):
        return [_inline(each, root) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")] | {k: v for k, v in schema.items() if k != "$ref"}
    return {key: _inline(each, root) for key, each in schema.items()}
