"""A cluster file for `ray up` on AWS: a head without GPUs, and as many machines with eight A100 as the job needs."""

import base64
import re
import shlex
from dataclasses import dataclass
from typing import Any

from ipt_platform.cluster.render.names import GIB, kube_name
from ipt_platform.cluster.render.options import Mount, check_image
from ipt_platform.cluster.render.pods import STORE_BYTES
from ipt_platform.cluster.render.shape import Shape, groups_of
from ipt_platform.errors import UsageError

Plain = dict[str, Any]

HOME = "/home/ipt"
"""Of the user in the image (jobs/cluster/Containerfile)."""

TOKEN_FILE = f"{HOME}/.ray/auth_token"
JOB_FILE = f"{HOME}/job.yaml"

MACHINES = {"p4d.24xlarge": "8 A100 of 40 GB", "p4de.24xlarge": "8 A100 of 80 GB"}
GPUS, CPUS = 8, 96
"""Of each of them."""

# Of every process in the containers: none talks to the cluster without the token, and none tells anybody of it.
_ENVIRONMENT = ("RAY_AUTH_MODE=token", f"RAY_AUTH_TOKEN_PATH={TOKEN_FILE}", "RAY_USAGE_STATS_ENABLED=0")

HEAD = "m7i.2xlarge"
DISK_GIB = 500
_HERE = "http://127.0.0.1:8265"


@dataclass(frozen=True)
class RayUpOptions:
    """What the operator of an account on AWS chooses.

    Attributes:
        image: container image with the platform in it.
        ami: image of the machines, with Docker and NVIDIA's container toolkit.
        region: of AWS.
        machine: instance type of the workers, one of MACHINES.
        spot: workers are spot machines.
        token_file: file of whoever runs `ray up`, with the token of the cluster.
        file_system: an EFS file system (fs-...) that every machine mounts.
        wheel: a wheel of the platform, installed over the image's; None: the image's own.
        instance_profile: IAM instance profile of the workers, through which they may have rights on S3.
        idle_minutes: a machine without work is given back after so long.
    """

    image: str
    ami: str
    region: str = "us-east-1"
    machine: str = "p4de.24xlarge"
    spot: bool = False
    token_file: str = "~/.ray/auth_token"  # noqa: S105 (its place)
    file_system: Mount | None = None
    wheel: str | None = None
    instance_profile: str | None = None
    idle_minutes: int = 30

    def check(self) -> None:
        """That what AWS is asked for can be.

        Raises:
            UsageError: something cannot.
        """
        check_image(self.image)
        if self.machine not in MACHINES:
            raise UsageError(f"--machine: expected one of {', '.join(MACHINES)}, found '{self.machine}'")
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", self.ami):
            raise UsageError(
                f"--ami: expected the id of a machine image with Docker and NVIDIA's toolkit (ami-...), found '{self.ami}'"
            )
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", self.region):
            raise UsageError(f"--region: expected a region of AWS, as in us-east-1, found '{self.region}'")
        if self.file_system and not re.fullmatch(r"fs-[0-9a-f]{8,17}", self.file_system.name):
            raise UsageError(f"--efs: expected fs-ID:/path, found '{self.file_system.name}:{self.file_system.path}'")
        if self.instance_profile and not re.fullmatch(r"[A-Za-z0-9+=,.@_-]{1,128}", self.instance_profile):
            raise UsageError(f"--instance-profile: expected the name of an instance profile, found '{self.instance_profile}'")
        if self.wheel and not self.wheel.endswith(".whl"):
            raise UsageError(f"--wheel: expected a wheel of the platform (.whl), found '{self.wheel}'")


