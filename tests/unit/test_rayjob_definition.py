"""That the schema by which RayJobs are judged is the one that KubeRay installs."""

from typing import Any

import yaml

from tests.unit.rayjob_definition import TEXT, of_type, schema_of_kuberay

# Of ray-operator/config/crd/bases/ray.io_raycronjobs.yaml in gangli113/kuberay at 79cf0e5793186f1c4006c17eeb356f4f03398c70:
# KubeRay 1.6, and one field. A RayCronJob is the whole specification of a RayJob and a few lines; the file of RayJob has more,
# its status and an older version.
CHARACTERS = 727_748
OF_RULES = 1_982
"""What the rules in CEL take of them, which we leave out."""


class AsGo(yaml.CSafeDumper):
    """YAML as KubeRay's generator writes it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


AsGo.add_representer(str, lambda self, text: self.represent_scalar("tag:yaml.org,2002:str", text, style="" if text else '"'))


def test_the_schema_is_as_long_as_kuberays_own():
    template = without_rules(schema_of_kuberay()["properties"]["spec"])
    head = template["properties"]["rayClusterSpec"]["properties"]["headGroupSpec"]
    head["properties"]["enableShadowHead"] = {"type": "boolean"}  # what the copy has more

    text = "---\n" + yaml.dump(ray_cron_job(template), Dumper=AsGo, default_flow_style=False, width=80)

    assert len(text) == CHARACTERS - OF_RULES


def test_the_pods_of_a_ray_job_have_what_the_generator_makes_of_kubernetes_types():
    container = of_type("Container")["properties"]

    assert sorted(of_type("PodTemplateSpec")["properties"]["metadata"]["properties"]) == [
        "annotations", "finalizers", "labels", "name", "namespace",
    ]  # fmt: skip
    assert of_type("PodSpec")["required"] == ["containers"]
    assert container["ports"]["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert container["ports"]["items"]["properties"]["protocol"] == {"type": "string", "default": "TCP"}
    assert container["resources"]["properties"]["limits"]["additionalProperties"]["x-kubernetes-int-or-string"] is True
    assert "description" not in container["image"]


def without_rules(schema: Any) -> Any:
    """The schema without its rules in CEL."""
    if isinstance(schema, dict):
        return {key: without_rules(each) for key, each in schema.items() if key != "x-kubernetes-validations"}
    return [without_rules(each) for each in schema] if isinstance(schema, list) else schema


def ray_cron_job(template: dict[str, Any]) -> dict[str, Any]:
    """The definition of a RayCronJob around the schema of what it makes."""
    columns = [
        ("schedule", ".spec.schedule", "string"),
        ("last schedule", ".status.lastScheduleTime", "string"),
        ("age", ".metadata.creationTimestamp", "date"),
        ("suspend", ".spec.suspend", "boolean"),
    ]
    spec = {"jobTemplate": template, "schedule": TEXT, "suspend": {"type": "boolean"}}
    status = {"lastScheduleTime": {"type": "string", "format": "date-time"}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [{"name": name, "jsonPath": path, "type": kind} for name, path, kind in columns],
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "properties": {
                    "apiVersion": TEXT,
                    "kind": TEXT,
                    "metadata": {"type": "object"},
                    "spec": {"type": "object", "required": ["jobTemplate", "schedule"], "properties": spec},
                    "status": {"type": "object", "properties": status},
                },
            }
        },
    }
    names = {
        "categories": ["all"],
        "kind": "RayCronJob",
        "listKind": "RayCronJobList",
        "plural": "raycronjobs",
        "singular": "raycronjob",
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"annotations": {"controller-gen.kubebuilder.io/version": "v0.16.5"}, "name": "raycronjobs.ray.io"},
        "spec": {"group": "ray.io", "names": names, "scope": "Namespaced", "versions": [version]},
    }
