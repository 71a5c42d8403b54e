"""Which trackers are told of a run, and whether they can be."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pydantic import ValidationError

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.observe.events import ENDINGS
from ipt_platform.observe.feed import Feed
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import list_runs
from ipt_platform.spec.job import AnalyzeJob, AnyJob, CompoundJob, LearningJob
from ipt_platform.spec.load import read_job
from ipt_platform.spec.track import TrackSpec
from ipt_platform.track.mlflow import Mlflow, address
from ipt_platform.track.tensorboard import TensorBoard

FILE = "track.json"
"""In a run: the trackers of its last submission, where they are not those of its job.yaml."""

TRACKERS = ("tensorboard", "mlflow")

_INSTALL = "pip install 'ipt-platform[{}]'"


def check_trackers(job: AnyJob) -> None:
    """That this machine, which is to lead a job, can tell the trackers that the job asks for.

    Raises:
        UsageError: a package is missing, or the address of MLflow.
    """
    for each in _asked(job):
        check(each)


def check(track: TrackSpec) -> None:
    """That this machine can tell some trackers.

    Raises:
        UsageError: as `check_trackers`.
    """
    for name in TRACKERS:
        if getattr(track, name) and find_spec(name) is None:
            raise UsageError(f"track.{name}: the package {name} is not installed; run `{_INSTALL.format(name)}`")
    if track.mlflow:
        address()


def keep_tracking(run: RunDir, job: AnyJob) -> None:
    """Write down that a run which exists is told to the trackers of this job from now on."""
    if not isinstance(job, LearningJob):
        return
    if tracking_of(run, read_job(run.job)) != job.track:
        replace_file(run.path / FILE, json.dumps(job.track.model_dump(mode="json")).encode() + b"\n")
        run.keep(run.path / FILE)


def tracking_of(run: RunDir, job: AnyJob) -> TrackSpec:
    """The trackers of a run: those of its last submission."""
    try:
        path = run.path / FILE
        data = run.mirror.remote.read(FILE) if run.mirror else path.read_bytes() if path.is_file() else None
    except NotFoundError:
        data = None
    if data is not None:
        return TrackSpec.model_validate_json(data)
    return job.track if isinstance(job, LearningJob) else TrackSpec()


def trackers_of(run: RunDir, job: AnyJob) -> list[Feed]:
    """What tells of a run; of a search or an analysis, of the runs of its jobs.

    Raises:
        UsageError: as `check_trackers`.
    """
    if isinstance(job, CompoundJob):
        return [Members(run)] if any(each != TrackSpec() for each in _asked(job)) else []
    return feeds_of(run, job, tracking_of(run, job))


def feeds_of(run: RunDir, job: AnyJob, track: TrackSpec) -> list[Feed]:
    """What tells some trackers of a run; of a search or an analysis, of the runs of its jobs.

    Raises:
        UsageError: as `check_trackers`; or the job is none that trains.
    """
    check(track)
    if isinstance(job, CompoundJob):
        return [Members(run, track)]
    found: list[Feed] = [TensorBoard(run)] if track.tensorboard else []
    if track.mlflow:
        if not isinstance(job, LearningJob):
            raise UsageError(f"run {run.id} is of kind {job.kind}; MLflow is told of trainings and finetunes")
        found.append(Mlflow(run, job, track.mlflow.experiment or job.name, address()))
    return found


class Members:
    """The feed of the runs of a search or an analysis, one after the other.

    Args:
        whole: the search or the analysis.
        track: which trackers are told; None: those that each job names.
    """

    name, rest = "the trackers of its jobs", "ipt-platform track"

    def __init__(self, whole: RunDir, track: TrackSpec | None = None):
        self.whole, self.track = whole, track
        self._feeds: dict[str, list[Feed]] = {}
        self._over: dict[str, int] = {}

    def turn(self, last: bool) -> None:
        """As `Feed.turn`, for each of them; an attempt that has ended is told for the last time.

        Raises:
            Exception: as the first of them.
        """
        for run in list_runs(self.whole.members):
            attempt = run.current_attempt()
            if self._over.get(run.id) == attempt or not run.job.is_file():
                continue
            if run.id not in self._feeds:
                job = read_job(run.job)
                self._feeds[run.id] = feeds_of(run, job, self.track or tracking_of(run, job))
            over = last or run_status(run, quick=True).state in ENDINGS
            for feed in self._feeds[run.id]:
                feed.turn(over)
            if over:
                self._over[run.id] = attempt
                del self._feeds[run.id]


def _asked(job: AnyJob) -> Iterator[TrackSpec]:
    """The trackers that a job asks for, and the jobs that it is made of."""
    if isinstance(job, LearningJob):
        yield job.track
    elif isinstance(job, CompoundJob):
        parts: list[Any] = [job.base]
        if isinstance(job, AnalyzeJob):
            parts += [job.before, job.after, *(job.variants or {}).values()]
        for part in parts:
            for each in part if isinstance(part, list | tuple) else [part]:
                if isinstance(each, dict) and "track" in each:
                    yield _parsed(each["track"])


def _parsed(value: Any) -> TrackSpec:
    try:
        return TrackSpec.model_validate(value)
    except ValidationError:  # which the check of the job has told
        return TrackSpec()
