"""What Ray Train runs in each worker: find out who we are, open the carrier, and hand over to the session."""

import contextlib
import functools
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train.v2._internal.execution.context import get_train_context
from torch import nn

from ipt_platform.data.batch import Batch
from ipt_platform.data.begun import begun
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.heap import keep_freed_memory
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.data.stream import ray_stream
from ipt_platform.errors import (
    NO_ROOM,
    CancelledRunError,
    IptError,
    PreemptedError,
    RefusedError,
    TrainingError,
    storage_failed,
)
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.heartbeat import Heartbeat, beat_seconds
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.stacks import stacks_when_silent
from ipt_platform.observe.storage import run_at
from ipt_platform.observe.summary import publish
from ipt_platform.observe.teller import Voice
from ipt_platform.spec.job import JOB, LearningJob
from ipt_platform.train.compiled import compiled_folder, compiled_name, kept_compiled
from ipt_platform.train.early import Early
from ipt_platform.train.exporting import new_teller
from ipt_platform.train.failures import MakingRoomError
from ipt_platform.train.group import Workers
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session
from ipt_platform.train.surroundings import Surroundings, nothing

log = logging.getLogger(__name__)

STACKS_AFTER = 0.8
"""Of the time after which training stands still: then a worker writes where it is, before it is replaced."""


def train_worker(config: dict[str, Any], early: Early | None = None) -> None:
    """Run this worker's session.

    What all workers conclude together (the job went wrong, or was stopped) is written as the attempt's last event and is no
    failure to Ray: a restart would come to the same end. Everything else is raised, and `Supervisor` says what follows from it.

    Args:
        config: `job` (plain values), `run` (folder), `storage` (where that lies on S3, if it does), `base` (what relative paths
            of the job are relative to), `leader` (who leads the attempt, plain values), `told_as` (in whose name the exporter
            is told: the job, and whether the run is a part of it).
        early: a stream of this worker that has begun.
    """
    job = JOB.validate_python(config["job"])
    assert isinstance(job, LearningJob)
    context = ray.train.get_context()
    workers = Workers(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device()
    assert isinstance(device, torch.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # Ray does so only for workers that it connects
    run = run_at(Path(config["run"]), config["storage"])
    if mirror := run.mirror:
        mirror.patience = job.checkpoint.patience
    attempt = workers.from_first(run.new_attempt(config["leader"]) if workers.first else None)
    path = run.logs(attempt, workers.rank)
    _log_to(path)
    with courier(mirror, (path,), functools.partial(publish, run) if workers.first else _nothing, workers.first):
        voice = Voice(new_teller(), *config["told_as"])
        try:
            _train(job, Place(run, attempt, Path(config["base"]), workers, device), carrier_of(job, early), voice)
        finally:
            voice.close()


def _nothing() -> None:
    """What the other workers say of the run's state: the first one speaks for all."""


def _train(job: LearningJob, place: Place, open_stream: OpenStream, voice: Voice) -> None:
    workers, device, run, attempt = place.workers, place.device, place.run, place.attempt
    keep_freed_memory()
    # Ray has set the number already, from what it promised to this worker or from the environment of whoever submits.
    threads = max(1, int(job.cluster.cpus_per_worker))
    torch.set_num_threads(threads)
    log.info("worker %d of %d on %s, %d thread%s", workers.rank, workers.world, device, threads, "s" if threads > 1 else "")
    if job.train.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        log.warning("this GPU only imitates bf16, which takes longer than fp32; set train.precision: fp32")
    wrap = functools.partial(distributed, workers=workers, device=device)
    try:
        with _signs_of_life(job, place, voice) as alive, _compiled(job, place) as keep:

            def stepped() -> None:
                alive()
                keep()

            Session(job, place, open_stream, wrap, surroundings=Surroundings(stepped, _notice, voice)).train()
    except RefusedError as error:
        log.warning("%s", error)
    except PreemptedError as error:
        log.warning("%s", error)
        raise MakingRoomError(str(error)) from None
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
            append_ending(run, attempt, error)
    except RefusedError as refused:
        log.warning("%s", refused)


def _compiled(job: LearningJob, place: Place) -> contextlib.AbstractContextManager[Callable[[], None]]:
    """Where a job is compiled, what the attempts before it compiled on this machine."""
    if not job.train.compile:
        return contextlib.nullcontext(nothing)

    def told(reason: str) -> None:
        log.warning("%s", reason)
        if place.workers.first:
            with contextlib.suppress(RefusedError), place.run.fence(place.attempt)():
                append_event(place.run, "warning", place.attempt, reason=reason)

    name = compiled_name(job, place.workers.world, place.device)
    one_of_machine = ray.train.get_context().get_local_rank() == 0
    return kept_compiled(compiled_folder(os.environ), name, told, one_of_machine)


@contextlib.contextmanager
def _signs_of_life(job: LearningJob, place: Place, voice: Voice) -> Iterator[Callable[[], None]]:
    """What a worker calls when it gets on: the first one's heart beats and is told of, and none writes where it stands."""
    limit = job.cluster.hang_seconds
    every = beat_seconds(limit)
    heart = Heartbeat(place.run, place.attempt, every) if place.workers.first else None
    own_log = place.run.logs(place.attempt, place.workers.rank)
    with stacks_when_silent(own_log, STACKS_AFTER * limit, every) as stands:

        def alive() -> None:
            stands()
            if heart and heart():
                voice.set("ipt_train_progress_timestamp_seconds", time.time())

        alive()
        yield alive


def _notice() -> str | None:
    """What Ray has told this worker of machines that will be taken away.

    `ray.train.get_preemption_info` would wait for all workers, and in an evaluation each looks for itself.
    """
    info = get_train_context().preemption_context.preemption_info
    if info is None:
        return None
    nodes = ", ".join(node[:8] for node in info.preempted_node_ids)
    ranks = ", ".join(map(str, info.preempted_ranks))
    until = info.deadline_ms and f", at {datetime.fromtimestamp(info.deadline_ms / 1000, UTC):%H:%M:%S} UTC"
    return f"Ray node {nodes} (worker {ranks}) is about to be taken away{until or ''}"


def carrier_of(job: LearningJob, early: Early | None = None) -> OpenStream:
    """How a worker's batches come: through Ray Data (`early`: as has begun already), or from processes of the worker itself."""
    data = job.data

    def through_ray(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        if early and (early.start, early.stop) == (start, stop):
            return early.batches
        # Ray Data's processes take seconds to start, in which this one builds its model.
        return begun(ray_stream(maker, start, stop, cpus=data.cpus, prefetch=data.prefetch))

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
