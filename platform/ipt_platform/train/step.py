"""One optimizer step on one batch: forward per task, loss, gradients, clipping, update, average."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ipt_platform.data.batch import Batch
from ipt_platform.errors import NotFiniteError
from ipt_platform.train.group import ALONE, Workers
from ipt_platform.train.sharding import ShardedModel, is_share
from ipt_platform.train.state import TrainState, update_average
from ipt_platform.train.watch import watch_of


@dataclass(frozen=True)
class StepSettings:
    """How a step is done; see the job file's `train` section for each word."""

    loss: str = "charbonnier"
    precision: str = "fp32"
    accumulate: int = 1
    grad_clip: float | None = 1.0
    bias_grad_clip: float | None = 1.0
    average_decay: float | None = 0.999
    apart: bool = False
    """Whether tasks share nothing that learns; then each is trained as if it were alone."""


@dataclass(frozen=True)
class StepResult:
    """What a step measured.

    Attributes:
        loss: by task, means over this worker's crops.
        grad_norm: of the backbone's gradient before clipping.
        bias_grad_norm: of that of all biases.
        norms: those of each group of the optimizer.
        alone: seconds until this worker's last backward pass, in which workers wait for each other; on a GPU by its own clock.
    """

    loss: dict[str, float]
    grad_norm: float
    bias_grad_norm: float
    norms: Mapping[str, float] = field(default_factory=dict)
    alone: float = field(default=0.0, compare=False)


def charbonnier(error: Tensor) -> Tensor:
    """`sqrt(x^2 + 1e-6)` per value: |x| that is smooth at zero. Source: Lai et al., LapSRN (2017), eq. 3, eps = 1e-3."""
    return torch.sqrt(error.square() + 1e-6)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {"charbonnier": charbonnier, "l1": torch.abs}


