"""One worker's part of an attempt: state, stream, steps, evaluations, checkpoints, reports. Plain torch.

Ray (`worker.py`), a test or a benchmark says which worker this is and where its batches come from; nothing here knows of Ray.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from ipt_platform.checkpoint.state import state_files
from ipt_platform.data.batch import Batch
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import CancelledRunError, IptError, NotFiniteError, PreemptedError, RefusedError, TrainingError
from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.evaluate.testset import frozen_task, open_testsets
from ipt_platform.model.counts import count_parameters
from ipt_platform.observe.checkpoints import step_of
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.spec.job import FinetuneJob, LearningJob
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.evaluation import SetScores, evaluate_together, mean_psnr, sample_writer
from ipt_platform.train.keeping import Keeping
from ipt_platform.train.loop import Interval, run_steps
from ipt_platform.train.packs import keep_packs, packs_of
from ipt_platform.train.place import Place
from ipt_platform.train.samples import SampleCount
from ipt_platform.train.schedule import learning_rate_factor
from ipt_platform.train.setup import beginning_of, step_settings
from ipt_platform.train.shape import schedule_of
from ipt_platform.train.sharding import ShardedModel, is_sharded
from ipt_platform.train.step import Stepper
from ipt_platform.train.surroundings import ON_ITS_OWN, Surroundings
from ipt_platform.train.telling import Telling
from ipt_platform.train.whole import whole_model

log = logging.getLogger(__name__)

OpenStream = Callable[[BatchMaker, int, int], Iterator[Batch]]
"""Batches of a maker from one step up to another."""


class Session:
    """Trains a job from its newest usable checkpoint, or from the start, to its end.

    Args:
        job: the resolved job.
        place: where this is.
        open_stream: the carrier.
        wrap: makes what is called in training from the plain model (DDP).
        clock: seconds, for durations.
        surroundings: who watches over it.

    Raises:
        CheckpointError: a usable checkpoint was made by another model.
        NotFoundError, PackError: the run of a finetune does not hold its backbone.
        DataError: shards or test sets cannot be used.
    """

    def __init__(
        self,
        job: LearningJob,
        place: Place,
        open_stream: OpenStream,
        wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
        clock: Callable[[], float] = time.perf_counter,
        surroundings: Surroundings = ON_ITS_OWN,
    ):
        self.job, self.place, self.clock = job, place, clock
        self.surroundings = surroundings
        self.schedule = schedule_of(job)
        self.total = self.schedule.total_steps
        self.maker = batch_maker(job, place.base, place.workers.rank, place.workers.world, place.run.tasks)
        self.samples = SampleCount()
        self.new_samples = SampleCount()
        self.refused = self.last_bad = ""
        self.leaving: IptError | None = None
        self.evaluation_due = False
        self.asked_for = ""  # a checkpoint: the request that was heard last
        self.checkpoint_due = False
        self.telling = Telling(job, place, surroundings.voice)
        # What is written in between stays on this machine, or says itself whose it is.
        self.fence = place.run.fence(place.attempt, fresh=False)
        self.keeping = Keeping(place, job.checkpoint, self.fence, self._event, surroundings.alive)
        self.stage = -1
        self.began = clock()
        found = self.keeping.find()
        # Before the model is built: a carrier may begin to work meanwhile.
        self.stream = open_stream(self.maker, step_of(found), self.total)
        self.tasks = [frozen_task(task, base=place.base, registered=place.run.tasks) for task in job.tasks]
        self.testsets = open_testsets(job.evaluate.sets, place.base, self.tasks)
        self.beginning = beginning_of(job, place.run, place.device)
        self.state = self.beginning.state
        self.telling.begin(self.beginning.backbone, self.state.model, self.total)
        self._resume(found)
        model = torch.compile(self.state.model) if job.train.compile else self.state.model
        assert isinstance(model, nn.Module)
        forward = ShardedModel(self.state.model) if is_sharded(self.state.model) else wrap(model)
        self.stepper = Stepper(self.state, step_settings(job), forward, place.device, place.workers)

    def train(self) -> dict[str, Any]:
        """Train to the end; what a run on S3 has committed is there then.

        Returns:
            The content of report.json.

        Raises:
            CancelledRunError: somebody asked to stop; a checkpoint was committed.
            PreemptedError: machines are about to be taken away; a checkpoint was committed.
            TrainingError: a loss was not finite, or more samples were bad than the job allows.
            RefusedError: a newer attempt owns the run.
            InfrastructureError: S3 failed for longer than the job allows; what was committed last is on this machine.
        """
        diverged = False
        try:
            return self._train()
        except TrainingError as error:
            if isinstance(error, NotFiniteError):
                self.telling.not_finite()
            diverged = True  # what was committed before shall be there, and the reason to give is this one
            raise
        finally:
            self.keeping.end(wait=diverged)

    def _train(self) -> dict[str, Any]:
        if self.evaluation_due and self.state.step < self.total:
            self.milestone()
        finished = run_steps(
            self.state,
            self.stepper,
            self.stream,
            self._set_rates,
            self,
            total=self.total,
            images_at=lambda step: self.schedule.locate(step).stage.images,
            log_every=self.job.train.log_every,
            clock=self.clock,
        )
        if not finished:
            assert self.leaving
            self._commit_and_leave(self.leaving)
        scores = self._evaluate()
        self._commit(last=True)
        report = self._report(scores)
        if self.place.workers.first:
            packs = self._packs(scores)
            with self.place.run.fence(self.place.attempt)():
                keep_packs(self.place.run, packs)
                write_report(self.place.run.report, report)
                self.place.run.keep_results()
                done = f"all {self.total} steps were done"
                append_event(self.place.run, "finished", self.place.attempt, step=self.total, reason=done)
        return report

    # Hooks of the loop

    def batch(self, batch: Batch) -> None:
        """Name bad samples, and count them for the next time that the workers talk."""
        self.surroundings.alive()
        self.new_samples += SampleCount.of(batch)
        for bad in batch.bad:
            self.last_bad = f"{bad.shard}: {bad.name}: {bad.reason.rstrip('.')}"
            log.warning("step %d: bad sample %s of %s (%s): %s", batch.step, bad.name, bad.shard, bad.kind, bad.reason)
            self._event("bad-sample", step=batch.step, key=bad.name, shard=bad.shard, kind=bad.kind, reason=bad.reason)

    def log(self, interval: Interval) -> None:
        """Append a line to metrics.jsonl and to the log; give up if too many samples were bad."""
        self._count_samples()
        located = self.schedule.locate(self.state.step - 1)
        told = self.place.workers.gather((interval.result.loss, self.telling.share(interval, self.state)))
        if not self.place.workers.first:
            return
        losses = [loss for loss, _ in told]
        rates = {group["name"]: group["lr"] for group in self.state.optimizer.param_groups}
        per_step = interval.seconds / interval.steps
        line = {
            "attempt": self.place.attempt,
            "step": self.state.step,
            "steps": self.total,
            "stage": located.number,
            "loss": {task: sum(loss[task] for loss in losses) / len(losses) for task in losses[0]},
            "lr": rates.pop("weights", None),
            "bias_lr": next(iter(rates.values()), None),
            "grad_norm": interval.result.grad_norm,
            "bias_grad_norm": interval.result.bias_grad_norm,
            "images_per_second": interval.images / interval.seconds,
            "data_wait_share": interval.waited / interval.seconds,
            "samples": self.samples.to_dict(),
            "seconds": self.clock() - self.began,
            "eta_seconds": (self.total - self.state.step) * per_step,
        }
        self._tell(lambda: append_metrics(self.place.run, line))
        self.telling.steps(interval, self.state, located.stage, line, [share for _, share in told])
        log.info("step %d/%d loss %s", self.state.step, self.total, line["loss"])

    def due(self) -> bool:
        """Whether the job says so, or a person asked for a checkpoint."""
        every = (self.job.evaluate.every, self.job.checkpoint.every)
        return self.checkpoint_due or any(self.state.step % period == 0 for period in every if period)

    def milestone(self) -> None:
        """Evaluate and commit where the job says so, and commit what is the best so far, or what somebody asked for."""
        best = self.keeping.best
        if self.job.evaluate.every and self.state.step % self.job.evaluate.every == 0:
            self._evaluate()
        if self.checkpoint_due or self.state.step % self.job.checkpoint.every == 0 or self.keeping.best is not best:
            self._commit()
            self.checkpoint_due = False

    def should_stop(self) -> bool:
        """Whether to make room, for a person or for machines that go, or because the run was taken over.

        The first worker looks, all hear; so they do of a person's wish for a checkpoint.
        """
        workers = self.place.workers
        self.refused = self.refused or self.keeping.refused()
        heard = (self._asked(), self._wants_checkpoint(), self.refused) if workers.first else None
        self.leaving, self.checkpoint_due, refused = workers.from_first(heard)
        if refused:
            raise RefusedError(refused)
        return self.leaving is not None

    # Between steps

    def _count_samples(self) -> None:
        """Add up what all workers counted since the last time; all of them give up together past the job's limit."""
        counts = self.place.workers.gather((self.new_samples, self.last_bad))
        new = sum((count for count, _ in counts), SampleCount())
        self.samples, self.new_samples = self.samples + new, SampleCount()
        self.telling.samples(new)
        limit = self.job.data.max_bad
        if new.bad and self.samples.exceeds(limit, self.maker.plan.images):
            raise TrainingError(
                f"step {self.state.step}: {self.samples}; that is more than "
                f"data.max_bad {limit:g} allows; for example {next(filter(None, (last for _, last in counts)))}. "
                "Run `ipt-platform data verify` on the shards."
            )

    def _asked(self) -> IptError | None:
        """Why this worker should leave, as far as it knows; a person's wish comes first."""
        if (reason := self.place.run.stop_requested(self.place.attempt)) is not None:
            return CancelledRunError(reason)
        notice = self.surroundings.notice()
        return PreemptedError(notice) if notice is not None else None

    def _wants_checkpoint(self) -> bool:
        """Whether somebody has asked for a checkpoint since this was asked last."""
        request = self.place.run.checkpoint_requested(self.place.attempt) or self.asked_for
        new, self.asked_for = request != self.asked_for, request
        return new

    def _commit_and_leave(self, why: IptError) -> NoReturn:
        """Commit a checkpoint, then raise."""
        self._commit(last=True)
        if isinstance(why, PreemptedError):
            self._event("preempted", step=self.state.step, reason=str(why))
        raise why

    def _set_rates(self, step: int) -> None:
        number = self.schedule.locate(step).number
        if number != self.stage:
            stage = self.schedule.locate(step).stage
            self._event("stage", step=step, stage=number, patch=stage.patch, images=stage.images)
            self.stage = number
        schedule = self.job.train.schedule
        factor = learning_rate_factor(step, self.total, schedule.warmup, schedule.final_lr_ratio)
        for group in self.state.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor

    def _evaluate(self) -> SetScores:
        """Measure the sets, and see whether this is the best so far.

        Raises:
            CancelledRunError, PreemptedError: it has to stop; a checkpoint was committed, and who goes on from it evaluates
                first.
        """
        if not self.testsets:
            return {}
        try:
            scores = evaluate_together(
                whole_model(self.state.best_model, self.beginning.backbone),
                self.testsets,
                self.tasks,
                self.job.evaluate.protocol,
                self.place.workers,
                self._measured,
                self.place.device,
            )
        except (CancelledRunError, PreemptedError) as error:
            self.evaluation_due = True
            self._commit_and_leave(error)
        self.evaluation_due = False
        mean = mean_psnr(scores)
        if mean is not None and mean > self.keeping.best.get("psnr", float("-inf")):
            self.keeping.best = {"step": self.state.step, "psnr": mean}
        if self.place.workers.first:
            line = {"attempt": self.place.attempt, "step": self.state.step, "evaluation": scores}
            self._tell(lambda: append_metrics(self.place.run, line))
            self._event("evaluated", step=self.state.step, psnr=mean)
            self.telling.scores(scores)
        return scores

    def _measured(self, *item: Any) -> None:
        """After each picture that this worker measures: keep it as a sample, and stop if somebody asked for it.

        Pictures can take long, so each worker looks for itself; what one of them raises, all hear.
        """
        self.surroundings.alive()
        sample_writer(self.place.run, self.state.step, self.job.train.samples)(*item)
        if leaving := self._asked():
            raise leaving

    def _commit(self, last: bool = False) -> None:
        """Commit a checkpoint (`Keeping.commit`)."""
        self._count_samples()
        state = self.state
        files = state_files(
            state.model,
            state.average,
            state.optimizer,
            step=state.step,
            backbone=self.beginning.backbone,
            frozen=self.beginning.frozen,
            progress={
                "seconds": state.seconds,
                "waited": state.waited,
                "images": state.images,
                "samples": self.samples.to_dict(),
                "best": self.keeping.best,
                "evaluation_due": self.evaluation_due,
            },
        )
        self.keeping.commit(state.step, files, last)
        self.telling.written(self.keeping.written)

    def _resume(self, checkpoint: Path | None) -> None:
        if checkpoint is None:
            self._event("started", step=0)
            return
        progress = self.keeping.load(checkpoint, self.beginning)
        self.samples = SampleCount.from_dict(progress["samples"])
        self.evaluation_due = progress.get("evaluation_due", False)
        self._event("resumed", step=self.state.step, checkpoint=checkpoint.name)

    def _report(self, scores: SetScores) -> dict[str, Any]:
        state = self.state
        return make_report(
            self.job.evaluate.protocol,
            scores,
            count_parameters(state.model.backbone),
            {task: count_parameters(bias) for task, bias in state.model.all_biases()},
            state.step,
            state.seconds,
            state.images / state.seconds,
            state.waited / state.seconds,
            self.samples.to_dict(),
        )

    def _packs(self, scores: SetScores) -> dict[str, dict[str, bytes]]:
        """The files of each task's pack, where the backbone is one that other biases fit as well."""
        if not isinstance(self.job, FinetuneJob):
            return {}
        place = self.place
        return packs_of(self.job, place.run, place.attempt, place.base, self.state, scores, self.testsets, self.tasks)

    def _event(self, event: str, **fields: Any) -> None:
        """The first worker tells; what only one worker sees (a bad sample) is told by that one."""
        if self.place.workers.first or event == "bad-sample":
            self._tell(lambda: append_event(self.place.run, event, self.place.attempt, **fields))
            self.telling.event(event, fields)

    def _tell(self, write: Callable[[], object]) -> None:
        """Write into the run's files if the run is still this attempt's; if not, all workers hear of it when they next talk."""
        if self.refused:
            return
        try:
            with self.fence():
                write()
        except RefusedError as error:
            self.refused = str(error)
