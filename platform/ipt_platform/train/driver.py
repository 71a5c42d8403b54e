"""Start the workers of a training job through Ray Train, and say how they ended."""

import shutil
import uuid
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

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
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        reason = _reason(error)
        append_event(run, "failed", run.current_attempt(), reason=reason)
        causes = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
        if any(isinstance(_cause(cause), IptError) for cause in causes):
            raise TrainingError(reason) from error
        raise InfrastructureError(reason) from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
    _raise_ending(run, before)


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


def _reason(error: TrainingFailedError) -> str:
    if not isinstance(error, WorkerGroupError):
        return f"Ray Train failed: {error}"
    workers = [f"worker {rank}: {_cause(failure)}" for rank, failure in sorted(error.worker_failures.items())]
    return "workers failed more often than cluster.max_failures allows; the last time: " + "; ".join(workers)


def _cause(failure: BaseException) -> BaseException:
    return getattr(failure, "cause", None) or failure.__cause__ or failure
