"""`submit JOB`: run a job to its end, showing one live line; or let a cluster do so."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ipt_platform.cli.cluster import Cluster
from ipt_platform.cli.follow import Detach, lead, target_of
from ipt_platform.cli.job import JobFile, Overrides
from ipt_platform.cli.output import Json
from ipt_platform.cluster.submit import load_for, prepare_run
from ipt_platform.cluster.telling import check_told


def submit(
    job_file: JobFile,
    overrides: Overrides = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Id of the run; an id that exists goes on where it stopped.")
    ] = None,
    cluster: Cluster = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Run a job and follow it; the same job under the same --run goes on where it stopped."""
    target = target_of(cluster, detach)
    loaded = load_for(target, job_file, overrides or ())
    if target is None:
        check_told(loaded.job)
    run = prepare_run(loaded, run_id, Path())
    words = [
        "ipt-platform",
        "submit",
        job_file,
        "--run",
        run.id,
        *(word for each in overrides or () for word in ("--set", each)),
    ]
    lead(loaded.job, run, Path(), shlex.join(map(str, words)), as_json, target, detach)
