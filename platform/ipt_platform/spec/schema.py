"""JSON Schema of the files people write: for editors, and the source of the field reference in the docs."""

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter

from ipt_platform.spec.dataset import DatasetCard
from ipt_platform.spec.job import JOB
from ipt_platform.spec.task import TaskSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file, all kinds."""
    return {"$schema": DIALECT, "title": "ipt-platform job", **JOB.json_schema()}


def task_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a task file."""
    return {"$schema": DIALECT, **TypeAdapter(TaskSpec).json_schema()}


def dataset_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a dataset card."""
    return {"$schema": DIALECT, **TypeAdapter(DatasetCard).json_schema()}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {"job": job_schema, "task": task_schema, "dataset": dataset_schema}
