"""Alerts of what a job does: its steps, its numbers, its data, its checkpoints."""

from ipt_platform.observe.alerts.model import RUNNING, SETTLED, Alert, risen

_DAMAGED = 'ipt_checkpoint_rejected_total{reason="damaged"}'
_SPIKE = "{0} > 10 * quantile_over_time(0.5, {0}[1h])"

TRAINING = (
    Alert(
        name="IptTrainStalled",
        severity="critical",
        hold="2m",
        expr=(
            "job:ipt_train_progress:age_seconds > 600"
            " unless on (job) job:ipt_train_progress:age_seconds <= 20 * job:ipt_train_step_seconds:p99"
            f" {SETTLED.format(window='10m')}"
        ),
        summary="{{ $labels.job }} has not got on for {{ $value | humanizeDuration }}",
        means="Its workers are there, but for ten minutes, and for twenty times as long as a step takes, no step was done and"
        " no"
        " picture measured.",
        do="Read the stacks that the workers write into `ipt-platform logs RUN` after four fifths of `cluster.hang_seconds`;"
        " where"
        " they are not replaced by then, `ipt-platform cancel RUN --now` and submit again.",
    ),
    Alert(
        name="IptTrainWithoutWorkers",
        severity="warning",
        hold="30m",
        expr="max by (job) (ipt_train_workers) == 0 and on (job) ipt_train_running == 1",
        summary="{{ $labels.job }} has waited for its workers for half an hour",
        means="The run is led, but nobody trains: it asks for more than there is room for, or its workers do not start. Ray"
        " itself shows such a run as running.",
        do="`ipt-platform status RUN` says what is lacking; add machines, end other runs, or give the job"
        " `cluster.workers: {min, max}`.",
    ),
    Alert(
        name="IptRestartLoop",
        severity="critical",
        hold="0m",
        # increase() stretches what it saw to the whole window, so that three may count as 3.1
        expr="job:ipt_train_restarts:increase1h > 3.5",
        summary="{{ $labels.job }} was restarted {{ $value | printf `%.0f` }} times within an hour",
        means="More than three failures within an hour; preemptions and changes of the number of workers are not counted."
        " Each costs the steps since the last checkpoint.",
        do="`ipt-platform status RUN` names the class of the failures and docs/faults.md what follows of each; look for one"
        " machine"
        " on which all of them happen.",
    ),
    Alert(
        name="IptNonFiniteLoss",
        severity="critical",
        hold="0m",
        # that some values of a search diverge is what it finds out
        expr=f"sum by (job) {risen('ipt_train_nonfinite_total', '1h')} > 0 unless on (job) ipt_search_trials",
        summary="the loss or a gradient of {{ $labels.job }} was not a number",
        means="Training has stopped before anything was updated, and kept the last good state.",
        do="The event `failed` names step and task: begin a new run with a smaller learning rate or a smaller"
        " `train.optimizer.grad_clip`.",
    ),
    Alert(
        name="IptGradNormSpike",
        severity="warning",
        hold="5m",
        # within an hour of another run of the job, the median is that run's
        expr=" or ".join(
            f"({_SPIKE.format(name)} {RUNNING} unless on (job) changes(ipt_train_running[1h]) > 0)"
            for name in ("ipt_train_grad_norm", "ipt_train_bias_grad_norm")
        ),
        summary="gradients of {{ $labels.job }} have a norm of {{ $value | printf `%.3g` }}",
        means="The norm before clipping, of the backbone or of a task's bias, stays above ten times the median of the last"
        " hour.",
        do="Compare the loss of each task on the dashboard `Run`; where it rises too, cancel the run and start it with a"
        " smaller"
        " learning rate.",
    ),
    Alert(
        name="IptTaskRegressed",
        severity="warning",
        hold="1h",
        expr=f"ipt_eval_best_psnr_db - ipt_eval_psnr_db > 0.3 {RUNNING}",
        summary="{{ $labels.task }} of {{ $labels.job }} is {{ $value | printf `%.2f` }} dB below its best, {{ $labels.set }}",
        means="For an hour its evaluations have stayed more than 0.3 dB below the best one.",
        do="Look at the pictures of both steps on the page; finer learning rates, or a larger weight of the task, help against"
        " tasks that push each other aside (`kind: analyze` measures that).",
    ),
    Alert(
        name="IptDataStarved",
        severity="warning",
        hold="15m",
        expr=f"job:ipt_train_data_wait:ratio10m > 0.2 {RUNNING}",
        summary="{{ $labels.job }} waits for data {{ $value | humanizePercentage }} of its time",
        means="More than a fifth of the steps' time passes before their data is there: GPUs are idle meanwhile.",
        do="The dashboard `Data stream` shows what is slow: give the job more `data.cpus` and machines with CPUs, a larger"
        " `data.prefetch`, or bring the shards nearer.",
    ),
    Alert(
        name="IptBadSamples",
        severity="warning",
        hold="5m",
        expr="job:ipt_data_bad_samples:ratio1h > 0.0003",
        summary="{{ $value | humanizePercentage }} of the pictures of {{ $labels.job }} cannot be used",
        means="More than three in ten thousand pictures of the last hour were damaged, or no picture at all; others took"
        " their place.",
        do="`ipt-platform data verify` names the shards; pack them again before `data.max_bad` (0.001 by default) ends the"
        " run.",
    ),
    Alert(
        name="IptStraggler",
        severity="warning",
        hold="10m",
        expr=f"job:ipt_train_rank_step:spread > 1.3 {RUNNING}",
        summary="one worker of {{ $labels.job }} takes {{ $value | printf `%.1f` }} times as long as the others",
        means="All workers wait for the slowest in every step, so the whole run is as much slower.",
        do="The dashboard `Run` shows which rank it is, and `Fleet` whether its machine is hot, shared or short of memory:"
        " drain"
        " that machine, and the run goes on elsewhere.",
    ),
    Alert(
        name="IptCheckpointStale",
        severity="warning",
        hold="5m",
        expr=(
            "(job:ipt_checkpoint:age_seconds > on (job) clamp_min(3 * max by (job) (ipt_checkpoint_interval_seconds), 900)"
            " or job:ipt_checkpoint:age_seconds > 7200 unless on (job) ipt_checkpoint_interval_seconds)"
            f" {SETTLED.format(window='30m')}"
        ),
        summary="{{ $labels.job }} has committed no checkpoint for {{ $value | humanizeDuration }}",
        means="That is three times as long as between two checkpoints before, or two hours where there were no two yet; a"
        " failure now would cost all of these steps.",
        do="`ipt-platform status RUN` and its events `warning` say whether the store refuses, is full or slow; mend that:"
        " checkpoints wait on the machine meanwhile.",
    ),
    Alert(
        name="IptCheckpointDamaged",
        severity="warning",
        hold="0m",
        expr=f"sum by (job) {risen(_DAMAGED, '1h')} > 0",
        summary="a checkpoint of {{ $labels.job }} is damaged",
        means="A committed checkpoint no longer has the digests that it was written with; the one before it was used.",
        do="Where it happens again, look at the disk or the store below `storage`: data is lost there.",
    ),
)
"""In the order of the page."""
