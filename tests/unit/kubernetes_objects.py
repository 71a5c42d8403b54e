"""What a Kubernetes with KubeRay would say of the objects that it is given."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

KUBERNETES = "v1.34.0-local-strict"
"""Of the package's schemas those that refuse unknown fields."""

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def refused(thing: dict[str, Any]) -> list[str]:
    """Every reason for which an object would be refused, or a part of it silently dropped."""
    if thing["kind"] != "RayJob":
        return [error.message for error in _of_kubernetes(thing["kind"]).iter_errors(thing)]
    return [*structural(thing, rayjob_schema())] or [*_of_operator(thing), *_of_pods(thing)]


def structural(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What a structural schema of a CustomResourceDefinition refuses or drops; CEL rules are not looked at."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield f"{path}: neither integer nor text: {value!r}"
        elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
            yield f"{path}: {value!r} does not match {schema['pattern']}"
        return
    if "type" in schema and (
        not isinstance(value, TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        yield f"{path}: expected {schema['type']}, found {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if schema.get("format") == "int32" and not -(2**31) <= value < 2**31:
        yield f"{path}: {value} is no int32"
    if isinstance(value, dict):
        yield from (f"{path}.{key}: is missing" for key in schema.get("required", ()) if key not in value)
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        loose = schema.get("x-kubernetes-preserve-unknown-fields") or path == ".metadata"
        for key, each in value.items():
            if key in known:
                yield from structural(each, known[key], f"{path}.{key}")
            elif isinstance(others, dict):
                yield from structural(each, others, f"{path}.{key}")
            elif not loose:
                yield f"{path}.{key}: no such field"
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from structural(each, schema.get("items", {}), f"{path}[{number}]")


@cache
def rayjob_schema() -> dict[str, Any]:
    """The schema of a RayJob: `data/rayjob.yaml`, or that of a CustomResourceDefinition that the environment names."""
    if installed := os.environ.get("IPT_RAYJOB_CRD"):
        definition = yaml.safe_load(Path(installed).read_text())
        (schema,) = [each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == "v1"]
        return schema
    return yaml.safe_load((Path(__file__).parent / "data" / "rayjob.yaml").read_text())


def pods_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates of a RayJob, by what they are for."""
    cluster = job["spec"]["rayClusterSpec"]
    workers = {group["groupName"]: group["template"] for group in cluster.get("workerGroupSpecs", ())}
    return {"head": cluster["headGroupSpec"]["template"], "submitter": job["spec"]["submitterPodTemplate"], **workers}


def _of_pods(job: dict[str, Any]) -> Iterator[str]:
    for name, template in pods_of(job).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata", {}), "spec": template["spec"]}
        yield from (f"{name}: {error.json_path}: {error.message}" for error in _of_kubernetes("Pod").iter_errors(pod))
        volumes = {volume["name"] for volume in template["spec"].get("volumes", ())}
        for container in template["spec"]["containers"]:
            mounts = container.get("volumeMounts", [])
            yield from (f"{name}: no volume {mount['name']}" for mount in mounts if mount["name"] not in volumes)
            if len({mount["mountPath"] for mount in mounts}) < len(mounts):
                yield f"{name}: two volumes at one path"
            limits, requests = container["resources"].get("limits", {}), container["resources"].get("requests", {})
            for resource in limits.keys() | requests.keys():
                if resource != "cpu" and limits.get(resource) != requests.get(resource):
                    yield f"{name}: {resource}: {requests.get(resource)} is asked for, {limits.get(resource)} is the limit"


def _of_operator(job: dict[str, Any]) -> Iterator[str]:
    """What the operator itself refuses, beyond the schema."""
    spec, name = job["spec"], job["metadata"]["name"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"{name!r}: a RayJob's name has at most 47 lower-case letters, digits and dashes, a letter first"
    if not spec.get("shutdownAfterJobFinishes") and (spec.get("suspend") or spec.get("ttlSecondsAfterFinished")):
        yield "what waits in a queue, or is kept for a while, must be shut down when it is over"
    if spec.get("ttlSecondsAfterFinished", 0) < 0 or spec.get("backoffLimit", 0) < 0:
        yield "negative seconds or retries"
    groups = [group["groupName"] for group in spec["rayClusterSpec"].get("workerGroupSpecs", ())]
    if len(set(groups)) < len(groups):
        yield "two groups of one name"
    if re.search(r"[;&|<>$`\"'\\(){}*?#\n]", spec["entrypoint"]):
        yield f"the entrypoint is laid out for a shell as it is: {spec['entrypoint']!r}"


@cache
def _of_kubernetes(kind: str) -> Draft202012Validator:
    schemas = files("kubernetes_validate") / "kubernetes-json-schema" / KUBERNETES
    read = [json.loads((schemas / name).read_text()) for name in (f"{kind.lower()}-v1.json", "_definitions.json")]
    registry: Registry = Registry()
    for each in read:
        registry = Resource.from_contents(each) @ registry
    return Draft202012Validator(read[0], registry=registry)