class Stepper:
    """Takes steps on a state.

    Args:
        state: what is trained.
        settings: how.
        forward: the model as it is to be called: `state.model` itself, or that wrapped for DDP, sharded or compiled.
        device: where the state lies.
        workers: who takes this step together; needed only to name what went wrong in another worker.
    """

    def __init__(
        self,
        state: TrainState,
        settings: StepSettings,
        forward: nn.Module,
        device: torch.device,
        workers: Workers = ALONE,
    ):
        self.state, self.settings, self.forward, self.device, self.workers = state, settings, forward, device, workers
        self.watch = watch_of(device)

    def __call__(self, batch: Batch) -> StepResult:
        """Take one step.

        Raises:
            NotFiniteError: the loss or a gradient is not finite; weights, optimizer and average are as before.
        """
        state, settings = self.state, self.settings
        self.watch.start()
        state.optimizer.zero_grad(set_to_none=True)
        parts = split(batch_tensors(batch, self.device), settings.accumulate)
        shares = self._shares(batch)
        if self._one_by_one():
            # What is kept for one task's gradients is gone before the next task begins.
            parts = [{task: pair} for part in parts for task, pair in part.items()]
        losses = [self._backward(part, shares, last=part is parts[-1]) for part in parts]
        if isinstance(self.forward, ShardedModel):
            self.forward.average_biases()
        loss = {task: sum(float(each[task]) for each in losses if task in each) / settings.accumulate for task in batch.tasks}
        norms = {group["name"]: self._clip(group) for group in state.optimizer.param_groups}
        self._check_finite(loss, norms, batch)
        state.optimizer.step()
        if state.average is not None and settings.average_decay is not None:
            update_average(state.average, state.model, state.step, settings.average_decay)
        biases = math.hypot(*(norm for name, norm in norms.items() if name != "weights"))
        return StepResult(loss, norms.get("weights", 0.0), biases, norms, self.watch.seconds())

    def _shares(self, batch: Batch) -> dict[str, float]:
        """How much each task weighs: as much as it has crops, so that the loss is the mean over all of them; where tasks are
        apart, each has a loss of its own.
        """
        crops = {task: len(clean) for task, (_, clean) in batch.tasks.items()}
        return {task: 1.0 if self.settings.apart else count / sum(crops.values()) for task, count in crops.items()}

    def _one_by_one(self) -> bool:
        """Whether one task's gradients can be had before the next task begins; DDP averages once, and compilers want it all."""
        if isinstance(self.forward, ShardedModel):
            return bool(self.state.model.biases)
        return self.settings.apart and self.forward is self.state.model

    def _backward(
        self, part: Mapping[str, tuple[Tensor, Tensor]], shares: Mapping[str, float], last: bool
    ) -> dict[str, Tensor]:
        """Gradients of one part."""
        settings = self.settings
        error_of = LOSSES[settings.loss]
        with self._synchronized(last):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                restored = self.forward({task: degraded for task, (degraded, _) in part.items()})
            losses = {task: error_of(restored[task].float() - clean).mean() for task, (_, clean) in part.items()}
            total = torch.stack([loss * shares[task] for task, loss in losses.items()]).sum()
            # A loss may overflow while its gradients are finite. They are spoilt, so that all workers see it in the average.
            scale = torch.where(torch.isfinite(total), 1 / settings.accumulate, math.nan)
            if last:
                self.watch.stop()
            (total * scale).backward()
        return {task: loss.detach() for task, loss in losses.items()}

    def _synchronized(self, last: bool) -> AbstractContextManager:
        """Workers exchange gradients once per step, with its last part."""
        if isinstance(self.forward, nn.parallel.DistributedDataParallel) and not last:
            return self.forward.no_sync()
        return nullcontext()

    def _clip(self, group: dict) -> float:
        clip = self.settings.grad_clip if group["name"] == "weights" else self.settings.bias_grad_clip
        norm = nn.utils.get_total_norm([each.grad for each in group["params"] if each.grad is not None], foreach=True)
        if is_share(norm):
            norm = norm.full_tensor()  # of the gradient of which each worker has a share
        nn.utils.clip_grads_with_norm_(group["params"], clip or float("inf"), norm, foreach=True)
        return float(norm)

    def _check_finite(self, loss: Mapping[str, float], norms: Mapping[str, float], batch: Batch) -> None:
        # Gradients are averaged over workers before this, so all of them come to the same verdict without a message,
        # and can then tell each other whose pictures it were.
        if all(math.isfinite(value) for value in (*loss.values(), *norms.values())):
            return
        step, tasks = self.state.step, [task for task, value in loss.items() if not math.isfinite(value)]
        keys = ", ".join(batch.keys)
        found = self.workers.gather((f"the loss of {', '.join(tasks)} is not finite on {keys}" if tasks else "", keys))
        if losses := "; ".join(text for text, _ in found if text):
            raise NotFiniteError(
                f"step {step}: {losses}. Nothing was updated. Look at these pictures, or lower the learning rates."
            )
        raise NotFiniteError(
            f"step {step}: a gradient is not finite (norms {dict(norms)}), though the losses are. Nothing was updated. The "
            f"batch holds {', '.join(keys for _, keys in found)}; lower the learning rates or use precision fp32."
        )


def batch_tensors(batch: Batch, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """`{task: (degraded, clean)}`, each `[n, 3, P, P] float32`, in channels-last memory as the backbones want it."""
    pinned = device.type == "cuda"

    def move(array) -> Tensor:
        tensor = torch.tensor(array)
        tensor = tensor.pin_memory().to(device, non_blocking=True) if pinned else tensor
        return tensor.permute(0, 3, 1, 2)

    return {task: (move(degraded), move(clean).float().div_(255)) for task, (degraded, clean) in batch.tasks.items()}


def split(tensors: Mapping[str, tuple[Tensor, Tensor]], parts: int) -> list[dict[str, tuple[Tensor, Tensor]]]:
    """Cut every task's crops into `parts` equal parts."""
    chunks = {task: [pair.chunk(parts) for pair in pairs] for task, pairs in tensors.items()}
    return [{task: (degraded[i], clean[i]) for task, (degraded, clean) in chunks.items()} for i in range(parts)]
