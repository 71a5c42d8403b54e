"""Writes docs/job-file.md from the JSON Schema of the job file: `python docs/generate.py`.

The text of every field is its description in ipt_platform/spec; a test compares the page with what this makes of it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipt_platform.spec.job import JOB_KINDS
from ipt_platform.spec.load import ORDER
from ipt_platform.spec.schema import job_schema

PAGE = Path(__file__).with_name("job-file.md")
INTRODUCTION = """\
# The job file

<!-- Written by docs/generate.py from the schema; change the descriptions in ipt_platform/spec and run it again. -->

A job is a YAML file. `apiVersion` and `kind` say how it is read; every key is one of this page, and an unknown one is an
error. All errors of a file are reported at once, each with its line:

```sh
ipt-platform validate jobs/quickstart.yaml     # is it right?
ipt-platform plan jobs/quickstart.yaml         # what would it do?
ipt-platform schema job                        # this page as JSON Schema, for editors
```

`--set train.stages.0.steps=200` replaces a value from the command line: the key is a dotted path, in which a number is a
place in a list; the value is YAML, checked like the rest. A run keeps the resolved job, and `plan JOB --resolved` prints it.

Relative paths are relative to the directory in which the command runs.
"""


def job_file_page() -> str:
    """The whole page as Markdown."""
    schema = job_schema()
    parts = [INTRODUCTION]
    for kind in JOB_KINDS:
        model = _followed(schema, schema["discriminator"]["mapping"][kind])
        model["properties"] = {
            name: model["properties"][name] for name in (*ORDER, *model["properties"]) if name in model["properties"]
        }
        parts.append(f"## kind: {kind}\n\n{model['description']}\n")
        parts += _sections(schema, model, "")
    return "\n".join(parts)


def _sections(schema: dict[str, Any], model: dict[str, Any], path: str) -> Iterator[str]:
    """The table of a model's own keys, then a section for every model below it."""
    below = []
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model["properties"].items():
        found = [(where, inner) for where, inner in _models(schema, field, f"{path}{name}") if "properties" in inner]
        below += found
        named = [_type(schema, field), _default(model, name, field, bool(found)), _meaning(schema, field)]
        rows.append("| " + " | ".join([f"`{name}`", *(_cell(each) for each in named)]) + " |")
    yield "\n".join(rows) + "\n"
    for where, inner in below:
        yield f"### `{where}`\n\n{inner['description']}\n"
        yield from _sections(schema, inner, f"{where}.")


def _models(schema: dict[str, Any], field: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that a field's value is made of, with their dotted paths."""
    if "$ref" in field:
        yield path, _followed(schema, field["$ref"])
    for each in field.get("anyOf", []):
        yield from _models(schema, each, path)
    if "items" in field:
        yield from _models(schema, field["items"], f"{path}.N")
    for each in field.get("patternProperties", {}).values():
        yield from _models(schema, each, f"{path}.NAME")


def _type(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in field:
        return "mapping"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(schema, each) for each in field["anyOf"]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "prefixItems" in field:
        return "[" + ", ".join(_type(schema, each) for each in field["prefixItems"]) + "]"
    if "items" in field:
        return f"list of {_type(schema, field['items'])}"
    if field["type"] == "object":
        inner = field.get("patternProperties", {}).values()
        return "mapping" + "".join(f" of names to {_type(schema, each)}" for each in inner)
    words = {"boolean": "true or false", "string": "text", "null": "`null`"}
    kind: str = field["type"]
    return " ".join([words.get(kind, kind), *_bounds(field)])


def _bounds(field: dict[str, Any]) -> Iterator[str]:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {_number(field[name])}" for name, sign in signs.items() if name in field]
    if said:
        yield "(" + ", ".join(said) + ")"


def _number(value: float) -> str:
    if isinstance(value, int) and value >= 2**62:
        return f"2^{value.bit_length() - 1}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _meaning(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """The field's description; pydantic leaves out one that its model has word by word."""
    return field["description"] if "description" in field else _followed(schema, field["$ref"])["description"]


def _default(model: dict[str, Any], name: str, field: dict[str, Any], explained_below: bool) -> str:
    if name in model.get("required", []):
        return "required"
    default = field.get("default")
    if explained_below and default not in (None, []):
        return "see below"
    if isinstance(default, list):
        return "`[" + ", ".join(_plain(each) for each in default) + "]`"
    return f"`{_plain(default)}`" if "default" in field else "`{}`"


def _plain(value: Any) -> str:
    """A value as YAML has it."""
    return value if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _followed(schema: dict[str, Any], reference: str) -> dict[str, Any]:
    return schema["$defs"][reference.removeprefix("#/$defs/")]


if __name__ == "__main__":
    PAGE.write_text(job_file_page(), encoding="utf-8")
