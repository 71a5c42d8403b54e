"""Give a job a run, or go on with the run it has, and follow it to its end."""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipt_platform.cluster.driver import driver
from ipt_platform.cluster.folder import session_folder
from ipt_platform.cluster.stop import Stop, listening
from ipt_platform.cluster.target import Target
from ipt_platform.cluster.telling import told
from ipt_platform.errors import (
    CancelledRunError,
    InfrastructureError,
    IptError,
    NotFoundError,
    OutOfMemoryError,
    RefusedError,
    storage_failed,
)
from ipt_platform.evaluate.report import read_report
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import ENDINGS, append_ending, read_events
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create, is_remote
from ipt_platform.observe.summary import publish
from ipt_platform.observe.waiting import settled
from ipt_platform.spec.job import AnyJob, CompoundJob, EvaluateJob, LearningJob, RestoreJob
from ipt_platform.spec.load import LoadedJob, job_diff, load_job
from ipt_platform.spec.overrides import ABSENT, value_at
from ipt_platform.spec.registered import FOLDER, registered_names
from ipt_platform.track.trackers import keep_tracking
from ipt_platform.train.given import begin_run, copy_records, keep_tasks, keeper, tell_created

Watch = Callable[[Callable[[float], bool]], None]
"""Shows a run until the function it is given, called with seconds to wait, says that it is over."""


def new_run_id(job: AnyJob) -> str:
    """An id for a new run: the job's name and the time, UTC; its random end keeps apart what is submitted in one second."""
    return f"{job.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def load_for(target: Target | None, job_file: Path | str, overrides: Sequence[str]) -> LoadedJob:
    """A job with what the configuration says of its cluster, where neither its file nor the command line does.

    What this kind of job does not have is left out.

    Raises:
        NotFoundError, UsageError, SpecError: as `spec.load.load_job`.
    """
    loaded = load_job(job_file, overrides)
    if target is None:
        return loaded
    entry = target.entry
    defaults = [*entry.set, *([f"storage={json.dumps(entry.storage)}"] if entry.storage else [])]
    plain = loaded.job.model_dump(mode="json")
    silent = [
        each
        for each in defaults
        for key in [each.partition("=")[0]]
        if value_at(plain, key) is not ABSENT and value_at(loaded.document.value, key) is ABSENT
    ]
    return load_job(job_file, [*silent, *overrides]) if silent else loaded


def prepare_run(loaded: LoadedJob, run_id: str | None, base: Path) -> RunDir:
    """The folder of a run with its resolved job: a new one, or the one with this id if the job is the same.

    It also gets the records of registered tasks, the user's own task files and, for a finetune, its backbone, or what restores,
    before anything can start.

    Raises:
        RefusedError: the run was started with another job (the difference is named), or is running now; or somebody else gives
            it another job at this moment.
        SpecError: the backbone of a finetune, the bias that it begins from, or what is to restore, cannot be used.
        InfrastructureError: the storage cannot be written.
    """
    job = loaded.job
    name = run_id or new_run_id(job)
    with _storage(Path(job.storage)):
        run = _folder(job.storage, name)
        keep_own = _keeper(loaded, run, base)
        run = create(job.storage, name)
        if not run.job.exists():
            _keep_tasks(job, run, base)
            begin_run(job, run, keep_own)
            return run
    changes = job_diff(load_job(run.job, tasks=run.tasks).job, job)
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise RefusedError(
            f"run {run.id} was started with another job:\n{listed}\n"
            "Submit the job as it was to go on, or leave --run out (or give a new id) to start a new run."
        )
    _refuse_running(run)
    with _storage(run.path):
        # which was not done if the first submission died just then
        keep_own(run)
        run.keep_given()
        keep_tracking(run, job)
        tell_created(job, run)
    return run


def resume_run(run: RunDir, base: Path) -> AnyJob:
    """The job of a run that is to go on, from its own resolved file.

    Args:
        run: the run.
        base: what relative paths in its job are relative to, as when it was submitted.

    Raises:
        NotFoundError: it has no job; it was never submitted whole.
        RefusedError: it is running now.
        SpecError: what its job names is no longer there.
        InfrastructureError: the storage cannot be written.
    """
    if not run.job.is_file():
        raise NotFoundError(f"run {run.id} has no {run.job.name}: give its job with `ipt-platform submit JOB --run {run.id}`")
    _refuse_running(run)
    run.fetch()
    loaded = load_job(run.job, base=base, tasks=run.tasks)
    with _storage(run.path):
        _keeper(loaded, run, base)(run)
        tell_created(loaded.job, run)
    return loaded.job