def render_ray_up(job: str, run_id: str, shape: Shape, options: RayUpOptions, version: str) -> Plain:
    """The cluster file, with the job in it.

    Args:
        job: the resolved job, as YAML.
        run_id: id of its run.
        shape: what the job takes.
        options: the operator's.
        version: of the platform, which the machines must have too.

    Raises:
        UsageError: an option is wrong, a process is too large for a machine, or the job asks for no GPU.
    """
    options.check()
    if shape.processes and not shape.gpus:
        raise UsageError(f"{shape.key} is 0, and these are machines with GPUs; ask for some, as in --set {shape.key}=1")
    nodes = sum(group.replicas for group in groups_of(shape, GPUS, CPUS))
    mounts, setup = _package(options, version)
    return {
        "cluster_name": kube_name(run_id),
        "max_workers": nodes,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": options.idle_minutes,
        "provider": {"type": "aws", "region": options.region, "cache_stopped_nodes": False},
        "auth": {"ssh_user": "ubuntu"},
        "docker": {
            "image": options.image,
            "container_name": "ipt-platform",
            "pull_before_run": True,
            "run_options": ["--ulimit nofile=65536:65536", *(f"--env {each}" for each in _ENVIRONMENT), *_volume(options)],
        },
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": shape.head_cpus}, "node_config": _machine(HEAD, options)},
            "a100": {
                "min_workers": nodes,
                "max_workers": nodes,
                "resources": {"CPU": CPUS, "GPU": GPUS},
                "node_config": _machine(options.machine, options, worker=True),
            },
        },
        "file_mounts": {TOKEN_FILE: options.token_file, **mounts},
        "initialization_commands": _mount_commands(options),
        "setup_commands": setup,
        "head_setup_commands": [_write(job, JOB_FILE)],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            _start(
                "--head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml --dashboard-host=127.0.0.1", STORE_BYTES
            ),
        ],
        "worker_start_ray_commands": [
            "ray stop",
            _start("--address=$RAY_HEAD_IP:6379", STORE_BYTES + max(GIB, GPUS * shape.store_bytes)),
        ],
    }


def how_to_use(run_id: str, file: str) -> list[str]:
    """Commands for whoever has the cluster file: start, run the job, follow it, end."""
    submit = (
        f"ray job submit --address {_HERE} --no-wait --submission-id {run_id} -- ipt-platform submit {JOB_FILE} --run {run_id}"
    )
    return [
        f"ray up -y {file}",
        f"ray exec {file} {shlex.quote(submit)}",
        f"ray exec {file} {shlex.quote(f'ray job logs --address {_HERE} --follow {run_id}')}",
        f"ray down -y {file}",
    ]


def _machine(kind: str, options: RayUpOptions, worker: bool = False) -> Plain:
    disk = {"VolumeSize": DISK_GIB, "VolumeType": "gp3", "Encrypted": True}
    return {
        "InstanceType": kind,
        "ImageId": options.ami,
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
        "MetadataOptions": {"HttpTokens": "required"},  # no page of ours can be made to ask for the machine's credentials
        **({"InstanceMarketOptions": {"MarketType": "spot"}} if worker and options.spot else {}),
        **({"IamInstanceProfile": {"Name": options.instance_profile}} if worker and options.instance_profile else {}),
    }


def _package(options: RayUpOptions, version: str) -> tuple[Plain, list[str]]:
    """What brings this version of the platform to a machine: files to copy, and commands that end with a look at it."""
    mounts, commands = {}, []
    if options.wheel:
        there = f"{HOME}/{options.wheel.rpartition('/')[2]}"
        mounts[there] = options.wheel
        # everything that it needs is in the image, pinned
        commands.append(f"pip install --no-deps --force-reinstall {shlex.quote(there)}")
    look = f"import ipt_platform as it; assert it.__version__ == {version!r}, it.__version__"
    return mounts, [*commands, f"python -c {shlex.quote(look)}"]


def _volume(options: RayUpOptions) -> list[str]:
    """The file system in the container; the job runs in it, so that relative paths are below it."""
    mount = options.file_system
    return [f"--volume {mount.path}:{mount.path}", f"--workdir {mount.path}"] if mount else []


def _mount_commands(options: RayUpOptions) -> list[str]:
    mount = options.file_system
    if not mount:
        return []
    server = f"{mount.name}.efs.{options.region}.amazonaws.com:/"
    how = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport"
    return [
        f"sudo mkdir -p {mount.path}",
        f"mountpoint -q {mount.path} || sudo mount -t nfs4 -o {how} {server} {mount.path}",
    ]


def _write(text: str, path: str) -> str:
    """A command that writes a file; in base64, for it passes through several shells."""
    return f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > {path}"


def _start(what: str, store_bytes: int) -> str:
    environment = " ".join(_ENVIRONMENT)
    return f"ulimit -n 65536; {environment} ray start {what} --object-store-memory={store_bytes} --disable-usage-stats"
