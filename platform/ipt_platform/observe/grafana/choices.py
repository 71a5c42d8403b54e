"""What is chosen above the panels, and the selectors that follow from it."""

from ipt_platform.observe.alerts.model import risen
from ipt_platform.observe.grafana.model import Color, Panel, Target, chosen

JOB = chosen("job", "Job", "ipt_train_steps_total")
SEARCH_JOB = chosen("job", "Search", "ipt_search_trials")
TASK = chosen("task", "Task", "ipt_train_loss", 'job=~"$job"')
SET = chosen("set", "Test set", "ipt_eval_psnr_db", 'job=~"$job"')

OF_JOB = 'job=~"$job"'
OF_TASK = f'{OF_JOB},task=~"$task"'
OF_SET = f'{OF_TASK},set=~"$set"'

RUNS = "/runs?q=${__field.labels.job}"
"""Path on the page: the runs of a series' job, whose names begin with it."""

WINDOW = "10m"
"""Of rates of what trainings tell: every `train.log_every` steps, which may be minutes apart."""

RISING: tuple[tuple[float | None, Color], ...] = ((None, "green"), (0.1, "yellow"), (0.2, "red"))
"""Colours of a share that should be small; 0.2 is where an alert begins."""

ANY: tuple[tuple[float | None, Color], ...] = ((None, "green"), (1, "red"))
"""Colours of what should not happen at all."""

SPEED = Panel(
    title="Images per second",
    description="Images that all workers of a job train on, mean of ten minutes. It falls when workers are lost, data is"
    " slow, or a stage with larger crops begins.",
    unit="si:img/s",
    targets=(Target(f"job:ipt_train_images:rate10m{{{OF_JOB}}}", "{{job}}"),),
    least=0,
    link=RUNS,
)
DATA_WAIT = Panel(
    title="Time spent waiting for data",
    description="Share of the steps' time in which they wait for their data, mean of ten minutes. Above a fifth the alert"
    " IptDataStarved begins.",
    unit="percentunit",
    targets=(Target(f"job:ipt_train_data_wait:ratio10m{{{OF_JOB}}}", "{{job}}"),),
    steps=RISING,
    least=0,
    most=1,
)
BAD_SAMPLES = Panel(
    title="Pictures that cannot be used",
    description="Within the last hour, by kind of fault. Each was named in an event and replaced by the next of the plan.",
    unit="short",
    targets=(Target(f"sum by (job, reason) {risen(f'ipt_data_bad_samples_total{{{OF_JOB}}}', '1h')}", "{{job}} {{reason}}"),),
    least=0,
    stacked=True,
)
RESTARTS = Panel(
    title="Restarts",
    description="Times within the last hour that all workers were started anew, by why. Each failure costs the steps since"
    " the last checkpoint; after more than three the alert IptRestartLoop fires.",
    unit="short",
    targets=(Target(f"sum by (job, reason) {risen(f'ipt_train_restarts_total{{{OF_JOB}}}', '1h')}", "{{job}} {{reason}}"),),
    least=0,
    stacked=True,
)
"""Panels that stand on more than one dashboard."""
