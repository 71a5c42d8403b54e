"""Give a job a run, or go on with the run it has, and follow it to its end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cluster.local import connected
from ipt_platform.cluster.measure import measure
from ipt_platform.errors import CancelledRunError, RefusedError
from ipt_platform.evaluate.report import read_report
from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir, create
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import EvaluateJob, TrainJob
from ipt_platform.spec.load import dump_job, job_diff, load_job
from ipt_platform.train.driver import run_training

Watch = Callable[[Callable[[float], bool]], None]
"""Shows a run until the function it is given, called with seconds to wait, says that it is over."""


def new_run_id(job: TrainJob | EvaluateJob) -> str:
    """An id for a new run: the job's name and the time, UTC."""
    return f"{job.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def total_steps(job: TrainJob | EvaluateJob) -> int:
    """Training steps of a job: 0 for one that only measures."""
    return sum(stage.steps for stage in job.train.stages) if isinstance(job, TrainJob) else 0


def prepare_run(job: TrainJob | EvaluateJob, run_id: str | None) -> RunDir:
    """The folder of a run with its resolved job: a new one, or the one with this id if the job is the same.

    Raises:
        RefusedError: the run was started with another job (the difference is named), or is running now.
    """
    run = create(job.storage, run_id or new_run_id(job))
    if not run.job.exists():
        replace_file(run.job, dump_job(job).encode())
        append_event(run, "created", 0, steps=total_steps(job))
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
    return run


def submit(job: TrainJob | EvaluateJob, run: RunDir, watch: Watch, base: Path) -> dict[str, Any]:
    """Bring a run to its end: training on this process's Ray, an evaluation in this process.

    A run that is already finished is only reported. SIGINT and SIGTERM ask a training to commit a checkpoint and stop; a
    second one ends it at once.

    Returns:
        The content of report.json.

    Raises:
        CancelledRunError, TrainingError, RefusedError, InfrastructureError: as `train.driver.run_training`.
        NotFoundError, CheckpointError, DataError: as `cluster.measure.measure`.
    """
    if run_status(run).state == "finished":
        return read_report(run.report)
    if isinstance(job, EvaluateJob):
        return measure(job, run, base)
    cluster, data = job.cluster, job.data
    stream = data.cpus if data.carrier == "ray" else 0
    cpus, gpus = cluster.workers * (cluster.cpus_per_worker + stream), cluster.workers * cluster.gpus_per_worker
    with connected(cpus, gpus, run.logs(run.current_attempt() + 1, "driver")):
        _in_background(lambda: run_training(job, run, base), run, watch)
    return read_report(run.report)


def _in_background(work: Callable[[], None], run: RunDir, watch: Watch) -> None:
    """Do the work in a thread, so that this one can watch and hear signals; raises what the work raises."""
    over, failure = threading.Event(), []

    def body() -> None:
        try:
            work()
        except BaseException as error:
            failure.append(error)
        finally:
            over.set()

    with _stoppable(run):
        threading.Thread(target=body, name="training", daemon=True).start()
        watch(over.wait)
    if failure:
        raise failure[0]


@contextmanager
def _stoppable(run: RunDir) -> Iterator[None]:
    """The first signal asks the run to stop, the second one stops this process."""
    asked: list[int] = []
    attempts_before = run.current_attempt()

    def stop(number: int, frame: object) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if asked or run.current_attempt() == attempts_before:
            raise CancelledRunError(f"stopped at once by {name}, without a checkpoint of its own")
        asked.append(number)
        run.request_stop(f"stopped by {name}")
        append_event(run, "stop-requested", run.current_attempt(), reason=f"{name}; once more to stop at once")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
