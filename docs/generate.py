"""Writes the pages that are made from code, or parts of them: `python docs/generate.py`.

The text of every key of a job is its description in ipt_platform/spec; that of every degradation and parameter is its
docstring in ipt_platform/data/degradations; that of every metric its help in ipt_platform/observe/catalogue.py, and that of
every alert stands in ipt_platform/observe/alerts. Tests compare the pages with what this makes of them.
"""

import inspect
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ipt_platform.data.degradations import DEGRADATIONS
from ipt_platform.data.degradations.compose import COMPOSITIONS
from ipt_platform.observe.alerts import ALERTS
from ipt_platform.observe.catalogue import LABELS, METRICS, RANKS, Metric
from ipt_platform.spec.families import degradation_definitions
from ipt_platform.spec.job import JOB_KINDS
from ipt_platform.spec.load import ORDER
from ipt_platform.spec.recipe import HOLDERS
from ipt_platform.spec.schema import job_schema
from ipt_platform.spec.task import load_task, task_names

JOB_FILE = Path(__file__).with_name("job-file.md")
DEGRADATIONS_PAGE = Path(__file__).with_name("degradations.md")
OPERATIONS = Path(__file__).with_name("operations.md")
ALERTS_BEGIN, ALERTS_END = "<!-- alerts: written by docs/generate.py -->\n", "<!-- end of alerts -->\n"
METRICS_PAGE = Path(__file__).with_name("metrics.md")


def _introduction(name: str) -> str:
    """What stands before what is made; in files that are no pages of their own."""
    return Path(__file__).with_name("introductions").joinpath(f"{name}.txt").read_text(encoding="utf-8")


