"""`submit JOB`: run a job to its end, showing one live line; or let a cluster do so."""

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
    go_on = f"ipt-platform submit {job_file} --run {run.id}" + "".join(f" --set {each}" for each in overrides or ())
    lead(loaded.job, run, Path(), go_on, as_json, target, detach)
