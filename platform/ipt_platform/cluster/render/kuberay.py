"""A job as a RayJob of KubeRay (ray.io/v1), with the job file in a ConfigMap beside it."""

from typing import Any

from ipt_platform.cluster.render.names import LABEL, kube_name
from ipt_platform.cluster.render.options import JOB_FILE, KubeOptions
from ipt_platform.cluster.render.pods import head_group, submitter_pod, worker_group
from ipt_platform.cluster.render.shape import Shape, groups_of
from ipt_platform.errors import UsageError

Plain = dict[str, Any]

LARGEST_JOB = 900_000
"""Bytes of a job file; a ConfigMap holds 1 MiB."""


def render_kuberay(job: str, run_id: str, shape: Shape, options: KubeOptions, ray_version: str) -> list[Plain]:
    """The objects that run a job: a ConfigMap and a RayJob.

    Args:
        job: the resolved job, as YAML.
        run_id: id of its run; the same id goes on with the same run.
        shape: what the job takes.
        options: the operator's.
        ray_version: of the Ray in the image.

    Raises:
        UsageError: an option is wrong, a process is too large for a node, or the job file too large for a ConfigMap.
    """
    options.check()
    if len(job.encode()) > LARGEST_JOB:
        raise UsageError(
            f"the resolved job has {len(job.encode()):,} bytes, and a ConfigMap holds {LARGEST_JOB:,}; make it shorter"
        )
    name = kube_name(run_id)
    labels = {
        "app.kubernetes.io/name": "ipt-platform",
        "app.kubernetes.io/component": "job",
        "app.kubernetes.io/instance": kube_name(run_id, LABEL),
    }
    place = {"namespace": options.namespace} if options.namespace else {}
    config: Plain = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-job", **place, "labels": labels},
        "immutable": True,  # a run keeps its job
        "data": {"job.yaml": job},
    }
    queue = {"kueue.x-k8s.io/queue-name": options.queue} if options.queue else {}
    job_object: Plain = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name, **place, "labels": labels | queue, "annotations": {"ipt-platform/run": run_id}},
        "spec": _spec(run_id, shape, options, ray_version, config["metadata"]["name"], labels),
    }
    return [config, job_object]


def _spec(run_id: str, shape: Shape, options: KubeOptions, ray_version: str, config: str, labels: Plain) -> Plain:
    groups = groups_of(shape, options.gpus_per_node)
    job_volume = {"name": "job", "configMap": {"name": config}}
    return {
        # Words alone: the operator lays this out for a shell. Ray sets RAY_ADDRESS for it, so it runs on this cluster.
        "entrypoint": f"ipt-platform submit {JOB_FILE} --run {run_id}",
        "submissionMode": "K8sJobMode",
        **({"suspend": True} if options.queue else {}),  # Kueue lets it go once there is room
        "backoffLimit": options.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": options.keep_seconds,
        "rayClusterSpec": {
            "rayVersion": ray_version,
            "authOptions": {"mode": "token", "secretName": options.token_secret},
            "enableInTreeAutoscaling": False,  # as large as the job says; Kueue admits all of it or none
            "headGroupSpec": head_group(run_id, shape, options, job_volume, labels),
            "workerGroupSpecs": [
                worker_group(name, group, shape, options, labels)
                for name, group in zip(("workers", "workers-smaller"), groups, strict=False)
            ],
        },
        "submitterPodTemplate": submitter_pod(options, labels),
    }
