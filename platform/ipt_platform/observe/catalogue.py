"""Every metric that the platform exports: its name, kind, unit, labels and what it says.

The names are those of Prometheus (https://prometheus.io/docs/practices/naming): base units, `_total` for what only grows,
`_timestamp_seconds` for moments, `_ratio` for shares from 0 to 1. What is not in here is not exported, and dashboards, alerts
and docs/metrics.md are made from it and checked against it.

Labels name what there are few of: the job, not its runs; the task, not its versions. Where a label has a set of words, they are
all that it can be; the others are bounded by how many series the exporter keeps.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ipt_platform.errors import BAD_KINDS, FailureClass
from ipt_platform.observe.status import STATES

Kind = Literal["counter", "gauge", "histogram"]
KINDS: tuple[Kind, ...] = get_args(Kind)

UNITS = ("seconds", "bytes", "ratio", "db", "info", "")
"""Each is the end of the names that are measured in it (before `_total`); "" is a number without a unit."""

LABELS = {
    "job": "name of the job (`name` in its file); runs of one name share its series, so give what is to be told apart another",
    "task": "name of a task",
    "backbone": "name of a backbone",
    "precision": "of the arithmetic",
    "set": "name of a test set",
    "group": "which weights: those of the backbone, or the task biases",
    "rank": "number of a worker, 0 to 63; of those above nothing is told",
    "kind": "of memory",
    "phase": "of a checkpoint",
    "reason": "why, as one of few words",
    "state": "of what is counted",
    "version": "of the platform",
}
"""What each label names."""

RANKS = 64
"""Workers of a job that have a series of their own."""

_JOB = ("job",)
_STEP_BUCKETS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0)
_CHECKPOINT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as it is exported; a histogram adds `_bucket`, `_sum` and `_count` to it.
        kind: what Prometheus takes it for.
        unit: one of UNITS.
        labels: names of its labels.
        help: one sentence.
        words: of labels that can be only one of a few words, those.
        buckets: upper bounds of a histogram, in its unit; the last one, infinity, is added.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def exposed(self) -> tuple[str, ...]:
        """Names of the samples that a scrape finds."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)

    def check(self, labels: Mapping[str, str], value: float) -> str:
        """What is wrong with a value of this metric: "" if it may be exported.

        Args:
            labels: by name.
            value: to be set, added or counted.
        """
        if set(labels) != set(self.labels):
            return f"{self.name} has the labels {', '.join(self.labels) or '(none)'}, found {', '.join(labels) or '(none)'}"
        for name, allowed in self.words.items():
            if labels[name] not in allowed:
                return f"{name} of {self.name} is one of {', '.join(allowed)}, found {labels[name]!r:.80}"
        if self.kind != "gauge" and not (value >= 0 and math.isfinite(value)):
            return f"{self.name} counts what is 0 or more, found {value}"
        return ""


def _counter(name: str, unit: str, labels: tuple[str, ...], text: str, **words: tuple[str, ...]) -> Metric:
    return Metric(name, "counter", unit, labels, text, words)


def _gauge(name: str, unit: str, labels: tuple[str, ...], text: str, **words: tuple[str, ...]) -> Metric:
    return Metric(name, "gauge", unit, labels, text, words)


def _training() -> Iterator[Metric]:
    """What trainings tell of their steps."""
    text = "Duration of a step, with its wait for data."
    yield Metric("ipt_train_step_seconds", "histogram", "seconds", _JOB, text, buckets=_STEP_BUCKETS)
    yield _counter("ipt_train_steps_total", "", _JOB, "Steps that were done, those after a restart done again included.")
    yield _counter("ipt_train_images_total", "", _JOB, "Images that the steps took from the plan, over all workers.")
    yield _counter("ipt_train_seconds_total", "seconds", _JOB, "Time in which steps were done; its rate is the useful share.")
    yield _counter("ipt_train_data_wait_seconds_total", "seconds", _JOB, "Time of that in which steps waited for their data.")
    yield _gauge("ipt_train_loss", "", ("job", "task"), "Training loss of the last reported step, mean over the workers.")
    yield _gauge("ipt_train_grad_norm", "", _JOB, "Norm of the backbone's gradient before clipping, of the last reported step.")
    yield _gauge(
        "ipt_train_bias_grad_norm", "", ("job", "task"), "Norm of the gradient of a task's bias before clipping, of that step."
    )
    yield _gauge(
        "ipt_train_bias_weight_ratio",
        "ratio",
        ("job", "task"),
        "Norm of a task's bias B1 B2 against the norm of the weights W that it is added to, over all biased layers.",
    )
    yield _gauge(
        "ipt_train_learning_rate", "", ("job", "group"), "Learning rate of the last reported step.", group=("backbone", "bias")
    )
    yield _gauge(
        "ipt_train_memory_bytes",
        "bytes",
        ("job", "kind"),
        "Peak of the first worker's memory: resident on its machine, or allocated on its GPU.",
        kind=("host", "cuda"),
    )
    yield _gauge(
        "ipt_train_flops_per_step", "", _JOB, "Floating-point operations of a step, all workers; recomputing is not counted."
    )
    yield _gauge(
        "ipt_train_mfu_ratio",
        "ratio",
        _JOB,
        "Model FLOPs utilization: of the dense peak of GPUs whose peak is known, else none.",
    )
    yield _counter("ipt_train_nonfinite_total", "", _JOB, "Steps whose loss or gradient was not finite; training stops there.")
    yield _gauge(
        "ipt_train_rank_step_seconds",
        "seconds",
        ("job", "rank"),
        "Mean time of a worker's steps until its backward pass, in which all wait for the slowest; of the reported steps.",
        rank=tuple(map(str, range(RANKS))),
    )
    yield _gauge("ipt_train_last_step_timestamp_seconds", "seconds", _JOB, "When the last reported step was done.")
    yield _gauge(
        "ipt_train_progress_timestamp_seconds",
        "seconds",
        _JOB,
        "When an attempt last got on: began, did a step, measured a picture.",
    )
    yield _gauge("ipt_train_step", "", _JOB, "Steps done of the run that spoke last.")
    yield _gauge("ipt_train_steps_planned", "", _JOB, "Steps of the whole run.")
    yield _gauge("ipt_train_running", "", _JOB, "1 while a run of the job is led, 0 once it has ended, however it did.")
    yield _gauge("ipt_train_attempt", "", _JOB, "Number of the run's newest attempt.")
    yield _gauge("ipt_train_workers", "", _JOB, "Workers that train together now; 0 between two attempts and after the last.")
    yield _counter(
        "ipt_train_restarts_total",
        "",
        ("job", "reason"),
        "Times that all workers were started anew, by the class of the failure before it (resized: none).",
        reason=(*(str(each) for each in FailureClass), "resized"),
    )
    yield _gauge("ipt_train_info", "info", ("job", "backbone", "precision"), "Always 1: what the job trains, and how.")


