"""The schema by which a Kubernetes with KubeRay takes a RayJob, made as KubeRay makes it.

KubeRay's CustomResourceDefinition is generated from Go types: some two hundred lines of a RayJob are KubeRay's own, and the
rest are a Service and three times the pod of Kubernetes. Here KubeRay's own stand in `data/rayjob.yaml`, and the types of
Kubernetes come from its OpenAPI (the package kubernetes-validate), turned as the generator turns them: no descriptions, a
pattern for quantities, five fields of the metadata of what is embedded, and what `data/kubernetes_markers.yaml` adds.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

KUBERNETES = files("kubernetes_validate") / "kubernetes-json-schema" / "v1.35.0-local-strict"
"""The schemas that refuse unknown fields, of the Kubernetes that KubeRay 1.6 is built with."""

DATA = Path(__file__).parent / "data"
TEXT: Schema = {"type": "string"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
INT_OR_TEXT: Schema = {"anyOf": [{"type": "integer"}, TEXT], "x-kubernetes-int-or-string": True}
NUMBER = r"(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
QUANTITY = rf"^(\+|-)?{NUMBER}(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?{NUMBER}))?$"

LEAVES: dict[str, Schema] = {
    "Quantity": {**INT_OR_TEXT, "pattern": QUANTITY},
    "IntOrString": INT_OR_TEXT,
    "Time": {**TEXT, "format": "date-time"},
    "ObjectMeta": {
        "type": "object",
        "properties": {
            "annotations": TEXTS,
            "finalizers": {"type": "array", "items": TEXT},
            "labels": TEXTS,
            "name": TEXT,
            "namespace": TEXT,
        },
    },
}
"""What the generator writes for these types, whatever they hold."""

OF_OPENAPI_ALONE = {
    "description",
    "enum",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-unions",
}


@cache
def schema_of_kuberay() -> Schema:
    """The structural schema of a RayJob of KubeRay 1.6."""
    return with_types(yaml.safe_load((DATA / "rayjob.yaml").read_text()))


def with_types(value: Any) -> Any:
    """A schema with the types of Kubernetes in the place of `$ref: Type`."""
    if isinstance(value, list):
        return [with_types(each) for each in value]
    if not isinstance(value, dict):
        return value
    return of_type(value["$ref"]) if "$ref" in value else {key: with_types(each) for key, each in value.items()}


@cache
def of_type(name: str) -> Schema:
    """The structural schema of a type of Kubernetes, as `PodTemplateSpec`."""
    if name in LEAVES:
        return LEAVES[name]
    schema = _structural(_types()[name]) | _markers().get(name, {})
    for field in schema.get("properties", {}):
        schema["properties"][field] = schema["properties"][field] | _markers().get(f"{name}.{field}", {})
    return schema


def _structural(schema: Schema) -> Schema:
    """A schema of OpenAPI, as the generator would write it."""
    kept = {key: value for key, value in schema.items() if key not in OF_OPENAPI_ALONE and value is not False}
    if reference := kept.pop("$ref", None):
        return of_type(reference.rsplit(".", 1)[-1]) | kept
    if isinstance(kind := kept.get("type"), list):  # ["string", "null"], where a field may be left out
        kept["type"] = next(each for each in kind if each != "null")
    if "required" in kept:
        kept["required"] = sorted(kept["required"])
    if "properties" in kept:
        kept["properties"] = {name: _structural(each) for name, each in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in kept:
            kept[key] = _structural(kept[key])
    return kept


@cache
def _types() -> dict[str, Schema]:
    """What pods and services are made of, by the names of the types alone: in these packages none is taken twice."""
    types = json.loads((KUBERNETES / "_definitions.json").read_text())["$defs"]
    ours = ("io.k8s.api.core.v1.", "io.k8s.apimachinery.pkg.")
    return {name.rsplit(".", 1)[-1]: schema for name, schema in types.items() if name.startswith(ours)}


@cache
def _markers() -> dict[str, Schema]:
    return yaml.safe_load((DATA / "kubernetes_markers.yaml").read_text())
