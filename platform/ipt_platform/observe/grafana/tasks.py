"""The dashboard of tasks: how good each is, on which set, and what its bias does."""

from ipt_platform.observe.grafana.choices import JOB, OF_SET, OF_TASK, RUNS, SET, TASK
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target

_GOOD = (
    Panel(
        title="PSNR now",
        description="Of the last evaluation of each task, under its job's protocol.",
        unit="dB",
        kind="bargauge",
        targets=(Target(f"max by (task, set, job) (ipt_eval_psnr_db{{{OF_SET}}})", "{{task}} {{set}} ({{job}})"),),
        steps=((None, "blue"),),
        link="/tasks",
    ),
    Panel(
        title="Below its best",
        description="How far the last evaluation lies below the best one. More than 0.3 dB for an hour: the alert"
        " IptTaskRegressed.",
        unit="dB",
        kind="bargauge",
        targets=(
            Target(
                f"max by (task, set, job) (ipt_eval_best_psnr_db{{{OF_SET}}} - ipt_eval_psnr_db)", "{{task}} {{set}} ({{job}})"
            ),
        ),
        steps=((None, "green"), (0.1, "yellow"), (0.3, "red")),
        least=0,
    ),
    Panel(
        title="PSNR",
        description="From evaluation to evaluation.",
        unit="dB",
        targets=(Target(f"ipt_eval_psnr_db{{{OF_SET}}}", "{{job}} {{task}} {{set}}"),),
        link=RUNS,
    ),
    Panel(
        title="SSIM",
        description="From evaluation to evaluation; 1 is the same picture.",
        unit="none",
        targets=(Target(f"ipt_eval_ssim{{{OF_SET}}}", "{{job}} {{task}} {{set}}"),),
        most=1,
        link=RUNS,
    ),
)

_LEARNING = (
    Panel(
        title="Loss",
        description="Of the last reported step. Tasks have losses of different size: compare each with itself.",
        unit="short",
        targets=(Target(f"ipt_train_loss{{{OF_TASK}}}", "{{job}} {{task}}"),),
        log=True,
        width=8,
    ),
    Panel(
        title="Norm of a bias's gradient",
        description="Before clipping. A task whose gradient dies away has stopped learning.",
        unit="short",
        targets=(Target(f"ipt_train_bias_grad_norm{{{OF_TASK}}}", "{{job}} {{task}}"),),
        log=True,
        width=8,
    ),
    Panel(
        title="Size of a bias",
        description="Its norm against the norm of the weights that it is added to.",
        unit="percentunit",
        targets=(Target(f"ipt_train_bias_weight_ratio{{{OF_TASK}}}", "{{job}} {{task}}"),),
        least=0,
        width=8,
    ),
)

_REGISTRY = (
    Panel(
        title="Bias packs",
        description="Versions of each registered task that have a pack.",
        unit="short",
        kind="bargauge",
        width=24,
        targets=(Target("sum by (task) (ipt_registry_packs)", "{{task}}"),),
        least=0,
        steps=((None, "blue"),),
        link="/tasks",
    ),
)

TASKS = Dashboard(
    uid="ipt-tasks",
    title="IPT / Tasks",
    description="For who owns a task: how good it is, on which set, and what its bias does.",
    variables=(JOB, TASK, SET),
    rows=(Row("How good they are", _GOOD), Row("How they learn", _LEARNING), Row("Registry", _REGISTRY)),
    page="/tasks",
)
"""Its page is the registry."""
