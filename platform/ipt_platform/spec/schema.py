"""JSON Schema of the files people write: for editors, and the source of the field reference in the docs."""

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from ipt_platform.spec.dataset import DatasetCard
from ipt_platform.spec.families import degradation_definitions
from ipt_platform.spec.job import JOB
from ipt_platform.spec.task import TaskSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, all kinds."""
    return _schema(JOB, "ipt-platform job")


def task_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a task file."""
    schema = _schema(TypeAdapter(TaskSpec), "ipt-platform task")
    degradation = schema["properties"]["degradation"]
    schema["properties"]["degradation"] = {"$ref": "#/$defs/degradation", "description": degradation["description"]}
    return schema | {"$defs": schema.get("$defs", {}) | degradation_definitions()}


def dataset_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a dataset card."""
    return _schema(TypeAdapter(DatasetCard), "ipt-platform dataset card")


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"job": job_schema, "task": task_schema, "dataset": dataset_schema}


def _schema(adapter: TypeAdapter[Any], title: str) -> dict[str, Any]:
    return {"$schema": DIALECT} | _closed(adapter.json_schema()) | {"title": title}


def _closed(schema: Any) -> Any:
    """The schema with mappings whose keys have a pattern closed to other keys, which pydantic checks but does not write."""
    if isinstance(schema, list):
        return [_closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "patternProperties" in schema else {}
    return {key: _closed(inner) for key, inner in schema.items()} | closed
