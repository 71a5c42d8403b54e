"""What an operator chooses about a cluster, and what is refused before anything is written."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ipt_platform.errors import UsageError

JOB_FOLDER = "/etc/ipt-platform"
"""Where the job file lies in the containers."""

JOB_FILE = f"{JOB_FOLDER}/job.yaml"

GPUS_PER_NODE = 8

_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")
_TAINT = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9./_-]*)(=(?P<value>[A-Za-z0-9._-]*))?(:(?P<effect>[A-Za-z]+))?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TAKEN = ("bin", "dev", "etc", "home", "lib", "opt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var")


@dataclass(frozen=True)
class Mount:
    """A shared volume: its name (of a claim, or of a file system) and where it is mounted."""

    name: str
    path: str


@dataclass(frozen=True)
class KubeOptions:
    """What the operator of a Kubernetes chooses.

    Attributes:
        image: with the platform in it, tag or digest and all.
        token_secret: Secret whose key `auth_token` is the token of the Ray cluster.
        namespace: of the objects; None: that of whoever applies them.
        queue: Kueue's LocalQueue; None: the job starts at once.
        priority: PriorityClass of the pods.
        gpu_product: value of the node label nvidia.com/gpu.product.
        gpus_per_node: GPUs of a node; a process never takes more.
        spot: workers may run on spot machines.
        tolerate: more taints that workers tolerate, as KEY[=VALUE][:EFFECT].
        volume: claim of a volume that every pod mounts.
        service_account: of the pods, through which they may have rights on S3.
        s3_secret: Secret whose keys become environment variables.
        worker_memory: of each process of the job, GiB, without the object store.
        head_cpus: CPU cores of the head.
        head_memory: of the head, GiB.
        retries: times the whole job is started again on a new cluster.
        keep_seconds: the cluster of a job that is over is kept so long.
        grace_seconds: from a pod's SIGTERM to its SIGKILL.
    """

    image: str
    token_secret: str = "ipt-platform-ray-token"  # noqa: S105 (its name)
    namespace: str | None = None
    queue: str | None = None
    priority: str | None = None
    gpu_product: str | None = None
    gpus_per_node: int = GPUS_PER_NODE
    spot: bool = False
    tolerate: tuple[str, ...] = ()
    volume: Mount | None = None
    service_account: str | None = None
    s3_secret: str | None = None
    worker_memory: int = 16
    head_cpus: int = 2
    head_memory: int = 8
    retries: int = 2
    keep_seconds: int = 600
    grace_seconds: int = 120

    def check(self) -> None:
        """That every name is one that Kubernetes takes.

        Raises:
            UsageError: one is not.
        """
        check_image(self.image)
        names = {
            "--token-secret": self.token_secret,
            "--namespace": self.namespace,
            "--queue": self.queue,
            "--priority": self.priority,
            "--service-account": self.service_account,
            "--s3-secret": self.s3_secret,
            "--volume-claim": self.volume and self.volume.name,
        }
        for option, name in names.items():
            if name is not None and not _SUBDOMAIN.fullmatch(name):
                raise UsageError(
                    f"{option}: expected a name of Kubernetes (lower-case letters, digits, dashes), found '{name}'"
                )
        if self.gpu_product is not None and not _LABEL_VALUE.fullmatch(self.gpu_product):
            raise UsageError(
                f"--gpu-product: expected a label's value, as in NVIDIA-A100-SXM4-80GB, found '{self.gpu_product}'"
            )
        for taint in self.tolerate:
            toleration_of(taint)


def toleration_of(taint: str) -> dict[str, str]:
    """The toleration of a taint that is written KEY[=VALUE][:EFFECT].

    Raises:
        UsageError: it is none.
    """
    found = _TAINT.fullmatch(taint)
    if not found or found["effect"] not in (None, *_EFFECTS):
        raise UsageError(
            f"--tolerate: expected KEY, KEY=VALUE or KEY=VALUE:EFFECT (EFFECT is {', '.join(_EFFECTS)}), found '{taint}'"
        )
    value = {"operator": "Exists"} if found["value"] is None else {"operator": "Equal", "value": found["value"]}
    return {"key": found["key"], **value, **({"effect": found["effect"]} if found["effect"] else {})}


def mount_of(text: str, option: str) -> Mount:
    """A volume that is written NAME:/path.

    Raises:
        UsageError: it is none, or its path is one that the containers need themselves.
    """
    name, colon, path = text.partition(":")
    pure = PurePosixPath(path)
    if not colon or not name or not pure.is_absolute() or ".." in pure.parts or not re.fullmatch(r"[A-Za-z0-9._/-]+", path):
        raise UsageError(f"{option}: expected NAME:/path, as in photographs:/data, found '{text}'")
    if len(pure.parts) == 1 or pure.parts[1] in _TAKEN:
        raise UsageError(f"{option}: the containers need {path} themselves; choose another path, as in {name}:/data")
    return Mount(name, str(pure))


def check_image(image: str) -> None:
    """That an image is named.

    Raises:
        UsageError: it is not.
    """
    if not _IMAGE.fullmatch(image):
        raise UsageError(f"--image: expected an image, as in registry.example/ipt-platform:0.1.0, found '{image}'")
