"""What a session tells the exporter of metrics, by the names of `observe/catalogue.py`; the first worker speaks for all."""

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ipt_platform.checkpoint.manifest import NEVER_COMMITTED
from ipt_platform.data.plan import Stage
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.catalogue import RANKS
from ipt_platform.observe.teller import Voice
from ipt_platform.spec.job import LearningJob
from ipt_platform.train.evaluation import SetScores
from ipt_platform.train.flops import crop_flops, peak_flops
from ipt_platform.train.keeping import Written
from ipt_platform.train.loop import Interval
from ipt_platform.train.norms import bias_grad_norms, bias_norms, share_of_squares, weight_norms
from ipt_platform.train.place import Place
from ipt_platform.train.samples import SampleCount
from ipt_platform.train.sharding import is_sharded
from ipt_platform.train.state import TrainState

COSTLY_SECONDS = 10.0
"""Between two looks at what takes milliseconds to work out; Prometheus asks no more often by default."""

SMOOTHING = 0.3
"""How much the last time between two checkpoints weighs in their mean."""


class Share(NamedTuple):
    """What each worker says of the reported steps.

    Attributes:
        seconds: mean of a step until it began to wait for others.
        squares: of the weights that it has, by task (`share_of_squares`); {} where every worker has all of them.
    """

    seconds: float
    squares: dict[str, float]


