"""What a Kubernetes with KubeRay would say of the objects that it is given."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.unit.rayjob_definition import KUBERNETES, schema_of_kuberay

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
SUBMISSION_MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")


def refused(thing: dict[str, Any]) -> list[str]:
    """Every reason for which an object would be refused, or a part of it silently dropped."""
    if thing["kind"] != "RayJob":
        return [error.message for error in _of_kubernetes(thing["kind"]).iter_errors(thing)]
    if thing["apiVersion"] != "ray.io/v1":
        return [f"no RayJob in {thing['apiVersion']}"]
    return [*structural(thing, rayjob_schema())] or [*_of_operator(thing), *_of_pods(thing)]


def structural(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """What a structural schema of a CustomResourceDefinition refuses or drops; what has rules in CEL counts as refused."""
    if "x-kubernetes-validations" in schema:
        yield f"{path}: has rules in CEL, which are not judged here"
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
    if isinstance(value, str):
        yield from _of_text(value, schema, path)
    elif isinstance(value, int):
        yield from _of_number(value, schema, path)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, path)
    elif isinstance(value, list):
        yield from _of_list(value, schema, path)


def _of_text(value: str, schema: dict[str, Any], path: str) -> Iterator[str]:
    if not re.search(schema.get("pattern", ""), value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{path}: {len(value)} characters"


def _of_number(value: int, schema: dict[str, Any], path: str) -> Iterator[str]:
    bits = {"int32": 31, "int64": 63}.get(schema.get("format", ""))
    if bits and not -(2**bits) <= value < 2**bits:
        yield f"{path}: {value} is no {schema['format']}"
    if value < schema.get("minimum", value):
        yield f"{path}: {value} is less than {schema['minimum']}"


def _of_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
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


def _of_list(value: list[Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    for number, each in enumerate(value):
        yield from structural(each, schema["items"], f"{path}[{number}]")
    if len(value) < schema.get("minItems", 0):
        yield f"{path}: {len(value)} entries"
    kind = schema.get("x-kubernetes-list-type", "atomic")
    if kind == "atomic" or not all(isinstance(each, dict) for each in value if kind == "map"):
        return
    fields = schema["items"].get("properties", {})
    keys = [
        tuple(each.get(key, fields[key].get("default")) for key in schema["x-kubernetes-list-map-keys"])
        if kind == "map"
        else each
        for each in value
    ]
    yield from (f"{path}[{number}]: there is another {key}" for number, key in enumerate(keys) if key in keys[:number])


@cache
def rayjob_schema() -> dict[str, Any]:
    """The schema of a RayJob: of the installed definition in the file that the environment names, else of KubeRay 1.6."""
    if installed := os.environ.get("IPT_RAYJOB_CRD"):
        definition = yaml.load(Path(installed).read_text(), yaml.CSafeLoader)  # more than a megabyte
        (schema,) = [each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"] if each["name"] == "v1"]
        return schema
    return schema_of_kuberay()


def pods_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pod templates of a RayJob, by what they are for."""
    cluster = job["spec"]["rayClusterSpec"]
    workers = {group["groupName"]: group["template"] for group in cluster.get("workerGroupSpecs", ())}
    return {"head": cluster["headGroupSpec"]["template"], "submitter": job["spec"]["submitterPodTemplate"], **workers}


def _of_pods(job: dict[str, Any]) -> Iterator[str]:
    """What Kubernetes refuses of the pods that the operator makes, beyond the schema."""
    for name, template in pods_of(job).items():
        volumes = {volume["name"] for volume in template["spec"].get("volumes", ())}
        for container in template["spec"]["containers"]:
            mounts = container.get("volumeMounts", [])
            yield from (f"{name}: no volume {mount['name']}" for mount in mounts if mount["name"] not in volumes)
            limits, requests = container["resources"].get("limits", {}), container["resources"].get("requests", {})
            for resource in limits.keys() | requests.keys():
                if resource != "cpu" and limits.get(resource) != requests.get(resource):
                    yield f"{name}: {resource}: {requests.get(resource)} is asked for, {limits.get(resource)} is the limit"


def _of_operator(job: dict[str, Any]) -> Iterator[str]:
    """What the operator itself refuses, beyond the schema."""
    spec, name = job["spec"], job["metadata"]["name"]
    cluster = spec["rayClusterSpec"]
    if len(name) > 47 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"{name!r}: a RayJob's name has at most 47 lower-case letters, digits and dashes, a letter first"
    if (mode := spec.get("submissionMode", "K8sJobMode")) not in SUBMISSION_MODES:
        yield f"{mode!r} is none of {SUBMISSION_MODES}"
    if not spec.get("shutdownAfterJobFinishes") and (spec.get("suspend") or spec.get("ttlSecondsAfterFinished")):
        yield "what waits in a queue, or is kept for a while, must be shut down when it is over"
    if spec.get("ttlSecondsAfterFinished", 0) < 0 or spec.get("backoffLimit", 0) < 0:
        yield "negative seconds or retries"
    version = re.match(r"(\d+)\.(\d+)", cluster.get("rayVersion", ""))
    if cluster["authOptions"]["mode"] == "token" and not (version and (int(version[1]), int(version[2])) >= (2, 52)):
        yield f"{cluster.get('rayVersion')!r}: with a token the version of Ray is named, and is 2.52 or newer"
    groups = cluster.get("workerGroupSpecs", ())
    if len({group["groupName"] for group in groups}) < len(groups):
        yield "two groups of one name"
    if any(not 0 <= group["minReplicas"] <= group["maxReplicas"] for group in groups):
        yield "a group of fewer than none, or of more at least than at most"
    if re.search(r"[;&|<>$`\"'\\(){}*?#\n]", spec["entrypoint"]):
        yield f"the entrypoint is laid out for a shell as it is: {spec['entrypoint']!r}"


@cache
def _of_kubernetes(kind: str) -> Draft202012Validator:
    read = [json.loads((KUBERNETES / name).read_text()) for name in (f"{kind.lower()}-v1.json", "_definitions.json")]
    registry: Registry = Registry()
    for each in read:
        registry = Resource.from_contents(each) @ registry
    return Draft202012Validator(read[0], registry=registry)
