"""`render JOB`: a job as manifests for a cluster."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from ipt_platform.cli.job import JobFile, Overrides
from ipt_platform.cli.output import Json, emit, say
from ipt_platform.errors import UsageError
from ipt_platform.spec.load import load_job
from ipt_platform.spec.words import did_you_mean

TARGETS = ("kuberay", "ray-up")

Target = Annotated[str, typer.Option("--target", metavar="TARGET", help=f"One of: {', '.join(TARGETS)}.")]
Image = Annotated[str, typer.Option("--image", metavar="IMAGE", help="Container image with the platform in it.")]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Id of the run; one that exists goes on where it stopped.")
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write to this file.")]
Spot = Annotated[bool, typer.Option("--spot", help="Workers may run on spot machines.")]

# kuberay
Namespace = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: namespace of the objects.")]
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: LocalQueue of Kueue; the job waits in it.")]
Priority = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: PriorityClass of the pods.")]
GpuProduct = Annotated[str | None, typer.Option(metavar="LABEL", help="kuberay: only nodes with this nvidia.com/gpu.product.")]
GpusPerNode = Annotated[int | None, typer.Option(min=1, max=64, help="kuberay: GPUs of a node.")]
Tolerate = Annotated[list[str] | None, typer.Option(metavar="TAINT", help="kuberay: a taint, KEY[=VALUE][:EFFECT].")]
VolumeClaim = Annotated[str | None, typer.Option(metavar="NAME:/path", help="kuberay: a claim that every pod mounts.")]
ServiceAccount = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: service account of the pods.")]
StorageSecret = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: Secret with variables for S3.")]
TokenSecret = Annotated[str | None, typer.Option(metavar="NAME", help="kuberay: Secret with Ray's token as auth_token.")]
WorkerMemory = Annotated[int | None, typer.Option(min=1, metavar="GIB", help="kuberay: memory of each process of the job.")]
HeadCpus = Annotated[int | None, typer.Option(min=1, help="kuberay: CPU cores of the head.")]
HeadMemory = Annotated[int | None, typer.Option(min=1, metavar="GIB", help="kuberay: memory of the head.")]
Retries = Annotated[int | None, typer.Option(min=0, max=1000, help="kuberay: times all of it starts again on a new cluster.")]
Keep = Annotated[int | None, typer.Option(min=0, metavar="SECONDS", help="kuberay: how long the cluster outlives the job.")]
Grace = Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="kuberay: what a pod has to end, for a checkpoint.")]

# ray-up
Ami = Annotated[str | None, typer.Option(metavar="ID", help="ray-up: machine image with Docker and NVIDIA's toolkit.")]
Region = Annotated[str | None, typer.Option(metavar="REGION", help="ray-up: region of AWS.")]
Machine = Annotated[str | None, typer.Option(metavar="TYPE", help="ray-up: p4d.24xlarge or p4de.24xlarge.")]
Efs = Annotated[str | None, typer.Option(metavar="fs-ID:/path", help="ray-up: a file system that every machine mounts.")]
TokenFile = Annotated[str | None, typer.Option(metavar="FILE", help="ray-up: file with Ray's token.")]
Wheel = Annotated[str | None, typer.Option(metavar="FILE", help="ray-up: wheel to install over the image's platform.")]
Profile = Annotated[str | None, typer.Option(metavar="NAME", help="ray-up: IAM instance profile of the workers.")]
Idle = Annotated[int | None, typer.Option(min=1, metavar="MINUTES", help="ray-up: a machine without work goes after so long.")]


def render(
    job_file: JobFile,
    target: Target,
    image: Image,
    overrides: Overrides = None,
    run_id: RunId = None,
    out: Out = None,
    spot: Spot = False,
    namespace: Namespace = None,
    queue: Queue = None,
    priority: Priority = None,
    gpu_product: GpuProduct = None,
    gpus_per_node: GpusPerNode = None,
    tolerate: Tolerate = None,
    volume_claim: VolumeClaim = None,
    service_account: ServiceAccount = None,
    storage_secret: StorageSecret = None,
    token_secret: TokenSecret = None,
    worker_memory: WorkerMemory = None,
    head_cpus: HeadCpus = None,
    head_memory: HeadMemory = None,
    retries: Retries = None,
    keep: Keep = None,
    grace: Grace = None,
    ami: Ami = None,
    region: Region = None,
    machine: Machine = None,
    efs: Efs = None,
    token_file: TokenFile = None,
    wheel: Wheel = None,
    instance_profile: Profile = None,
    idle_minutes: Idle = None,
    as_json: Json = False,
) -> None:
    """Write a job as manifests for a cluster: a RayJob of KubeRay, or a cluster file for `ray up` on AWS."""
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    # these import torch, which takes seconds
    from ipt_platform.cluster.render.manifest import render_manifest, write_manifest
    from ipt_platform.cluster.submit import new_run_id

    options = _options(target, given)
    loaded = load_job(job_file, overrides or (), data_here=False)  # on the cluster, it may be
    run = run_id or new_run_id(loaded.job)
    manifest = render_manifest(loaded, run, Path(), options, str(out or "FILE"))
    if out:
        write_manifest(manifest, out)
    data = {
        "target": target,
        "run": run,
        "file": str(out) if out else None,
        "commands": manifest.commands,
        "documents": manifest.documents,
    }

    def show(to: Any) -> None:
        if not out:
            to.file.write(manifest.text)
            return
        say(to, f"{out}: {loaded.job.name} as run {run} for {target}")
        for command in manifest.commands:
            say(to, f"  {command}")

    emit(data, as_json, show)


# by target: the options that are its own, and what the fields of its class are called where they are called otherwise
_OWN = {
    "kuberay": (
        *("namespace", "queue", "priority", "gpu_product", "gpus_per_node", "tolerate", "volume_claim", "service_account"),
        *("storage_secret", "token_secret", "worker_memory", "head_cpus", "head_memory", "retries", "keep", "grace"),
    ),
    "ray-up": ("ami", "region", "machine", "efs", "token_file", "wheel", "instance_profile", "idle_minutes"),
}
_FIELDS = {
    "volume_claim": "volume",
    "storage_secret": "s3_secret",
    "keep": "keep_seconds",
    "grace": "grace_seconds",
    "efs": "file_system",
}


def _options(target: str, given: Mapping[str, Any]) -> Any:
    """The options of a target from what was given on the command line.

    Raises:
        UsageError: there is no such target, or an option belongs to another one.
    """
    from ipt_platform.cluster.render.options import KubeOptions, mount_of
    from ipt_platform.cluster.render.ray_up import RayUpOptions

    if target not in _OWN:
        raise UsageError(f"there is no target '{target}'{did_you_mean(target, TARGETS)}")
    other = [name for own, names in _OWN.items() if own != target for name in names if name in given]
    if other:
        raise UsageError(f"{_flag(other[0])} says nothing to --target {target}; leave it out")
    if target == "ray-up" and "ami" not in given:
        raise UsageError(
            "--target ray-up needs --ami: the id of a machine image of the region, with Docker and NVIDIA's toolkit"
        )
    values = {_FIELDS.get(name, name): given[name] for name in ("image", "spot", *_OWN[target]) if name in given}
    for name in ("volume_claim", "efs"):
        if name in given:
            values[_FIELDS[name]] = mount_of(given[name], _flag(name))
    if "tolerate" in values:
        values["tolerate"] = tuple(values["tolerate"])
    kind = KubeOptions if target == "kuberay" else RayUpOptions
    assert values.keys() <= {field.name for field in fields(kind)}
    return kind(**values)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