def submit(job: AnyJob, run: RunDir, watch: Watch, base: Path) -> dict[str, Any]:
    """Bring a run to its end, in a process of its own that ends with this one.

    A run that is already finished is only reported. SIGINT and SIGTERM ask a training to commit a checkpoint and stop; a
    second one, or one that comes before training has begun, ends it at once.

    Returns:
        The content of report.json.

    Raises:
        CancelledRunError, TrainingError, OutOfMemoryError, RefusedError, HangError, PreemptedError: as
            `train.driver.run_training`.
        InfrastructureError: as there, or Ray or the process that used it died, or the storage failed.
        NotFoundError, CheckpointError, DataError: as `cluster.measure.measure`.
        NotFoundError, SpecError, UsageError: as `cluster.telling.check_told`.
    """
    if run_status(run).state != "finished":
        with _storage(run.path), told(job, run):
            _bring_to_its_end(job, run, watch, base)
        run.fetch()
    return read_report(run.report)


def tell_unbegun(run: RunDir, before: int, error: IptError) -> None:
    """Write what ended a submission that began no attempt, as one of its own: nobody may be there to read it from the screen.

    Args:
        run: the run; one that another process leads, or that is finished, is left alone.
        before: its newest attempt before the submission.
        error: what ended it.
    """
    with contextlib.suppress(OSError, IptError):  # what the storage says now is not the reason to give
        if run.attempt_of(this_process(), before) is None and settled(run).state not in ("running", "finished"):
            append_ending(run, run.new_attempt(), error)
            publish(run)


def _refuse_running(run: RunDir) -> None:
    status = run_status(run)
    if status.state == "running":
        raise RefusedError(f"run {run.id} is running: {status.reason}")


def _folder(storage: str, name: str) -> RunDir:
    """A run as it would be, or is; on a disk nothing is made yet."""
    return create(storage, name) if is_remote(storage) else RunDir(Path(storage) / name)


def _keeper(loaded: LoadedJob, run: RunDir, base: Path) -> Callable[[RunDir], None]:
    """What puts into its run the backbone of a finetune, or what a job restores with, which was found to be usable; it does
    nothing for other jobs.
    """
    if isinstance(loaded.job, CompoundJob) and not run.job.exists():
        from ipt_platform.tune.beyond import check_beyond

        check_beyond(loaded, base)
    if isinstance(loaded.job, RestoreJob) and not run.models.exists():
        from ipt_platform.restore.models import choose_models, keep_models

        chosen = choose_models(loaded, base)
        return lambda run: keep_models(run.models, chosen)
    return keeper(loaded, run, base)


def _keep_tasks(job: AnyJob, run: RunDir, base: Path) -> None:
    """Keep the tasks of a job; of a compound one the records of registered tasks, where its jobs look for them."""
    if isinstance(job, LearningJob | EvaluateJob):
        keep_tasks(job, run, base)
    elif isinstance(job, CompoundJob):
        registered = base / job.storage / FOLDER
        copy_records(registered_names(registered), registered, run.members / FOLDER)


def _bring_to_its_end(job: AnyJob, run: RunDir, watch: Watch, base: Path) -> None:
    with_ray = not isinstance(job, EvaluateJob)
    if run.mirror and isinstance(job, LearningJob):
        run.mirror.patience = job.checkpoint.patience
    before, leader = run.current_attempt(), this_process()
    log, mirror = run.logs(before + 1, "driver"), run.mirror
    embedded = with_ray and not os.environ.get("RAY_ADDRESS")
    lost = "" if isinstance(job, RestoreJob) else ", without a checkpoint of its own"
    stop = Stop(run, lambda: run.attempt_of(leader, before), gently=with_ray, lost=lost)
    try:
        with ExitStack() as stack:
            stack.enter_context(listening(stop))
            stack.enter_context(courier(mirror, (log,), lambda: publish(run)))
            folder = stack.enter_context(session_folder(log.with_name("ray"))) if embedded else None
            own = stack.enter_context(driver(run, base, leader, folder, log))
            watch(lambda seconds: own.over(seconds) or stop.at_once())
            if not own.over(0):
                raise stop.error()
            own.check()
    except (CancelledRunError, InfrastructureError, OutOfMemoryError) as error:
        _tell_ending(run, stop.own_attempt(), error)
        raise


def _tell_ending(run: RunDir, attempt: int | None, error: IptError) -> None:
    """Write an ending for an attempt that could not do so itself."""
    if attempt is None or any(event["type"] in ENDINGS and event["attempt"] == attempt for event in read_events(run)):
        return
    # Neither another attempt's taking over nor a full disk is the reason to give.
    with contextlib.suppress(RefusedError, OSError, InfrastructureError), run.fence(attempt)():
        append_ending(run, attempt, error)
        publish(run)


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """What the storage refuses is told in a sentence; a reader of our own output that went away is no storage."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise storage_failed(error, path) from error
