"""A job as a RayJob: what Kubernetes and the operator would say of it, and what it must hold."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipt_platform.cluster.render.kuberay import render_kuberay
from ipt_platform.cluster.render.options import KubeOptions, Mount, mount_of, toleration_of
from ipt_platform.cluster.render.shape import Shape
from ipt_platform.errors import UsageError
from tests.unit.kubernetes_objects import pods_of, rayjob_schema, refused, structural

EIGHT_NODES = Shape(processes=64, cpus=11.5, gpus=1, store_bytes=100 << 20)
EVERYTHING = KubeOptions(
    image="registry.example/ipt-platform:0.1.0",
    namespace="vision",
    queue="a100",
    priority="high",
    gpu_product="NVIDIA-A100-SXM4-80GB",
    spot=True,
    tolerate=("team=vision:NoSchedule", "reserved"),
    volume=Mount("photographs", "/data"),
    service_account="trainer",
    s3_secret="bucket",
    grace_seconds=90,
)
PLAIN = KubeOptions(image="ipt-platform:0.1.0")


def rendered(shape: Shape = EIGHT_NODES, options: KubeOptions = EVERYTHING, run: str = "sync-1") -> dict[str, Any]:
    return render_kuberay("kind: train\n", run, shape, options, "2.60.0")[1]


def pods(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: template["spec"] for name, template in pods_of(job).items()}


@pytest.mark.parametrize("options", [EVERYTHING, PLAIN], ids=["everything", "nothing"])
@pytest.mark.parametrize(
    "shape",
    [EIGHT_NODES, Shape(0), Shape(3, 0.5), Shape(11, 2, 0.5), Shape(9, 1, 1, head_cpus=1)],
    ids=["gpus", "head alone", "cpus", "parts of gpus", "search"],
)
def test_nothing_is_refused_by_kubernetes_or_the_operator(shape, options):
    config, job = render_kuberay("kind: train\n", "sync-1", shape, options, "2.60.0")

    assert refused(config) == []
    assert refused(job) == []


def test_what_judges_these_objects_would_find_a_mistake():
    job = rendered()
    worker = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
    mistakes: list[tuple[tuple[Any, ...], Any]] = [
        (("spec", "shutdownAfterJobFinish"), True),
        (("spec", "backoffLimit"), "3"),
        (("spec", "ttlSecondsAfterFinished"), 2**31),
        (("spec", "shutdownAfterJobFinishes"), False),
        (("spec", "entrypoint"), "cd /data && ipt-platform"),
        (("spec", "submissionMode"), "K8s"),
        (("metadata", "name"), "9" * 48),
        (("spec", "rayClusterSpec", "authOptions", "secret"), "token"),
        ((*worker, "rayStartParams", "num-gpus"), 8),
        ((*worker, "replica"), 1),
        (("spec", "managedBy"), "ray.io/kuberay-operator"),
        (("spec", "preRunningDeadlineSeconds"), 0),
        (("spec", "rayClusterSpec", "rayVersion"), "2.51.0"),
        ((*worker, "minReplicas"), 9),
        ((*worker, "template", "metadata", "generateName"), "worker-"),
        ((*worker, "template", "spec", "toleration"), []),
        ((*worker, "template", "spec", "terminationGracePeriodSeconds"), "90"),
        ((*worker, "template", "spec", "volumes", 1, "name"), "shm"),
        ((*worker, "template", "spec", "containers", 0, "resources", "requests", "cpu"), "half"),
        ((*worker, "template", "spec", "containers", 0, "env", 1, "name"), "RAY_AUTH_MODE"),
        (
            (*worker, "template", "spec", "containers", 0, "ports"),
            [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}],
        ),
        ((*worker, "template", "spec", "containers", 0, "resources", "limits", "memory"), "1Gi"),
        ((*worker, "template", "spec", "containers", 0, "volumeMounts", 0, "mountPath"), "/tmp"),
        ((*worker, "template", "spec", "volumes"), []),
    ]
    for path, value in mistakes:
        wrong = copy.deepcopy(job)
        place = wrong
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert refused(wrong), path


@pytest.mark.parametrize(
    ("schema", "taken", "refused"),
    [
        ({"x-kubernetes-int-or-string": True, "pattern": "^[0-9]+$"}, [4, "4"], ["4x", True, None]),
        ({"type": "integer", "format": "int32", "minimum": 1}, [1, 2**31 - 1], [0, 2**31, True, "1", 1.5]),
        ({"type": "integer", "format": "int64"}, [-(2**63)], [2**63]),
        ({"type": "number"}, [1, 0.5], ["1", True]),
        ({"type": "string", "minLength": 1, "maxLength": 2, "pattern": "^a"}, ["a", "ab"], ["", "b", "abc", 1, None]),
        ({"type": "string", "enum": ["a", "b"]}, ["a"], ["c"]),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, [["a", "a"]], [[], [1], "a"]),
        ({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, [["a", "b"]], [["a", "a"]]),
        ({"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}}, [{"a": True}], [{}, {"a": 1}, []]),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, [{}], [{"b": "a"}]),
        ({"type": "object", "additionalProperties": {"type": "string"}}, [{"b": "a"}], [{"b": 1}]),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, [{"b": 1}], ["b"]),
        ({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}, [], ["a"]),
    ],
)
def test_a_structural_schema_takes_what_kubernetes_takes(schema, taken, refused):
    assert [[*structural(value, schema)] for value in taken] == [[] for _ in taken]
    assert all([*structural(value, schema)] for value in refused)


def test_the_definition_that_a_kuberay_installs_can_judge_in_the_place_of_ours(tmp_path, monkeypatch):
    ours = rayjob_schema()
    del (other := copy.deepcopy(ours))["properties"]["spec"]["properties"]["suspend"]
    versions = [{"name": "v1alpha1", "schema": {}}, {"name": "v1", "schema": {"openAPIV3Schema": other}}]
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump({"spec": {"versions": versions}}))
    monkeypatch.setenv("IPT_RAYJOB_CRD", str(tmp_path / "crd.yaml"))
    rayjob_schema.cache_clear()
    try:
        assert refused(rendered()) == [".spec.suspend: no such field"]
    finally:
        rayjob_schema.cache_clear()


def test_eight_nodes_of_eight_gpus():
    (group,) = rendered()["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]

    assert [group[key] for key in ("replicas", "minReplicas", "maxReplicas")] == [8, 8, 8]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert container["resources"]["requests"]["cpu"] == "92"
    assert (group["rayStartParams"]["num-cpus"], group["rayStartParams"]["num-gpus"]) == ("92", "8")
    assert group["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}


def test_shared_memory_holds_the_object_store_and_counts_as_memory():
    for shape in (EIGHT_NODES, Shape(5, 1, 0, 1 << 30)):
        for group in rendered(shape)["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
            spec = group["template"]["spec"]
            processes = shape.processes // group["replicas"]
            shared = next(volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "shm")
            size = int(shared["sizeLimit"].removesuffix("Mi")) << 20
            memory = int(spec["containers"][0]["resources"]["limits"]["memory"].removesuffix("Mi")) << 20

            assert shared["medium"] == "Memory"
            assert size > int(group["rayStartParams"]["object-store-memory"]) >= processes * shape.store_bytes
            assert memory == size + processes * EVERYTHING.worker_memory * 2**30


def test_the_run_and_its_job_are_on_the_head_alone():
    config, job = render_kuberay("kind: train\n", "sync-1", EIGHT_NODES, EVERYTHING, "2.60.0")
    head, worker = pods(job)["head"], pods(job)["workers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in head["containers"][0]["volumeMounts"]}

    assert job["spec"]["entrypoint"] == f"ipt-platform submit {mounts['job']}/job.yaml --run sync-1"
    assert config["data"] == {"job.yaml": "kind: train\n"}
    assert {"name": "job", "configMap": {"name": config["metadata"]["name"]}} in head["volumes"]
    assert "job" not in {volume["name"] for volume in worker["volumes"]}
    assert job["metadata"]["annotations"]["ipt-platform/run"] == "sync-1"


def test_what_waits_in_kueue_is_suspended_and_what_does_not_is_not():
    queued, free = rendered(), rendered(options=PLAIN)

    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "a100"
    assert queued["spec"]["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" not in free["metadata"]["labels"]
    assert not free["spec"].get("suspend")


def test_every_pod_needs_the_token_and_has_no_value_of_it():
    job = rendered()
    for spec in pods(job).values():
        (container,) = spec["containers"]
        variables = {each["name"]: each for each in container["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        assert variables["RAY_AUTH_TOKEN"] == {
            "name": "RAY_AUTH_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "ipt-platform-ray-token", "key": "auth_token"}},
        }

    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ipt-platform-ray-token"}
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_no_pod_runs_as_root_or_asks_kubernetes():
    for spec in pods(rendered()).values():
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert spec["automountServiceAccountToken"] is False


def test_options_reach_the_pods_they_are_for():
    found = pods(rendered())
    workers, head = found["workers"], found["head"]

    assert {spec["priorityClassName"] for spec in found.values()} == {"high"}
    assert {spec["serviceAccountName"] for spec in found.values()} == {"trainer"}
    assert {spec["terminationGracePeriodSeconds"] for spec in found.values()} == {90}
    assert [each["key"] for each in workers["tolerations"]][-2:] == ["team", "reserved"]
    assert "cloud.google.com/gke-spot" in {each["key"] for each in workers["tolerations"]}
    assert "tolerations" not in head  # the head must not be lost with a spot machine
    for spec in (workers, head):
        (container,) = spec["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "bucket"}}]
        assert container["workingDir"] == "/data"
        assert {"name": "shared", "persistentVolumeClaim": {"claimName": "photographs"}} in spec["volumes"]
    assert "envFrom" not in found["submitter"]["containers"][0]


def test_prometheus_finds_the_port_that_the_pods_open():
    for name, template in pods_of(rendered()).items():
        if name == "submitter":
            continue
        annotations, ports = template["metadata"]["annotations"], template["spec"]["containers"][0]["ports"]
        assert annotations["prometheus.io/scrape"] == "true"
        assert int(annotations["prometheus.io/port"]) in [port["containerPort"] for port in ports if port["name"] == "metrics"]


def test_an_evaluation_has_a_head_alone_with_a_gpu_where_one_is_named():
    with_gpu, without = rendered(Shape(0)), rendered(Shape(0), PLAIN)

    assert with_gpu["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []
    assert pods(with_gpu)["head"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in pods(without)["head"]["containers"][0]["resources"]["limits"]
    assert "nvidia.com/gpu" not in pods(rendered())["head"]["containers"][0]["resources"]["limits"]


def test_a_process_that_no_node_can_hold_is_an_error():
    with pytest.raises(UsageError, match=r"cluster\.gpus_per_worker: .*16 GPUs, and a machine has 8"):
        rendered(Shape(2, 4, 16))

    assert rendered(Shape(2, 4, 16), KubeOptions(image="i", gpus_per_node=16))


def test_a_job_too_long_for_a_config_map_is_an_error():
    with pytest.raises(UsageError, match="ConfigMap"):
        render_kuberay("x" * 1_000_000, "sync-1", EIGHT_NODES, PLAIN, "2.60.0")


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"queue": "A queue"}, "--queue"),
        ({"token_secret": "secret$(value)"}, "--token-secret"),
        ({"priority": "-high"}, "--priority"),
        ({"gpu_product": "NVIDIA A100"}, "--gpu-product"),
        ({"image": "an image"}, "--image"),
        ({"tolerate": ("a=b:Sometimes",)}, "--tolerate"),
        ({"volume": Mount("two words", "/data")}, "--volume-claim"),
    ],
)
def test_names_that_kubernetes_would_refuse_are_errors_here(wrong, option):
    with pytest.raises(UsageError, match=option):
        rendered(options=KubeOptions(**({"image": "i"} | wrong)))


def test_volumes_and_taints_as_people_write_them():
    assert mount_of("photographs:/data/", "--efs") == Mount("photographs", "/data")
    assert toleration_of("a") == {"key": "a", "operator": "Exists"}
    assert toleration_of("a/b=c:NoExecute") == {"key": "a/b", "operator": "Equal", "value": "c", "effect": "NoExecute"}
    for wrong in ("photographs", ":/data", "a:data", "a:/", "a:/dev/shm", "a:/tmp", "a:/data/../etc", "a:/da ta"):
        with pytest.raises(UsageError, match="--efs"):
            mount_of(wrong, "--efs")


def test_the_user_of_the_pods_is_the_one_of_the_image():
    last = [
        line
        for line in (Path(__file__).parents[2] / "jobs/cluster/Containerfile").read_text().splitlines()
        if line.startswith("USER")
    ][-1]

    assert {spec["securityContext"]["runAsUser"] for spec in pods(rendered()).values()} == {int(last.split()[1].split(":")[0])}
