"""From a job and options to a manifest: checks that a cluster can have what the job names, and writes it down."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ipt_platform import __version__
from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cluster.render.kuberay import render_kuberay
from ipt_platform.cluster.render.options import KubeOptions
from ipt_platform.cluster.render.places import check_places, local_places
from ipt_platform.cluster.render.ray_up import RayUpOptions, how_to_use, render_ray_up
from ipt_platform.cluster.render.shape import shape_of
from ipt_platform.cluster.render.text import MARK, manifest_text
from ipt_platform.errors import RefusedError, UsageError, storage_failed
from ipt_platform.observe.storage import check_run_id
from ipt_platform.spec.load import LoadedJob, dump_job


@dataclass(frozen=True)
class Manifest:
    """What was rendered.

    Attributes:
        documents: plain values, one for each YAML document.
        text: all of them as YAML.
        commands: what to do with it, one shell command a line.
    """

    documents: list[dict[str, Any]]
    text: str
    commands: list[str]


def render_manifest(loaded: LoadedJob, run_id: str, base: Path, options: KubeOptions | RayUpOptions, file: str) -> Manifest:
    """The manifest of a job.

    Args:
        loaded: the job.
        run_id: id of its run; an id that has a run goes on with it.
        base: what relative paths of the job are relative to here.
        options: the operator's, by which the target is known.
        file: where the manifest will lie, for the commands.

    Raises:
        UsageError: the id is none, an option is wrong, or the job takes what no machine has.
        SpecError: paths of the job are not there on the cluster; every one of them.
    """
    check_run_id(run_id)
    volume, option = (
        (options.volume, "--volume-claim NAME:/path")
        if isinstance(options, KubeOptions)
        else (options.file_system, "--efs fs-ID:/path")
    )
    check_places(local_places(loaded.job, base), volume.path if volume else None, option, loaded.document)
    job, shape = dump_job(loaded.job), shape_of(loaded, base)
    if isinstance(options, KubeOptions):
        documents = render_kuberay(job, run_id, shape, options, version("ray"))
        name = documents[1]["metadata"]["name"]
        where = f" -n {options.namespace}" if options.namespace else ""
        commands = [
            f"kubectl apply{where} -f {file}",
            f"kubectl get rayjob{where} {name} --watch",
            f"kubectl delete{where} -f {file}",
        ]
    else:
        documents = [render_ray_up(job, run_id, shape, options, __version__)]
        commands = how_to_use(run_id, file)
    return Manifest(documents, manifest_text(documents, commands), commands)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write it to a file: a new one, or in the place of one that was written here.

    Raises:
        UsageError: the file's folder is not there.
        RefusedError: the file is another's.
        InfrastructureError: it cannot be written.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; make it, or give another path")
    try:
        if path.exists() and not (path.is_file() and path.read_bytes().startswith(MARK.encode())):
            raise RefusedError(f"{path} exists and is no manifest of ipt-platform; give another path, or remove it")
        replace_file(path, manifest.text.encode())
    except OSError as error:
        raise storage_failed(error, path) from error
