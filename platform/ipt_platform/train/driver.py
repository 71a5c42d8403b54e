"""Start the workers of a training job through Ray Train, and say how they ended."""

import math
import shutil
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

from ray.exceptions import RayActorError, RayError
from ray.train import ControllerError, FailureConfig, RunConfig, UserCallback, WorkerGroupError
from ray.train.backend import BackendConfig
from ray.train.v2.api.exceptions import TrainingFailedError

from ipt_platform.errors import ERROR_OF, CancelledRunError, FailureClass, IptError, RefusedError
from ipt_platform.observe.events import ENDINGS, read_events
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import LearningJob
from ipt_platform.train.elastic import Elasticity, scaling_of
from ipt_platform.train.entry import train_worker
from ipt_platform.train.exporting import led
from ipt_platform.train.failures import cause_of, classify
from ipt_platform.train.submission import Submission
from ipt_platform.train.supervise import Supervisor
from ipt_platform.train.trainer import Trainer


def run_training(
    job: LearningJob,
    run: RunDir,
    base: Path,
    leader: Process | None = None,
    alone: bool = False,
    part_of: str | None = None,
) -> None:
    """Train a job on the Ray that this process is connected to; returns when its last step is done.

    Workers that are lost or stand still are replaced up to `cluster.max_failures` times between two checkpoints, those whose
    machines are taken away up to `cluster.max_preemptions` times; each time training goes on from the newest usable checkpoint.

    Args:
        job: the resolved job.
        run: its run.
        base: what relative paths of the job are relative to.
        leader: the process with which the run lives and ends; this process by default.
        alone: whether that Ray is there for this job only: it has one machine, and ends with the job.
        part_of: name of the job of which this one is a part, if it is; what is counted is told under that name.

    Raises:
        CancelledRunError: somebody stopped it; a checkpoint was committed.
        TrainingError: the job itself went wrong.
        OutOfMemoryError: it needs more memory than there is.
        RefusedError: another attempt took the run over.
        InfrastructureError: workers failed more often than the job allows, or Ray or the storage failed.
        HangError, PreemptedError: training stood still, or machines were taken away, more often than the job allows.
    """
    cluster = job.cluster
    state = run.path / "ray"
    submission = Submission.of(run, leader or this_process())
    told_as = (part_of or job.name, part_of is not None)
    trainer = Trainer(
        train_worker,
        alone=alone,
        elasticity=Elasticity.of(job, submission),
        train_loop_config={
            "job": job.model_dump(mode="json"),
            "run": str(submission.path),
            "storage": submission.storage,
            "base": str(base.absolute()),
            "leader": asdict(submission.leader),
            "told_as": told_as,
        },
        backend_config=_backend_config(job, waits=2 * job.checkpoint.patience if run.mirror else 0),
        scaling_config=scaling_of(cluster),
        # The run's own files say where to go on; Ray's are only its own, and a name used twice would make Ray resume.
        run_config=RunConfig(
            name=uuid.uuid4().hex[:12],
            storage_path=str(state.absolute()),
            # Failures are counted by the supervisor, which ends the job; here they have no limit.
            failure_config=FailureConfig(
                max_failures=-1,
                max_preemption_failures=-1 if cluster.max_preemptions is None else cluster.max_preemptions,
            ),
            callbacks=[cast(UserCallback, Supervisor(job, submission, told_as))],  # Ray takes any of its callbacks
        ),
    )
    try:
        with led(*told_as) as voice:
            try:
                trainer.fit()
            finally:  # the controller, which tells of them, may have been lost
                voice.set("ipt_train_workers", 0)
    except (TrainingFailedError, RayError) as error:
        failure = _failure(error, job)
        submission.tell_ending(failure)
        raise failure from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
    _raise_ending(run, submission.before)


def _backend_config(job: LearningJob, waits: float) -> BackendConfig:
    """What connects the workers; `waits`: seconds for which the first one may wait for its storage, and the others for it.

    The only worker of a job has nobody to talk to. torch's process group is left out: its store would listen on all addresses
    of the machine, and ask nobody for a token. So is torch itself, which neither this process nor Ray's controller needs.
    """
    cluster = job.cluster
    if cluster.workers == 1:
        return BackendConfig()
    from ray.train.torch import TorchConfig

    return TorchConfig(backend="nccl" if cluster.gpus_per_worker else "gloo", timeout_s=math.ceil(cluster.hang_seconds + waits))


def _raise_ending(run: RunDir, before: int) -> None:
    """Raise what the last attempt's last word says, unless it finished."""
    endings = [event for event in read_events(run) if event["type"] in ENDINGS and event["attempt"] > before]
    if not endings:
        raise RefusedError(f"run {run.id} was taken over by another attempt, or its workers were told to end")
    ending = endings[-1]
    if ending["type"] == "cancelled":
        raise CancelledRunError(ending["reason"])
    if ending["type"] == "failed":
        raise ERROR_OF[FailureClass(ending["class"])](ending["reason"])


def _failure(error: Exception, job: LearningJob) -> IptError:
    """What ended the job, from what ended Ray Train."""
    match error:
        case ControllerError(controller_failure=IptError() as own):
            return type(own)(str(own))
        case ControllerError():
            failure = classify(error.controller_failure)
        case WorkerGroupError():
            failure = cause_of(error.worker_failures)
        case RayActorError():
            failure = classify(error)
            failure = replace(failure, reason=f"the process that controls the workers ended: {failure.reason}")
        case _:
            failure = classify(error)
    if failure.kind is FailureClass.PREEMPTION:
        allowed = f"cluster.max_preemptions allows ({job.cluster.max_preemptions})"
        return failure.error(f"machines were taken away more often than {allowed}; the last time: ")
    if failure.kind is FailureClass.USER:  # nothing of the job's runs there
        failure = replace(failure, kind=FailureClass.INFRASTRUCTURE)
    return failure.error("Ray failed: ")