class Telling:
    """Tells of one session.

    Args:
        job: what it trains.
        place: where it is.
        voice: tells in the name of the job; None: nobody is told.
        clock: seconds since 1970.
    """

    def __init__(self, job: LearningJob, place: Place, voice: Voice | None, clock: Callable[[], float] = time.time):
        self.job, self.place, self.clock = job, place, clock
        self.voice = voice or Voice(None, job.name)
        self.last_commit: float | None = None
        self.interval: float | None = None
        self._flops: tuple[Stage, int] | None = None
        self._sharded = False
        self._looked = float("-inf")

    def begin(self, backbone: str, model: BiasedModel, total: int) -> None:
        """Tell what is trained, and of how many steps; every worker calls it."""
        self._sharded = is_sharded(model)
        if self.place.workers.first:
            self.voice.set("ipt_train_info", 1, backbone=backbone, precision=self.job.train.precision)
            self.voice.set("ipt_train_steps_planned", total)
            self.voice.set("ipt_train_attempt", self.place.attempt)

    def share(self, interval: Interval, state: TrainState) -> Share:
        """What this worker knows that the first one needs."""
        squares = share_of_squares(state.model) if self._sharded else {}
        return Share(interval.alone / interval.steps, squares)

    def steps(
        self,
        interval: Interval,
        state: TrainState,
        stage: Stage,
        line: Mapping[str, Any],
        shares: Sequence[Share],
    ) -> None:
        """Tell of the steps since the last report.

        Args:
            interval: them.
            state: after them.
            stage: of the last one.
            line: of metrics.jsonl.
            shares: of all workers.
        """
        voice = self.voice
        with voice.at_once:
            voice.observe("ipt_train_step_seconds", interval.each)
            voice.add("ipt_train_steps_total", interval.steps)
            voice.add("ipt_train_images_total", interval.images)
            voice.add("ipt_train_seconds_total", interval.seconds)
            voice.add("ipt_train_data_wait_seconds_total", interval.waited)
            voice.set("ipt_train_step", state.step)
            voice.set("ipt_train_last_step_timestamp_seconds", self.clock())
            for task, loss in line["loss"].items():
                voice.set("ipt_train_loss", loss, task=task)
            for group, rate in (("backbone", line["lr"]), ("bias", line["bias_lr"])):
                if rate is not None:
                    voice.set("ipt_train_learning_rate", rate, group=group)
            voice.set("ipt_train_grad_norm", interval.result.grad_norm)
            for rank, share in enumerate(shares[:RANKS]):
                voice.set("ipt_train_rank_step_seconds", share.seconds, rank=str(rank))
            now = time.monotonic()
            if voice.heard and not voice.part and now - self._looked >= COSTLY_SECONDS:
                self._looked = now
                self._costly(interval, state, stage, shares)

    def samples(self, new: SampleCount) -> None:
        """Tell of samples that came to all workers."""
        if self.place.workers.first:
            self.voice.add("ipt_data_samples_total", new.seen)
            for kind, count in new.bad.items():
                self.voice.add("ipt_data_bad_samples_total", count, reason=kind)

    def scores(self, scores: SetScores) -> None:
        """Tell of an evaluation; a set that was restored without any error has no number of dB."""
        for testset, tasks in scores.items():
            for task, numbers in tasks.items():
                labels = {"task": task, "set": testset}
                if numbers["psnr"] is not None:
                    self.voice.set("ipt_eval_psnr_db", numbers["psnr"], **labels)
                    self.voice.raise_to("ipt_eval_best_psnr_db", numbers["psnr"], **labels)
                if numbers.get("ssim") is not None:
                    self.voice.set("ipt_eval_ssim", numbers["ssim"], **labels)

    def written(self, written: Written | None) -> None:
        """Tell of a checkpoint that this worker has written."""
        if written:
            self.voice.observe("ipt_checkpoint_seconds", [written.gather], phase="gather")
            self.voice.observe("ipt_checkpoint_seconds", [written.write], phase="write")
            self.voice.set("ipt_checkpoint_bytes", written.size)

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Tell of what an event says of checkpoints."""
        if event in ("started", "resumed"):  # nothing is done yet that a checkpoint would have to hold
            self.voice.set("ipt_checkpoint_last_success_timestamp_seconds", self.clock())
        if event == "checkpoint":
            now, before = self.clock(), self.last_commit
            self.last_commit = now
            self.voice.set("ipt_checkpoint_last_success_timestamp_seconds", now)
            if "seconds" in fields:
                self.voice.observe("ipt_checkpoint_seconds", [fields["seconds"]], phase="upload")
            if before is not None:
                weight = SMOOTHING if self.interval is not None else 1.0
                self.interval = (1 - weight) * (self.interval or 0.0) + weight * (now - before)
                self.voice.set("ipt_checkpoint_interval_seconds", self.interval)
        elif event == "checkpoint-damaged":
            reason = "uncommitted" if NEVER_COMMITTED in fields["reason"] else "damaged"
            self.voice.add("ipt_checkpoint_rejected_total", 1, reason=reason)

    def not_finite(self) -> None:
        """Tell that a step could not be done."""
        if self.place.workers.first:
            self.voice.add("ipt_train_nonfinite_total", 1)

    def _costly(self, interval: Interval, state: TrainState, stage: Stage, shares: Sequence[Share]) -> None:
        """What takes milliseconds to work out."""
        voice, device = self.voice, self.place.device
        for task, norm in bias_grad_norms(state, interval.result.norms).items():
            voice.set("ipt_train_bias_grad_norm", norm, task=task)
        squares = [share.squares for share in shares] if self._sharded else [share_of_squares(state.model)]
        weights = weight_norms(state.model, squares)
        for task, norm in bias_norms(state.model).items():
            if weights.get(task):
                voice.set("ipt_train_bias_weight_ratio", norm / weights[task], task=task)
        voice.set("ipt_train_memory_bytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, kind="host")
        if device.type == "cuda":
            voice.set("ipt_train_memory_bytes", torch.cuda.max_memory_allocated(device), kind="cuda")
        flops = self._flops_of(state, stage)
        voice.set("ipt_train_flops_per_step", flops)
        if peak := peak_flops(device, self.job.train.precision):
            world = self.place.workers.world
            voice.set("ipt_train_mfu_ratio", flops * interval.steps / interval.seconds / (peak * world))

    def _flops_of(self, state: TrainState, stage: Stage) -> int:
        """Operations of a step of a stage; a step computes each task's crops with the weights of that task."""
        if self._flops is None or self._flops[0] != stage:
            backbone = state.model.backbone
            assert isinstance(backbone, IPTV2)
            learn = {name for name, weight in backbone.named_parameters() if weight.requires_grad}
            biased = {task: set(bias.layout) for task, bias in state.model.all_biases()}
            total = sum(
                use.weight * stage.images * crop_flops(backbone, learn | biased.get(task, set()), stage.patch)
                for task, use in self.job.tasks.items()
            )
            self._flops = (stage, total)
        return self._flops[1]