def _keeping() -> Iterator[Metric]:
    """What trainings tell of checkpoints, evaluations and data."""
    yield _gauge(
        "ipt_checkpoint_last_success_timestamp_seconds",
        "seconds",
        _JOB,
        "When a failure last would have cost no step: a checkpoint was committed, or an attempt began.",
    )
    yield Metric(
        "ipt_checkpoint_seconds",
        "histogram",
        "seconds",
        ("job", "phase"),
        "Time of a checkpoint: tensors gathered, files written and committed (training waits), and sent to S3 (it goes on).",
        {"phase": ("gather", "write", "upload")},
        _CHECKPOINT_BUCKETS,
    )
    yield _gauge("ipt_checkpoint_bytes", "bytes", _JOB, "Size of the last checkpoint.")
    yield _gauge(
        "ipt_checkpoint_interval_seconds",
        "seconds",
        _JOB,
        "Time between two checkpoints, smoothed; none before the second one.",
    )
    yield _counter(
        "ipt_checkpoint_rejected_total",
        "",
        ("job", "reason"),
        "Checkpoints that could not be gone on from: never committed, or damaged.",
        reason=("uncommitted", "damaged"),
    )
    measured = ("job", "task", "set")
    yield _gauge("ipt_eval_psnr_db", "db", measured, "PSNR of the last evaluation, under the job's protocol.")
    yield _gauge("ipt_eval_ssim", "", measured, "SSIM of the last evaluation, under the job's protocol.")
    yield _gauge("ipt_eval_best_psnr_db", "db", measured, "Highest PSNR of the evaluations since the run was last led anew.")
    yield _counter("ipt_data_samples_total", "", _JOB, "Samples of the plan that came, over all workers.")
    yield _counter(
        "ipt_data_bad_samples_total",
        "",
        ("job", "reason"),
        "Pictures that could not be used and were replaced, by kind of fault.",
        reason=BAD_KINDS,
    )


def _platform() -> Iterator[Metric]:
    """What searches tell, what the exporter sees, and what it says of itself."""
    trials = ("running", "finished", "stopped", "failed")
    yield _gauge("ipt_search_trials", "", ("job", "state"), "Trials of a search; stopped: by the search itself.", state=trials)
    yield _gauge("ipt_search_best_psnr_db", "db", _JOB, "Mean PSNR of the best trial so far.")
    yield _gauge("ipt_runs", "", ("state",), "Runs in the storages that the exporter knows.", state=STATES)
    yield _gauge("ipt_registry_packs", "", ("task",), "Versions of a registered task that have a pack.")
    yield _gauge(
        "ipt_queue_jobs", "", ("state",), "What was submitted to Ray and waits for room, or runs.", state=("pending", "running")
    )
    yield _gauge("ipt_storage_free_bytes", "bytes", (), "Room that is left on the fullest disk with a storage; none for S3.")
    yield _gauge("ipt_build_info", "info", ("version",), "Always 1: the version of the platform that exports.")
    yield _counter("ipt_exporter_tells_total", "", (), "Messages that the exporter was told.")
    yield _counter(
        "ipt_exporter_dropped_total",
        "",
        ("reason",),
        "Values that are not exported: over the bound on series, not of this catalogue, or not sent to a busy exporter.",
        reason=("series", "invalid", "busy"),
    )


METRICS: dict[str, Metric] = {metric.name: metric for part in (_training, _keeping, _platform) for metric in part()}
"""All of them by name."""

EXPOSED: dict[str, Metric] = {name: metric for metric in METRICS.values() for name in metric.exposed}
"""By the names of the samples that a scrape finds; what a query may ask for."""
