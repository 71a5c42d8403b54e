"""From a job to the parts of its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ipt_platform.data.ahead import Ahead, processes_of
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw, largest_room
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.dataset import find_shards
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.job import FinetuneJob, LearningJob, TrainJob
from ipt_platform.spec.parts import DataSpec, OptimizerSpec
from ipt_platform.train.frozen import open_frozen
from ipt_platform.train.layout import bias_layout
from ipt_platform.train.state import TrainState, bias_state, new_state
from ipt_platform.train.step import StepSettings


def schedule_of(job: LearningJob) -> Schedule:
    """The stages of a job."""
    return Schedule(tuple(Stage(stage.steps, stage.patch, stage.images) for stage in job.train.stages))


def ahead_of(job: LearningJob) -> Ahead:
    """How far the stream of one worker runs ahead of it."""
    weights = {name: use.weight for name, use in job.tasks.items()}
    room = largest_room(schedule_of(job), weights, job.cluster.workers)
    return Ahead.of(room, processes_of(job.data.cpus), job.data.prefetch)


def draws_of(job: LearningJob, base: Path, registered: Path | None = None) -> list[TaskDraw | PairedDraw]:
    """What each task of a job takes from each picture, or from pairs of its own; relative paths are relative to `base`."""
    cache = job.data.s3_cache_mb * 1_000_000
    return [draw_of(name, use.weight, use.params, base, cache, registered) for name, use in job.tasks.items()]


def batch_maker(job: LearningJob, base: Path, rank: int, world: int, registered: Path | None = None) -> BatchMaker:
    """What makes the batches of one worker.

    Args:
        job: the job.
        base: what relative paths in it are relative to.
        rank: of the worker.
        world: number of workers.
        registered: folder of the registered tasks that the job was given with, if there may be some.

    Raises:
        SpecError: shards of pairs are missing, or hold none.
        DataError: there are no shards, or an index is missing or does not match its shard.
    """
    draws = draws_of(job, base, registered)
    # without photographs every task reads pairs, and the maker reads no pictures of its own
    shards = _photographs(job.data, base) or _pairs_of(draws)
    return BatchMaker(
        shards=shards,
        plan=Plan(job.seed, shards.images),
        schedule=schedule_of(job),
        draws=draws,
        seed=job.seed,
        rank=rank,
        world=world,
    )


def _photographs(data: DataSpec, base: Path) -> ShardSet | None:
    return ShardSet.open(find_shards(data.shards, base), data.s3_cache_mb * 1_000_000) if data.shards else None


def _pairs_of(draws: Sequence[TaskDraw | PairedDraw]) -> ShardSet:
    """The pairs of the first task that has some."""
    return next(draw.shards for draw in draws if isinstance(draw, PairedDraw))


def model_of(job: TrainJob) -> BiasedModel:
    """The freshly initialised model of a job, the same in every process: drawn from the job's seed."""
    torch.manual_seed(job.seed)
    backbone = build_backbone(job.model.backbone, job.train.activation_checkpointing)
    if job.train.mode == "mixed":
        return BiasedModel(backbone, {})
    layout = bias_layout(backbone, job.model.bias)
    return BiasedModel(backbone, {task: TaskBias(backbone, layout) for task in job.tasks})


@dataclass(frozen=True)
class Beginning:
    """What a job trains, at step 0.

    Attributes:
        state: model, optimizer and average.
        backbone: name of the kind of backbone.
        frozen: the backbone's fingerprint, where it is not trained.
    """

    state: TrainState
    backbone: str
    frozen: str | None = None


def beginning_of(job: LearningJob, run: RunDir, device: torch.device) -> Beginning:
    """What a job trains; that of a finetune lies in its run.

    Raises:
        NotFoundError, PackError: the run of a finetune does not hold its backbone.
    """
    if isinstance(job, TrainJob):
        return Beginning(state_of(job, model_of(job), device), job.model.backbone)
    model, info = open_frozen(job, run)
    optimizer = job.train.optimizer
    state = bias_state(
        model.to(device),
        bias_lr=optimizer.bias_lr,
        bias_weight_decay=optimizer.bias_weight_decay,
        betas=optimizer.betas,
        average=job.train.ema is not None,
    )
    return Beginning(state, info.name, info.fingerprint)


def state_of(job: TrainJob, model: BiasedModel, device: torch.device) -> TrainState:
    """The state at step 0 of a job that trains this model."""
    optimizer = job.train.optimizer
    return new_state(
        model.to(device),
        lr=optimizer.lr,
        bias_lr=optimizer.bias_lr,
        weight_decay=optimizer.weight_decay,
        bias_weight_decay=optimizer.bias_weight_decay,
        betas=optimizer.betas,
        average=job.train.ema is not None,
    )


def step_settings(job: LearningJob) -> StepSettings:
    """How the steps of a job are done."""
    train = job.train
    return StepSettings(
        loss=train.loss,
        precision=train.precision,
        accumulate=train.accumulate,
        grad_clip=train.optimizer.grad_clip if isinstance(train.optimizer, OptimizerSpec) else None,
        bias_grad_clip=train.optimizer.bias_grad_clip,
        average_decay=train.ema,
        apart=isinstance(job, FinetuneJob),
    )
