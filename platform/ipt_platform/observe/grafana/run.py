"""The dashboard of who trains: whether a job gets on, learns, and keeps what it learned."""

from dataclasses import replace

from ipt_platform.observe.grafana.choices import (
    ANY,
    BAD_SAMPLES,
    DATA_WAIT,
    JOB,
    OF_JOB,
    OF_SET,
    OF_TASK,
    RESTARTS,
    RUNS,
    SET,
    SPEED,
    TASK,
    WINDOW,
)
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target


def _quantile(share: float, metric: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by ({by}, le) (rate({metric}_bucket{{{OF_JOB}}}[{WINDOW}])))"


_NOW = (
    Panel(
        title="Progress",
        description="Steps done of those planned.",
        unit="percentunit",
        kind="bargauge",
        width=6,
        height=5,
        targets=(Target(f"max by (job) (ipt_train_step{{{OF_JOB}}} / ipt_train_steps_planned)", "{{job}}"),),
        least=0,
        most=1,
        steps=((None, "blue"),),
        link=RUNS,
    ),
    Panel(
        title="Time left",
        description="At the rate of the last ten minutes.",
        unit="s",
        kind="stat",
        width=4,
        height=5,
        targets=(Target(f"job:ipt_train_remaining:seconds{{{OF_JOB}}}", "{{job}}"),),
        steps=((None, "blue"),),
    ),
    Panel(
        title="Silence",
        description="How long ago the last step was, and how long ago the job got on at all: pictures are measured between"
        " steps."
        " Ten minutes, and twenty times the time of a step, without either: the alert IptTrainStalled.",
        unit="s",
        kind="stat",
        width=4,
        height=5,
        targets=(
            Target(f"job:ipt_train_progress:age_seconds{{{OF_JOB}}}", "{{job}}"),
            Target(f"min by (job) (time() - ipt_train_last_step_timestamp_seconds{{{OF_JOB}}})", "{{job}} step"),
        ),
        steps=((None, "green"), (300, "yellow"), (600, "red")),
    ),
    Panel(
        title="State",
        description="Whether a run of the job is led now.",
        unit="short",
        kind="stat",
        width=4,
        height=5,
        targets=(Target(f"max by (job) (ipt_train_running{{{OF_JOB}}})", "{{job}}"),),
        words={1: ("running", "green"), 0: ("ended", "text")},
        link=RUNS,
    ),
    Panel(
        title="Attempt and workers",
        description="Number of the newest attempt, and workers that train together now.",
        unit="short",
        kind="stat",
        width=6,
        height=5,
        targets=(
            Target(f"max by (job) (ipt_train_attempt{{{OF_JOB}}})", "{{job}} attempt"),
            Target(f"max by (job) (ipt_train_workers{{{OF_JOB}}})", "{{job}} workers"),
        ),
        steps=((None, "blue"),),
    ),
)

_LEARNING = (
    Panel(
        title="Loss",
        description="Of the last reported step, for each task. It falls in steps with the learning rate; one task that rises"
        " while others fall is pushed aside.",
        unit="short",
        targets=(Target(f"ipt_train_loss{{{OF_TASK}}}", "{{job}} {{task}}"),),
        log=True,
        link=RUNS,
    ),
    Panel(
        title="PSNR",
        description="Of the last evaluation, under the job's protocol, for each task and test set.",
        unit="dB",
        targets=(Target(f"ipt_eval_psnr_db{{{OF_SET}}}", "{{job}} {{task}} {{set}}"),),
        link=RUNS,
    ),
    Panel(
        title="Norm of gradients",
        description="Before clipping: of the backbone, and of each task's bias. Ten times the usual for five minutes: the alert"
        " IptGradNormSpike.",
        unit="short",
        targets=(
            Target(f"ipt_train_grad_norm{{{OF_JOB}}}", "{{job}} backbone"),
            Target(f"ipt_train_bias_grad_norm{{{OF_TASK}}}", "{{job}} {{task}}"),
        ),
        log=True,
    ),
    Panel(
        title="Size of biases",
        description="Norm of a task's bias against the norm of the weights that it is added to. One that grows past all bounds"
        " has a learning rate that is too large; one that stays near 0 learns nothing.",
        unit="percentunit",
        targets=(Target(f"ipt_train_bias_weight_ratio{{{OF_TASK}}}", "{{job}} {{task}}"),),
        least=0,
    ),
    Panel(
        title="Learning rate",
        description="Of the backbone and of the biases.",
        unit="short",
        targets=(Target(f"ipt_train_learning_rate{{{OF_JOB}}}", "{{job}} {{group}}"),),
        least=0,
    ),
    Panel(
        title="Steps that were not finite",
        description="Whose loss or gradient was not a number, since the exporter knows the job; training stops at the first"
        " one.",
        unit="short",
        targets=(Target(f"ipt_train_nonfinite_total{{{OF_JOB}}}", "{{job}}"),),
        steps=ANY,
        least=0,
    ),
)

