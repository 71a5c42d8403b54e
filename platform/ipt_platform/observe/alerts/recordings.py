"""What Prometheus works out ahead, for alerts and dashboards.

The window of rates is ten minutes: trainings tell of their steps every `train.log_every` steps, which may be minutes apart.
"""

from ipt_platform.observe.alerts.model import Recording, risen

_JOB = ("job",)
_RANK = "ipt_train_rank_step_seconds"
_FAILURES = 'ipt_train_restarts_total{reason!~"preemption|resized"}'

RECORDINGS = (
    Recording("job:ipt_train_steps:rate10m", "sum by (job) (rate(ipt_train_steps_total[10m]))", _JOB, "Steps a second."),
    Recording("job:ipt_train_images:rate10m", "sum by (job) (rate(ipt_train_images_total[10m]))", _JOB, "Images a second."),
    Recording(
        "job:ipt_train_data_wait:ratio10m",
        "sum by (job) (rate(ipt_train_data_wait_seconds_total[10m])) / (sum by (job) (rate(ipt_train_seconds_total[10m])) > 0)",
        _JOB,
        "Share of the steps' time in which they wait for their data.",
    ),
    Recording(
        "job:ipt_train_step_seconds:p99",
        "histogram_quantile(0.99, sum by (job, le) (ipt_train_step_seconds_bucket))",
        _JOB,
        "Duration that 99 of 100 steps keep within, of all steps that the exporter knows: a rate would forget while they"
        " stand.",
    ),
    Recording(
        "job:ipt_train_progress:age_seconds",
        "min by (job) (time() - ipt_train_progress_timestamp_seconds)",
        _JOB,
        "Time since a step was done, or a picture measured.",
    ),
    Recording(
        "job:ipt_train_remaining:seconds",
        "max by (job) (ipt_train_steps_planned - ipt_train_step) / (job:ipt_train_steps:rate10m > 0)",
        _JOB,
        "Time that the remaining steps take at the rate of the last ten minutes.",
    ),
    Recording(
        "job:ipt_train_rank_step:spread",
        f"max by (job) ({_RANK}) * (count by (job) ({_RANK}) - 1) / (sum by (job) ({_RANK}) - max by (job) ({_RANK}))",
        _JOB,
        "Time of the slowest worker against the mean of the others; not a number where there are none.",
    ),
    Recording(
        "job:ipt_checkpoint:age_seconds",
        "min by (job) (time() - ipt_checkpoint_last_success_timestamp_seconds)",
        _JOB,
        "Time since the last checkpoint.",
    ),
    Recording(
        "job:ipt_data_bad_samples:ratio1h",
        f"sum by (job) {risen('ipt_data_bad_samples_total', '1h')}"
        f" / (sum by (job) {risen('ipt_data_samples_total', '1h')} > 0)",
        _JOB,
        "Share of the pictures of the last hour that could not be used.",
    ),
    Recording(
        "job:ipt_train_restarts:increase1h",
        f"sum by (job) {risen(_FAILURES, '1h')}",
        _JOB,
        "Failures of the last hour after which all workers were started anew.",
    ),
)
"""In this order: a later one may ask for an earlier one."""
