"""Start the workers of a training job through Ray Train, and say how they ended."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, UserCallback, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from ipt_platform.errors import CancelledRunError, InfrastructureError, IptError, RefusedError, TrainingError
from ipt_platform.observe.events import ENDINGS, append_event, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.worker import train_worker

# Ray Train looks at its workers this often; by default every 2 seconds, which is also how late it sees one die.
POLL_SECONDS = "0.2"


def run_training(job: TrainJob, run: RunDir, base: Path) -> None:
    """Train a job on the Ray that this process is connected to; returns when its last step is done.

    Workers that are lost are replaced up to `cluster.max_failures` times; each time training goes on from the newest
    usable checkpoint.

    Raises:
        CancelledRunError: somebody stopped it; a checkpoint was committed.
        TrainingError: the job itself went wrong.
        RefusedError: another attempt took the run over.
        InfrastructureError: workers failed more often than the job allows.
    """
    cluster = job.cluster
    state = run.path / "ray"
    before = run.current_attempt()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job.model_dump(mode="json"), "run": str(run.path.absolute()), "base": str(base.absolute())},
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
            callbacks=[LossTold(run)],
        ),
    )
    try:
        trainer.fit()
    except (TrainingFailedError, RayError) as error:
        failure = _failure(error)
        append_event(run, "failed", run.current_attempt(), reason=str(failure))
        raise failure from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
    _raise_ending(run, before)


class LossTold(UserCallback):
    """Tells in a run's events that workers were lost, and why; called by the process of Ray's that replaces them."""

    def __init__(self, run: RunDir):
        self.run = run

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:
        """Append the event.

        Raises:
            TrainingError: a worker says that the job is wrong. New workers would come to the same end; an error here keeps Ray
                from starting them.
        """
        append_event(self.run, "worker-lost", self.run.current_attempt(), reason=_losses(worker_exceptions))
        if own := [error for error in worker_exceptions.values() if isinstance(error, IptError)]:
            raise TrainingError(str(own[0]))


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
        case ControllerError(controller_failure=TrainingError() as own):
            return TrainingError(str(own))
        case WorkerGroupError():
            losses = _losses(error.worker_failures)
            return InfrastructureError(
                f"workers were lost more often than cluster.max_failures allows; the last time: {losses}"
            )
        case _:
            return InfrastructureError(f"Ray failed: {_first_line(error)}")


def _losses(failures: Mapping[int, Exception]) -> str:
    return "; ".join(f"worker {rank}: {_first_line(failure)}" for rank, failure in sorted(failures.items()))


def _first_line(error: BaseException) -> str:
    """What an error says; Ray's go on for pages."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
