"""`track RUN`: tell trackers what they have not been told of a run."""

from typing import Annotated

import typer

from ipt_platform.cli.output import Json, Run, Storage, emit, say
from ipt_platform.errors import UsageError
from ipt_platform.observe.feed import tell
from ipt_platform.observe.storage import find_run
from ipt_platform.spec.load import read_job
from ipt_platform.spec.track import MlflowSpec, TrackSpec
from ipt_platform.spec.words import did_you_mean
from ipt_platform.track.trackers import TRACKERS, feeds_of, trackers_of


def track(
    run: Run,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="tensorboard or mlflow; repeatable. Else what its job names."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Experiment of MLflow; the name of its job by default.")
    ] = None,
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Tell trackers all that they have not been told of a run, whether or not it goes on."""
    if experiment and "mlflow" not in (to or ()):
        raise UsageError("--experiment is for MLflow: add --to mlflow")
    if unknown := [name for name in to or () if name not in TRACKERS]:
        raise UsageError(f"there is no tracker '{unknown[0]}'{did_you_mean(unknown[0], TRACKERS)}")
    folder = find_run(storage, run)
    folder.refresh(now=True)
    job = read_job(folder.job)
    if to:
        mlflow = MlflowSpec(experiment=experiment) if "mlflow" in to else None
        feeds = feeds_of(folder, job, TrackSpec(tensorboard="tensorboard" in to, mlflow=mlflow))
    else:
        feeds = trackers_of(folder, job)
    if not feeds:
        raise UsageError(f"the job of run {folder.id} names no tracker; name one with --to")
    for feed in feeds:
        tell(feed)
    names = [feed.name for feed in feeds]
    words = f"{folder.id}: {' and '.join(names)} {'have' if len(names) > 1 else 'has'} been told everything"
    emit({"run": folder.id, "told": names}, as_json, lambda to: say(to, words))