_SPEED = (
    SPEED,
    Panel(
        title="Duration of a step",
        description="What half, nine in ten and 99 in 100 steps keep within, with their wait for data.",
        unit="s",
        targets=tuple(
            Target(_quantile(share, "ipt_train_step_seconds", "job"), f"{{{{job}}}} {share:.0%}") for share in (0.5, 0.9, 0.99)
        ),
        least=0,
    ),
    DATA_WAIT,
    Panel(
        title="Workers against each other",
        description="A worker's own time for a step. All wait for the slowest: 1.3 times the middle one for ten minutes is the"
        " alert IptStraggler.",
        unit="s",
        targets=(Target(f"ipt_train_rank_step_seconds{{{OF_JOB}}}", "{{job}} worker {{rank}}"),),
        least=0,
    ),
    Panel(
        title="Model FLOPs utilization",
        description="Share of the dense peak of the GPUs that a job uses; nothing on devices whose peak is not known.",
        unit="percentunit",
        targets=(Target(f"ipt_train_mfu_ratio{{{OF_JOB}}}", "{{job}}"),),
        least=0,
        most=1,
        width=8,
    ),
    Panel(
        title="Computing",
        description="Floating-point operations a second of all workers.",
        unit="flops",
        targets=(Target(f"max by (job) (ipt_train_flops_per_step{{{OF_JOB}}}) * job:ipt_train_steps:rate10m", "{{job}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Memory",
        description="Peak of the first worker: resident on its machine, allocated on its GPU.",
        unit="bytes",
        targets=(Target(f"ipt_train_memory_bytes{{{OF_JOB}}}", "{{job}} {{kind}}"),),
        least=0,
        width=8,
    ),
)

_KEEPING = (
    Panel(
        title="Age of the last checkpoint",
        description="What a failure now would cost, beside the usual time between two. Three times that is the alert"
        " IptCheckpointStale.",
        unit="s",
        targets=(
            Target(f"job:ipt_checkpoint:age_seconds{{{OF_JOB}}}", "{{job}} age"),
            Target(f"ipt_checkpoint_interval_seconds{{{OF_JOB}}}", "{{job}} usual"),
        ),
        least=0,
        width=8,
    ),
    Panel(
        title="Time of a checkpoint",
        description="What half of them keep within, by phase. Training waits while it is gathered and written, and goes on"
        " while it is sent.",
        unit="s",
        targets=(Target(_quantile(0.5, "ipt_checkpoint_seconds", "job, phase").replace(WINDOW, "1h"), "{{job}} {{phase}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Size of a checkpoint",
        description="All files of the last one.",
        unit="bytes",
        targets=(Target(f"ipt_checkpoint_bytes{{{OF_JOB}}}", "{{job}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Checkpoints not gone on from",
        description="Since the exporter knows the job. uncommitted: left by a kill, which is well; damaged: data was lost below"
        " the storage.",
        unit="short",
        targets=(Target(f"sum by (job, reason) (ipt_checkpoint_rejected_total{{{OF_JOB}}})", "{{job}} {{reason}}"),),
        least=0,
        width=8,
    ),
    replace(RESTARTS, width=8),
    replace(BAD_SAMPLES, width=8),
)

_WHAT = (
    Panel(
        title="What is trained",
        description="Backbone and precision of each job.",
        unit="short",
        kind="stat",
        width=24,
        height=4,
        targets=(Target(f"ipt_train_info{{{OF_JOB}}}", "{{job}}: {{backbone}}, {{precision}}"),),
        words={1: ("known", "text")},
    ),
)

RUN = Dashboard(
    uid="ipt-run",
    title="IPT / Run",
    description="For who trains: whether a job gets on, learns, and keeps what it learned.",
    variables=(JOB, TASK, SET),
    rows=(
        Row("Now", _NOW),
        Row("Learning", _LEARNING),
        Row("Speed", _SPEED),
        Row("Checkpoints and failures", _KEEPING),
        Row("What it is", _WHAT),
    ),
    page="/runs",
)
"""Its page is the list of runs."""
