"""From a job to the parts of its training."""

from dataclasses import dataclass
from functools import partial

import torch

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import FinetuneJob, LearningJob, TrainJob
from ipt_platform.spec.parts import OptimizerSpec
from ipt_platform.train.frozen import open_frozen
from ipt_platform.train.layout import bias_layout, replaced_weights
from ipt_platform.train.sharding import shard
from ipt_platform.train.state import TrainState, bias_state, new_state
from ipt_platform.train.step import StepSettings


def model_of(job: TrainJob) -> BiasedModel:
    """The freshly initialised model of a job, the same in every process: drawn from the job's seed."""
    torch.manual_seed(job.seed)
    backbone = build_backbone(job.model.backbone, job.train.activation_checkpointing)
    if job.train.mode == "mixed":
        return BiasedModel(backbone, {})
    layout = bias_layout(backbone, job.model.bias)
    for name in replaced_weights(backbone, job.model.bias):
        backbone.get_parameter(name).requires_grad_(False)
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
        NotFoundError, PackError: the run does not hold the backbone that it begins with.
    """
    if isinstance(job, TrainJob):
        return Beginning(state_of(job, _with_start(job, model_of(job), run), device), job.model.backbone)
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


def _with_start(job: TrainJob, model: BiasedModel, run: RunDir) -> BiasedModel:
    """The model with the weights that its job begins with."""
    if job.start:
        backbone, _ = load_backbone(run.beginning)
        model.backbone.load_state_dict(backbone.state_dict())
    return model


def state_of(job: TrainJob, model: BiasedModel, device: torch.device) -> TrainState:
    """The state at step 0 of a job that trains this model."""
    optimizer = job.train.optimizer
    sharded = job.train.sharding == "fsdp"
    return new_state(
        model if sharded else model.to(device),
        lr=optimizer.lr,
        bias_lr=optimizer.bias_lr,
        weight_decay=optimizer.weight_decay,
        bias_weight_decay=optimizer.bias_weight_decay,
        betas=optimizer.betas,
        average=job.train.ema is not None,
        shard=partial(shard, device=device) if sharded else None,
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
