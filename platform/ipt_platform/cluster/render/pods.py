"""The pods of a RayJob: the head, the workers, and the one that submits."""

import math
from dataclasses import dataclass
from typing import Any

from ipt_platform.cluster.render.hooks import leave, stop_run
from ipt_platform.cluster.render.names import GIB, memory
from ipt_platform.cluster.render.options import JOB_FOLDER, KubeOptions, toleration_of
from ipt_platform.cluster.render.shape import Group, Shape

Plain = dict[str, Any]

STORE_BYTES = 256 << 20
"""Of every object store: for what Ray itself passes around."""

SHARED_BYTES = GIB
"""Of /dev/shm beside the object store: for NCCL, and for tensors that processes share."""

METRICS_PORT = 8080
USER = 1000
TOKEN_KEY = "auth_token"  # noqa: S105 (a key's name)

# What the clouds put on their spot machines; a taint that is not there does no harm.
_SPOT = ("cloud.google.com/gke-spot=true:NoSchedule", "kubernetes.azure.com/scalesetpriority=spot:NoSchedule")
_GPU_TAINT = "nvidia.com/gpu:NoSchedule"


def head_group(run_id: str, shape: Shape, options: KubeOptions, job_volume: Plain, labels: Plain) -> Plain:
    """The head: it leads the job, and trains nothing; what runs without Ray (an evaluation) runs here.

    Args:
        run_id: id of the run.
        shape: what the job takes.
        options: the operator's.
        job_volume: the volume with the job file.
        labels: of the pod.
    """
    gpus = 1 if options.gpu_product and not shape.processes else 0
    size = Size(options.head_cpus, gpus, options.head_memory * GIB, STORE_BYTES)
    template = _ray_pod("ray-head", size, options, labels, spot=False, lifecycle=stop_run(run_id))
    ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001}
    template["spec"]["containers"][0]["ports"] += [{"name": name, "containerPort": port} for name, port in ports.items()]
    template["spec"]["volumes"].append(job_volume)
    template["spec"]["containers"][0]["volumeMounts"].append(
        {"name": job_volume["name"], "mountPath": JOB_FOLDER, "readOnly": True}
    )
    # The head offers Ray no GPU: an evaluation takes it without asking Ray.
    start = {"num-cpus": str(shape.head_cpus), "num-gpus": "0", "object-store-memory": str(STORE_BYTES)}
    return {"serviceType": "ClusterIP", "rayStartParams": start, "template": template}


def worker_group(name: str, group: Group, shape: Shape, options: KubeOptions, labels: Plain) -> Plain:
    """Pods that are alike, each with room for so many processes of the job; arguments as of `head_group`."""
    store = STORE_BYTES + group.processes * shape.store_bytes
    cpus, gpus = _whole(group.processes * shape.cpus), _whole(group.processes * shape.gpus)
    size = Size(cpus, gpus, group.processes * options.worker_memory * GIB, store)
    start = {"num-cpus": str(cpus), "num-gpus": str(gpus), "object-store-memory": str(store)}
    return {
        "groupName": name,
        "replicas": group.replicas,
        "minReplicas": group.replicas,
        "maxReplicas": group.replicas,
        "numOfHosts": 1,
        "rayStartParams": start,
        "template": _ray_pod("ray-worker", size, options, labels, options.spot, leave(options.grace_seconds)),
    }


def submitter_pod(options: KubeOptions, labels: Plain) -> Plain:
    """The pod in which KubeRay runs `ray job submit`; the operator puts the command and the token into it."""
    container = {
        "name": "ray-job-submitter",
        "image": options.image,
        "env": [*_environment(options)[:2], {"name": "HOME", "value": "/tmp"}],  # noqa: S108 (of the container)
        "resources": _resources(0.5, 0, GIB),
        "securityContext": _container_security(),
    }
    return {"metadata": {"labels": labels}, "spec": {**_pod_basics(options), "containers": [container]}}


@dataclass(frozen=True)
class Size:
    """What a container of Ray has: CPU cores, GPUs, bytes of its processes, and bytes of its object store."""

    cpus: float
    gpus: int
    own_bytes: int
    store_bytes: int

    @property
    def shared(self) -> int:
        """Bytes of /dev/shm."""
        return self.store_bytes + SHARED_BYTES

    @property
    def memory(self) -> int:
        """Bytes of all; what lies in /dev/shm counts as the container's."""
        return self.own_bytes + self.shared


def _ray_pod(name: str, size: Size, options: KubeOptions, labels: Plain, spot: bool, lifecycle: Plain) -> Plain:
    container: Plain = {
        "name": name,
        "image": options.image,
        "env": _environment(options),
        **({"envFrom": [{"secretRef": {"name": options.s3_secret}}]} if options.s3_secret else {}),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        "lifecycle": lifecycle,
        "resources": _resources(size.cpus, size.gpus, size.memory),
        "securityContext": _container_security(),
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "ray", "mountPath": "/tmp"}],  # noqa: S108
    }
    volumes: list[Plain] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": memory(size.shared)}},
        {"name": "ray", "emptyDir": {}},
    ]
    if options.volume:
        container["workingDir"] = options.volume.path  # relative paths of a job are relative to where it runs
        container["volumeMounts"].append({"name": "shared", "mountPath": options.volume.path})
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": options.volume.name}})
    spec: Plain = _pod_basics(options) | {"containers": [container], "volumes": volumes}
    if size.gpus and options.gpu_product:
        spec["nodeSelector"] = {"nvidia.com/gpu.product": options.gpu_product}
    taints = ([_GPU_TAINT] if size.gpus else []) + ([*_SPOT] if spot else [])
    taints += options.tolerate if name == "ray-worker" else ()
    if taints:
        spec["tolerations"] = [toleration_of(taint) for taint in taints]
    return {"metadata": {"labels": labels, "annotations": _scraped()}, "spec": spec}


def _pod_basics(options: KubeOptions) -> Plain:
    return {
        "restartPolicy": "Never",  # the operator replaces the pod; a container begun again in its place would be one node twice
        "terminationGracePeriodSeconds": options.grace_seconds,
        "automountServiceAccountToken": False,  # nothing in the pods asks Kubernetes
        "enableServiceLinks": False,
        **({"priorityClassName": options.priority} if options.priority else {}),
        **({"serviceAccountName": options.service_account} if options.service_account else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container_security() -> Plain:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _environment(options: KubeOptions) -> list[Plain]:
    """Environment variables; the token stands here too, so no cluster is open where an operator does not know `authOptions`."""
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": options.token_secret, "key": TOKEN_KEY}}},
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        {"name": "PYTHONUNBUFFERED", "value": "1"},
    ]


def _resources(cpus: float, gpus: int, size: int) -> Plain:
    """Memory and GPUs as both request and limit; CPU as a request alone: a limit would slow a pod down while cores are idle."""
    cpu = f"{round(cpus * 1000)}m" if cpus % 1 else str(int(cpus))
    both = {"memory": memory(size), **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    return {"requests": {"cpu": cpu, **both}, "limits": both.copy()}


def _scraped() -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT), "prometheus.io/path": "/metrics"}


def _whole(number: float) -> int:
    return max(0, math.ceil(number - 1e-9))