def metrics_page() -> str:
    """The whole page as Markdown."""
    rows = ["| label | values |", "|---|---|", *(f"| `{name}` | {_cell(text)} |" for name, text in LABELS.items())]
    parts = [_introduction("metrics") + "\n".join(rows) + "\n"]
    sections = {"train": "Training", "checkpoint": "Checkpoints", "eval": "Evaluation", "data": "Data", "": "The platform"}
    for prefix, title in sections.items():
        own = [metric for metric in METRICS.values() if _section(metric, sections) == prefix]
        parts.append(
            "\n".join([f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|", *map(_metric, own)])
            + "\n"
        )
    return "\n".join(parts)


def _section(metric: Metric, sections: Collection[str]) -> str:
    prefix = metric.name.split("_")[1]
    return prefix if prefix in sections else ""


def _metric(metric: Metric) -> str:
    labels = []
    for label in metric.labels:
        words = metric.words.get(label, ())
        said = f": 0 to {RANKS - 1}" if label == "rank" else f": {', '.join(words)}" if words else ""
        labels.append(f"`{label}`{said}")
    text = metric.help
    if metric.buckets:
        text += f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
    return f"| `{metric.name}` | {metric.kind} | {'; '.join(labels)} | {_cell(text)} |"


def job_file_page() -> str:
    """The whole page as Markdown."""
    schema = job_schema()
    parts = [_introduction("job-file")]
    for kind in JOB_KINDS:
        model = _followed(schema, schema["discriminator"]["mapping"][kind])
        model["properties"] = {
            name: model["properties"][name] for name in (*ORDER, *model["properties"]) if name in model["properties"]
        }
        parts.append(f"## kind: {kind}\n\n{model['description']}\n")
        parts += _sections(schema, model, "")
    return "\n".join(parts)


def degradations_page() -> str:
    """The whole page as Markdown."""
    schemas = degradation_definitions()
    some = schemas["chain"]["properties"]
    keys = [_parameter("name", {"type": "string", "description": "The degradation."}, required=True)]
    keys += [_parameter(key, some[key], default) for key, default in (("probability", 1), ("as", None))]
    parts = [_introduction("degradations") + "\n".join(keys), _introduction("replacing"), *_families(schemas)]
    return "\n".join(parts)


def operations_page(page: str) -> str:
    """The page with its list of alerts written anew.

    Args:
        page: as it is.
    """
    before, _, rest = page.partition(ALERTS_BEGIN)
    _, _, after = rest.partition(ALERTS_END)
    rows = ["| alert | severity | says |", "|---|---|---|"]
    for each in ALERTS:
        labelled = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: found[1].upper(), each.summary)
        said = re.sub(r"{{ \$value[^}]*}}", "N", labelled)
        rows.append(f"| [{each.name}](#{each.name.lower()}) | {each.severity} | {_cell(said)} |")
    parts = ["\n".join(rows)]
    for each in ALERTS:
        once = "at once" if each.hold == "0m" else f"after {each.hold}"
        parts.append(f"### {each.name}\n\n**{each.severity}**, {once}. {each.means}\n\n**To do**: {each.do}")
        parts.append(f"```text\n{each.expr}\n```")
    return f"{before}{ALERTS_BEGIN}\n" + "\n\n".join(parts) + f"\n\n{ALERTS_END}{after}"


def _families(schemas: dict[str, Any]) -> Iterator[str]:
    """A table of all degradations, and a section for each: its docstring, its parameters, and the tasks that use it."""
    families = DEGRADATIONS | COMPOSITIONS
    tasks = {task: {*_names(load_task(task).degradation)} for task in task_names()}
    users = {name: ", ".join(f"`{task}`" for task, used in tasks.items() if name in used) for name in families}
    docs = {name: inspect.cleandoc(family.__doc__ or "") for name, family in families.items()}
    rows = ["## All of them", "", "| degradation | in short | tasks |", "|---|---|---|"]
    yield "\n".join(rows + [f"| [{n}](#{n}) | {_cell(docs[n].partition(chr(10))[0])} | {users[n]} |" for n in families]) + "\n"
    for name, family in families.items():
        schema = schemas[name]
        rows = ["| parameter | values | default | meaning |", "|---|---|---|---|"]
        for key in family.model_fields:
            own = schema["properties"][key]
            rows.append(_parameter(key, own, own.get("default"), key in schema["required"]))
        yield f"## {name}\n\n{docs[name]}\n\n" + "\n".join(rows) + "\n"


def _names(spec: Any) -> Iterator[str]:
    """Names of all degradations that a spelled one is made of."""
    if isinstance(spec, str):
        yield spec
        return
    name, steps = ("chain", spec) if isinstance(spec, list) else (spec["name"], spec.get(HOLDERS.get(spec["name"], ""), []))
    yield name
    for step in steps:
        yield from _names(step)


def _parameter(name: str, schema: dict[str, Any], default: Any = None, required: bool = False) -> str:
    said = "required" if required else f"`{_yaml(default)}`"
    return "| " + " | ".join([f"`{name}`", _values(schema), said, _cell(schema["description"])]) + " |"


def _values(schema: dict[str, Any]) -> str:
    """What a parameter may be, in words."""
    forms: list[dict[str, Any]] = schema.get("anyOf", [])
    draws = [form for form in forms if "choices" in form.get("properties", {})]
    if draws:
        kind = "draw of whole numbers" if forms[0]["type"] == "integer" else "draw"
        return kind + _range(forms[0]) + (", or `null`" if {"type": "null"} in forms else "")
    if forms:
        return ", or ".join(_values(form) for form in forms)
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if schema["type"] == "array":
        if schema["items"].get("type") == "number":
            return f"list of numbers{_range(schema['items'])}"
        return "list of steps" if "$ref" in schema["items"] else f"list of {_values(schema['items'])}"
    words = {"boolean": "true or false", "string": "text", "null": "`null`", "integer": "whole number"}
    return words.get(schema["type"], schema["type"]) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    if "maximum" in schema:
        return f", {schema['minimum']:g} to {schema['maximum']:g}"
    return f", {schema['minimum']:g} or more" if "minimum" in schema else ""


def _yaml(value: Any) -> str:
    """A value as YAML has it on one line, whole numbers without a point."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_yaml(each) for each in value) + "]"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else _plain(value)


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
    for each in _forms(field):
        yield from _models(schema, each, path)
    if "items" in field:
        yield from _models(schema, field["items"], f"{path}.N")
    for each in field.get("patternProperties", {}).values():
        yield from _models(schema, each, f"{path}.NAME")


def _forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The forms that a field's value may have, where it has several."""
    return field.get("anyOf") or field.get("oneOf") or []


def _type(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in field:
        return "mapping"
    if _forms(field):
        return " or ".join(dict.fromkeys(_type(schema, each) for each in _forms(field)))
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
    if explained_below and isinstance(default, dict | list) and default != []:
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
    JOB_FILE.write_text(job_file_page(), encoding="utf-8")
    DEGRADATIONS_PAGE.write_text(degradations_page(), encoding="utf-8")
    OPERATIONS.write_text(operations_page(OPERATIONS.read_text(encoding="utf-8")), encoding="utf-8")
    METRICS_PAGE.write_text(metrics_page(), encoding="utf-8")
