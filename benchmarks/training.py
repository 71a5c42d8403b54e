"""Jobs of the quickstart's kind, and models that are trained one step at a time, each step timed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from benchmarks.measure import ROOT
from ipt_platform.data.batch import Batch
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.spec.parts import ScheduleSpec
from ipt_platform.train.layout import bias_layout
from ipt_platform.train.schedule import learning_rate_factor
from ipt_platform.train.setup import model_of, state_of, step_settings
from ipt_platform.train.state import TrainState, bias_state
from ipt_platform.train.step import Stepper, StepSettings

QUICKSTART = ROOT / "jobs" / "quickstart.yaml"
SHARDS = "datasets/sample/train-*.tar"


def settings_of(values: Mapping[str, Any]) -> list[str]:
    """Values by dotted path, as `--set` takes them; JSON is YAML, so each goes through as itself."""
    return [f"{path}={json.dumps(value)}" for path, value in values.items()]


def quickstart_job(values: Mapping[str, Any]) -> TrainJob:
    """The quickstart's job with some values, by dotted path, replaced.

    Raises:
        SpecError: the job is wrong, or its shards are missing.
    """
    job = load_job(QUICKSTART, settings_of(values)).job
    assert isinstance(job, TrainJob)
    return job


@dataclass
class Trainer:
    """A model in training, with the platform's own step: forward, loss, gradients, clipping, update, average.

    Attributes:
        state: what is trained.
        settings: how a step is done.
        schedule: learning rates over time.
        total: steps of the whole training.
        device: where the state lies.
        seconds: how long each step took.
    """

    state: TrainState
    settings: StepSettings
    schedule: ScheduleSpec
    total: int
    device: torch.device
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._take_step = Stepper(self.state, self.settings, self.state.model, self.device)

    @classmethod
    def of_job(cls, job: TrainJob, device: torch.device) -> "Trainer":
        """The trainer of a job's freshly initialised model."""
        return cls.of_model(job, model_of(job), device)

    @classmethod
    def of_model(cls, job: TrainJob, model: BiasedModel, device: torch.device) -> "Trainer":
        """The trainer of a model, backbone and biases, as a job would train its own."""
        return cls(state_of(job, model, device), step_settings(job), job.train.schedule, _steps(job), device)

    @classmethod
    def of_biases(cls, job: TrainJob, backbone: nn.Module, device: torch.device) -> "Trainer":
        """The trainer of fresh biases of a job's tasks on a backbone without gradients, as `kind: finetune` trains them."""
        layout, optimizer = bias_layout(backbone, job.model.bias), job.train.optimizer
        state = bias_state(
            BiasedModel(backbone, {task: TaskBias(backbone, layout) for task in job.tasks}).to(device),
            bias_lr=optimizer.bias_lr,
            bias_weight_decay=optimizer.bias_weight_decay,
            betas=optimizer.betas,
            average=job.train.ema is not None,
        )
        return cls(state, replace(step_settings(job), apart=True), job.train.schedule, _steps(job), device)

    def step(self, batch: Batch) -> None:
        """Take the next step, on this batch.

        Raises:
            TrainingError: the loss or a gradient is not finite.
        """
        schedule = self.schedule
        factor = learning_rate_factor(self.state.step, self.total, schedule.warmup, schedule.final_lr_ratio)
        for group in self.state.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self._wait_for_device()
        began = time.perf_counter()
        self._take_step(batch)
        self._wait_for_device()
        self.seconds.append(time.perf_counter() - began)
        self.state.step += 1

    def _wait_for_device(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _steps(job: TrainJob) -> int:
    return sum(stage.steps for stage in job.train.stages)


def in_turn(trainers: Sequence[Trainer], number: int) -> Sequence[Trainer]:
    """The trainers of a round in the order in which they go: every other round backwards, so that no one is always first."""
    return trainers if number % 2 == 0 else trainers[::-1]
