"""`kind: evaluate` as a run: measure a checkpoint on frozen test sets, in this process, without Ray."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.files import verify
from ipt_platform.checkpoint.state import load_biased_model, read_state
from ipt_platform.errors import IptError, RefusedError
from ipt_platform.evaluate.params import task_with_params
from ipt_platform.evaluate.report import make_report, write_report
from ipt_platform.evaluate.testset import open_testsets
from ipt_platform.model.counts import count_parameters
from ipt_platform.observe.events import append_ending, append_event
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.restore.model import choose_device, find_weights
from ipt_platform.spec.job import EvaluateJob
from ipt_platform.train.evaluation import evaluate_together, sample_writer
from ipt_platform.train.group import Workers

SAMPLES = 3
"""Triptychs written per set and task."""


def measure(job: EvaluateJob, run: RunDir, base: Path, leader: Process | None = None) -> dict[str, Any]:
    """Measure, and write the run's report and pictures.

    Args:
        job: what to measure.
        run: its run.
        base: what relative paths of the job are relative to.
        leader: who leads the attempt; this process by default.

    Returns:
        The content of report.json; steps, seconds, rate and share of waiting are those of the training that made the
        checkpoint.

    Raises:
        NotFoundError: there is no such run, checkpoint or set, or the checkpoint has no bias for a task.
        CheckpointError: the checkpoint is damaged.
        DataError: a picture does not decode.
        RefusedError: another attempt has taken the run over.
    """
    attempt = run.new_attempt(leader)
    append_event(run, "started", attempt, step=0)
    try:
        report = _measure(job, run, base)
    except IptError as error:
        with suppress(RefusedError), run.fence(attempt)():  # unless another attempt has taken the run over
            append_ending(run, attempt, error)
        raise
    with run.fence(attempt)():
        write_report(run.report, report)
        run.keep_results()
        append_event(run, "finished", attempt, step=report["steps"], reason="every set was measured")
    return report


def _measure(job: EvaluateJob, run: RunDir, base: Path) -> dict[str, Any]:
    checkpoint = find_weights(job.storage, job.checkpoint).checkpoint
    verify(checkpoint)
    state = read_state(checkpoint)
    model = load_biased_model(checkpoint).to(choose_device("auto"))
    tasks = [task_with_params(name, probe.params, base, run.tasks) for name, probe in job.tasks.items()]
    testsets = open_testsets(job.sets, base, tasks, job.seed)
    scores = evaluate_together(
        model,
        testsets,
        tasks,
        job.protocol,
        Workers(),
        sample_writer(run, state["step"], SAMPLES),
    )
    progress = state["progress"]
    seconds = progress["seconds"]
    return make_report(
        job.protocol,
        scores,
        count_parameters(model.backbone),
        {task: count_parameters(bias) for task, bias in model.all_biases()},
        state["step"],
        seconds,
        progress["images"] / seconds if seconds else 0.0,
        progress["waited"] / seconds if seconds else 0.0,
        progress["samples"],
    )
