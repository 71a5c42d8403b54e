"""Start the workers of a training job through Ray Train, and say how they ended."""

import logging
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError, RayError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, UserCallback, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from ipt_platform.errors import CancelledRunError, InfrastructureError, IptError, RefusedError, TrainingError
from ipt_platform.observe.events import ENDINGS, append_event, read_events
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import LearningJob
from ipt_platform.train.worker import train_worker

log = logging.getLogger(__name__)

# Ray Train looks at its workers this often; by default every 2 seconds, which is also how late it sees one die.
POLL_SECONDS = "0.2"


def run_training(job: LearningJob, run: RunDir, base: Path, leader: Process | None = None) -> None:
    """Train a job on the Ray that this process is connected to; returns when its last step is done.

    Workers that are lost are replaced up to `cluster.max_failures` times; each time training goes on from the newest
    usable checkpoint.

    Args:
        job: the resolved job.
        run: its run.
        base: what relative paths of the job are relative to.
        leader: the process with which the run lives and ends; this process by default.

    Raises:
        CancelledRunError: somebody stopped it; a checkpoint was committed.
        TrainingError: the job itself went wrong.
        RefusedError: another attempt took the run over.
        InfrastructureError: workers failed more often than the job allows, or Ray or the storage failed.
    """
    cluster = job.cluster
    state = run.path / "ray"
    submission = Submission(RunDir(run.path.absolute()), leader or this_process(), run.current_attempt())
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "job": job.model_dump(mode="json"),
            "run": str(submission.run.path),
            "base": str(base.absolute()),
            "leader": asdict(submission.leader),
        },
        torch_config=TorchConfig(backend="nccl" if cluster.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=cluster.workers,
            use_gpu=cluster.gpus_per_worker > 0,
            resources_per_worker={"CPU": cluster.cpus_per_worker}
            | ({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {}),
        ),
        # The run's own files say where to go on; Ray's are only its own, and a name used twice would make Ray resume.
        run_config=RunConfig(
            name=uuid.uuid4().hex[:12],
            storage_path=str(state.absolute()),
            failure_config=FailureConfig(max_failures=cluster.max_failures),
            callbacks=[LossTold(submission)],
        ),
    )
    try:
        trainer.fit()
    except (TrainingFailedError, RayError) as error:
        failure = _failure(error)
        submission.tell("failed", str(failure))
        raise failure from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
    _raise_ending(run, submission.before)


@dataclass(frozen=True)
class Submission:
    """One submission of a run: who leads its attempts, and the newest attempt before them."""

    run: RunDir
    leader: Process
    before: int

    def tell(self, event: str, reason: str) -> None:
        """Append an event to the run's, unless somebody else has taken it over by now.

        That the storage takes none is logged only: it is seldom the first sign of it.
        """
        try:
            attempt = self.run.current_attempt()
            if attempt in (self.before, self.run.attempt_of(self.leader, self.before)):
                append_event(self.run, event, attempt, reason=reason)
        except OSError:
            log.exception("this could not be written to %s: %s: %s", self.run.events, event, reason)


class LossTold(UserCallback):
    """Tells in a run's events that workers were lost, and why; called by the process of Ray's that replaces them."""

    def __init__(self, submission: Submission):
        self.submission = submission

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Append the event.

        Raises:
            TrainingError, InfrastructureError: a worker says that the job is wrong, or the disk full. New workers would come
                to the same end; an error here keeps Ray from starting them.
        """
        self.submission.tell("worker-lost", _losses(worker_exceptions))
        if own := [error for error in worker_exceptions.values() if isinstance(error, IptError)]:
            raise own[0] if isinstance(own[0], InfrastructureError) else TrainingError(str(own[0]))


def _raise_ending(run: RunDir, before: int) -> None:
    """Raise what the last attempt's last word says, unless it finished."""
    endings = [event for event in read_events(run) if event["type"] in ENDINGS and event["attempt"] > before]
    if not endings:
        raise RefusedError(f"run {run.id} was taken over by another attempt, or its workers were told to end")
    ending = endings[-1]
    if ending["type"] == "cancelled":
        raise CancelledRunError(ending["reason"])
    if ending["type"] == "failed":
        raise TrainingError(ending["reason"])


def _failure(error: Exception) -> IptError:
    match error:
        case ControllerError(controller_failure=TrainingError() | InfrastructureError() as own):
            return type(own)(str(own))
        case WorkerGroupError():
            losses = _losses(error.worker_failures)
            return InfrastructureError(
                f"workers were lost more often than cluster.max_failures allows; the last time: {losses}"
            )
        case RayActorError():
            return InfrastructureError(f"Ray failed: the process that controls the workers ended: {_first_line(error)}")
        case _:
            return InfrastructureError(f"Ray failed: {_first_line(error)}")


def _losses(failures: Mapping[int, Exception]) -> str:
    return "; ".join(f"worker {rank}: {_first_line(failure)}" for rank, failure in sorted(failures.items()))


def _first_line(error: BaseException) -> str:
    """What an error says; Ray's go on for pages."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
