"""Give a job a run, or go on with the run it has, and follow it to its end."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cluster.driver import driver
from ipt_platform.cluster.folder import session_folder
from ipt_platform.cluster.registered import keep_records
from ipt_platform.cluster.stop import Stop, listening
from ipt_platform.errors import CancelledRunError, InfrastructureError, RefusedError, storage_failed
from ipt_platform.evaluate.report import read_report
from ipt_platform.observe.events import ENDINGS, append_event, read_events
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir, create
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import AnyJob, EvaluateJob, FinetuneJob, LearningJob, RestoreJob
from ipt_platform.spec.load import LoadedJob, dump_job, job_diff, load_job

Watch = Callable[[Callable[[float], bool]], None]
"""Shows a run until the function it is given, called with seconds to wait, says that it is over."""


def new_run_id(job: AnyJob) -> str:
    """An id for a new run: the job's name and the time, UTC."""
    return f"{job.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def total_steps(job: AnyJob) -> int:
    """Training steps of a job: 0 for one that trains nothing."""
    return sum(stage.steps for stage in job.train.stages) if isinstance(job, LearningJob) else 0


def prepare_run(loaded: LoadedJob, run_id: str | None, base: Path) -> RunDir:
    """The folder of a run with its resolved job: a new one, or the one with this id if the job is the same.

    It also gets the records of registered tasks and, for a finetune, its backbone, or what restores, before anything can start.

    Raises:
        RefusedError: the run was started with another job (the difference is named), or is running now.
        SpecError: the backbone of a finetune, the bias that it begins from, or what is to restore, cannot be used.
        InfrastructureError: the storage cannot be written.
    """
    job = loaded.job
    name = run_id or new_run_id(job)
    with _storage(Path(job.storage)):
        keep_own = _keeper(loaded, RunDir(Path(job.storage) / name), base)
        run = create(job.storage, name)
        if not run.job.exists():
            keep_records(job, run, base)
            replace_file(run.job, dump_job(job).encode())
            keep_own(run)
            append_event(run, "created", 0, kind=job.kind, steps=total_steps(job))
            return run
    changes = job_diff(load_job(run.job).job, job)
    if changes:
        listed = "\n".join(f"  {change}" for change in changes)
        raise RefusedError(
            f"run {run.id} was started with another job:\n{listed}\n"
            "Submit the job as it was to go on, or leave --run out (or give a new id) to start a new run."
        )
    status = run_status(run)
    if status.state == "running":
        raise RefusedError(f"run {run.id} is running: {status.reason}")
    with _storage(run.path):
        keep_own(run)  # which was not done if the first submission died just then
    return run


def submit(job: AnyJob, run: RunDir, watch: Watch, base: Path) -> dict[str, Any]:
    """Bring a run to its end, in a process of its own that ends with this one.

    A run that is already finished is only reported. SIGINT and SIGTERM ask a training to commit a checkpoint and stop; a
    second one, or one that comes before training has begun, ends it at once.

    Returns:
        The content of report.json.

    Raises:
        CancelledRunError, TrainingError, RefusedError: as `train.driver.run_training`.
        InfrastructureError: as there, or Ray or the process that used it died, or the storage failed.
        NotFoundError, CheckpointError, DataError: as `cluster.measure.measure`.
    """
    if run_status(run).state != "finished":
        with _storage(run.path):
            _bring_to_its_end(job, run, watch, base)
    return read_report(run.report)


def _keeper(loaded: LoadedJob, run: RunDir, base: Path) -> Callable[[RunDir], None]:
    """What puts into its run the backbone of a finetune, or what a job restores with, which was found to be usable; it does
    nothing for other jobs.
    """
    if isinstance(loaded.job, RestoreJob) and not run.models.exists():
        from ipt_platform.restore.models import choose_models, keep_models

        chosen = choose_models(loaded, base)
        return lambda run: keep_models(run.models, chosen)
    if not isinstance(loaded.job, FinetuneJob) or run.backbone.is_dir():
        return lambda run: None
    # torch takes seconds to import, and only here does whoever submits need it
    from ipt_platform.train.frozen import find_frozen, keep_frozen

    frozen = find_frozen(loaded, base)
    return lambda run: keep_frozen(frozen, run)


def _bring_to_its_end(job: AnyJob, run: RunDir, watch: Watch, base: Path) -> None:
    with_ray = not isinstance(job, EvaluateJob)
    before, leader = run.current_attempt(), this_process()
    log = run.logs(before + 1, "driver")
    embedded = with_ray and not os.environ.get("RAY_ADDRESS")
    lost = "" if isinstance(job, RestoreJob) else ", without a checkpoint of its own"
    stop = Stop(run, lambda: run.attempt_of(leader, before), gently=with_ray, lost=lost)
    try:
        with ExitStack() as stack:
            stack.enter_context(listening(stop))
            folder = stack.enter_context(session_folder(log.with_name("ray"))) if embedded else None
            own = stack.enter_context(driver(run, base, leader, folder, log))
            watch(lambda seconds: own.over(seconds) or stop.at_once())
            if not own.over(0):
                raise stop.error()
            own.check()
    except (CancelledRunError, InfrastructureError) as error:
        _tell_ending(run, stop.own_attempt(), error)
        raise


def _tell_ending(run: RunDir, attempt: int | None, error: CancelledRunError | InfrastructureError) -> None:
    """Write an ending for an attempt that could not do so itself."""
    if attempt is None or any(event["type"] in ENDINGS and event["attempt"] == attempt for event in read_events(run)):
        return
    # Neither another attempt's taking over nor a full disk is the reason to give.
    with contextlib.suppress(RefusedError, OSError), run.fence(attempt)():
        append_event(run, "cancelled" if isinstance(error, CancelledRunError) else "failed", attempt, reason=str(error))


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """What the storage refuses is told in a sentence; a reader of our own output that went away is no storage."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise storage_failed(error, path) from error
