"""How many workers a job with `cluster.workers: {min, max}` gets: Ray's own policy for that, with three things added.

* Only numbers of workers that share the images of every step equally are used; Ray would take any that there is room for.
* Ray counts what workers ask for; the streams that feed them (`data.cpus`) need cores too, or they would wait for ever.
* Ray restarts all workers when there is room for more, and what was done since the last checkpoint would be done again. So
  room that comes is used right after the next checkpoint.

Shrinking needs nothing: workers that are lost take all others with them, and the next start counts what is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)

from ipt_platform.observe.jsonl import read_lines
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.parts import ClusterSpec
from ipt_platform.spec.workers import ElasticSpec
from ipt_platform.train.shape import counts_of
from ipt_platform.train.submission import Submission

_ROUNDING = 1e-9


def largest_count(counts: Sequence[int], room: int, cpus: float, each: float) -> int:
    """The greatest of some numbers of workers for which there is room; 0 where there is none.

    Args:
        counts: the numbers that share every step equally.
        room: how many workers fit.
        cpus: CPUs of the whole cluster.
        each: CPUs that a worker takes together with its stream.
    """
    fed = int(cpus / each + _ROUNDING)
    return max((count for count in counts if count <= min(room, fed)), default=0)


def scaling_of(cluster: ClusterSpec) -> ScalingConfig:
    """What Ray Train is asked for."""
    workers, gpus = cluster.workers, cluster.gpus_per_worker
    elastic = isinstance(workers, ElasticSpec)
    return ScalingConfig(
        num_workers=(workers.min, workers.max) if elastic else workers,
        use_gpu=gpus > 0,
        resources_per_worker={"CPU": cluster.cpus_per_worker} | ({"GPU": gpus} if gpus else {}),
        elastic_resize_monitor_interval_s=workers.look_every_s if elastic else 0,
    )


@dataclass(frozen=True)
class Elasticity:
    """What decides about the number of workers of a run.

    Attributes:
        counts: the numbers of workers that share every step equally.
        cpus: CPUs that each worker takes together with its stream.
        checkpoint: gives the step of the newest checkpoint, or None.
        told: is told a sentence when workers are restarted because their number changes.
    """

    counts: tuple[int, ...]
    cpus: float
    checkpoint: Callable[[], int | None]
    told: Callable[[str], None]

    @classmethod
    def of(cls, job: LearningJob, submission: Submission) -> "Elasticity":
        """That of a job and its submission."""
        stream = job.data.cpus if job.data.carrier == "ray" else 0
        return cls(
            counts_of(job),
            job.cluster.cpus_per_worker + stream,
            partial(newest_checkpoint, submission),
            partial(submission.tell, "resized"),
        )


def newest_checkpoint(submission: Submission) -> int | None:
    """The step of the checkpoint that was committed last, as the run's events say; of a run on S3 some seconds old."""
    run = submission.run
    run.refresh()
    return next((event["step"] for event in reversed(read_lines(run.events)) if event["type"] == "checkpoint"), None)


class DividingPolicy(ElasticScalingPolicy):
    """Ray's elastic policy for counts that divide, and for growth after a checkpoint."""

    def __init__(self, scaling: ScalingConfig, elasticity: Elasticity):
        super().__init__(scaling)
        self.elasticity = elasticity
        self.waiting = False
        self.before: int | None = None

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        """Ray's decision; nothing waits for a checkpoint any more."""
        self.waiting = False
        return super().make_decision_for_non_running_worker_group()

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> ScalingDecision:
        """Ray's decision; a change waits for the next checkpoint, and for what there is room for by then."""
        now = worker_group_state.num_workers
        if not self.waiting:
            decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
            if isinstance(decision, ResizeDecision):
                self.waiting, self.before = True, self.elasticity.checkpoint()
            return NoopDecision()
        self._maybe_send_resource_request()
        step = self.elasticity.checkpoint()
        if step == self.before:
            return NoopDecision()
        self.waiting = False
        count = self._count_possible_workers(self._get_reserved_resources() or {})
        if count < self.scaling_config.min_workers or count == now:
            return NoopDecision()
        self.elasticity.told(f"{now} -> {count} workers after the checkpoint of step {step}")
        return self._get_resize_decision(count)

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        each = self.elasticity.cpus
        return largest_count(self.elasticity.counts, room, ray.cluster_resources().get("CPU", 0), each)
