"""What Ray Train runs in each worker: find out who we are, open the carrier, and hand over to the session."""

import functools
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.heap import keep_freed_memory
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.data.stream import ray_stream
from ipt_platform.errors import NO_ROOM, CancelledRunError, IptError, RefusedError, TrainingError, storage_failed
from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import JOB, LearningJob
from ipt_platform.train.group import Workers
from ipt_platform.train.session import OpenStream, Place, Session

log = logging.getLogger(__name__)

ENDINGS = {CancelledRunError: "cancelled", TrainingError: "failed"}


def train_worker(config: dict[str, Any]) -> None:
    """Run this worker's session.

    What all workers conclude together (the job went wrong, or was stopped) is written as the attempt's last event and is no
    failure to Ray: a restart would come to the same end. Everything else is raised, so that Ray replaces the workers.

    Args:
        config: `job` (plain values), `run` (folder), `base` (what relative paths of the job are relative to), `leader` (who
            leads the attempt, plain values).
    """
    job = JOB.validate_python(config["job"])
    assert isinstance(job, LearningJob)
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    assert isinstance(device, torch.device)
    run = RunDir(Path(config["run"]))
    attempt = workers.from_first(run.new_attempt(config["leader"]) if workers.first else None)
    _log_to(run.logs(attempt, workers.rank))
    keep_freed_memory()
    # Ray has set the number already, from what it promised to this worker or from the environment of whoever submits.
    threads = max(1, int(job.cluster.cpus_per_worker))
    torch.set_num_threads(threads)
    log.info("worker %d of %d on %s, %d thread%s", workers.rank, workers.world, device, threads, "s" if threads > 1 else "")
    place = Place(run, attempt, Path(config["base"]), workers, device)
    try:
        Session(job, place, carrier_of(job), functools.partial(distributed, workers=workers, device=device)).train()
    except RefusedError as error:
        log.warning("%s", error)
    except (CancelledRunError, TrainingError) as error:
        log.warning("%s", error)
        if workers.first:
            _tell_ending(run, attempt, error)
    except OSError as error:
        log.exception("storage failed")
        # On a disk that is full new workers would come to the same end; anything else may pass.
        raise storage_failed(error, run.path) if error.errno in NO_ROOM else error from error
    except Exception:
        log.exception("ended by an error")
        raise


def _tell_ending(run: RunDir, attempt: int, error: IptError) -> None:
    try:
        with run.fence(attempt)():
            append_event(run, ENDINGS[type(error)], attempt, reason=str(error))
    except RefusedError as refused:
        log.warning("%s", refused)


def carrier_of(job: LearningJob) -> OpenStream:
    """How a worker's batches come: through Ray Data, or from processes of the worker itself."""
    data = job.data

    def through_ray(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        return ray_stream(maker, start, stop, cpus=data.cpus, prefetch=data.prefetch)

    def from_processes(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        return local_stream(maker, start, stop, processes=max(1, int(data.cpus)), prefetch=data.prefetch)

    return {"ray": through_ray, "local": from_processes}[data.carrier]


def distributed(model: nn.Module, workers: Workers, device: torch.device) -> nn.Module:
    """What is called in training: with several workers, the model with gradients averaged over them and buffers left alone."""
    if workers.world == 1:
        return model
    devices = [device] if device.type == "cuda" else None
    without: dict[str, Any] = {_BUFFERS: False}
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, **without)


# The name that torch 2.13 gave to what it called broadcast_buffers before: whether buffers are sent round at every step.
_RENAMED = "forward_sync_buffers"
_BUFFERS = _RENAMED if _RENAMED in inspect.signature(nn.parallel.DistributedDataParallel).parameters else "broadcast_buffers"


def _log_to(path: Path) -> None:
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
