"""In which state a run is, and why, worked out from its files alone."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ipt_platform.checkpoint.manifest import COMMIT, steps
from ipt_platform.observe.events import ENDINGS, read_events, utc_now
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import Attempt, RunDir

STATES = ("created", "running", "interrupted", "finished", "failed", "cancelled")
RESTORE = "restore"
"""The kind of a job whose steps are pictures, and which has no checkpoints: its outputs say where it goes on."""

STALE_SECONDS = 120.0  # an evaluation or the start of Ray on a slow machine may say nothing for a minute
_STEP_EVENTS = {"started", "resumed", "checkpoint", "evaluated", *ENDINGS}  # other events may speak of steps ahead
_LOOK_BACK = (64, 4096, None)  # how many last lines of metrics.jsonl are searched for a report; None is all of them


@dataclass(frozen=True)
class Status:
    """The state of a run and what people ask first.

    Attributes:
        run_id: the run.
        state: one of STATES.
        reason: one sentence: why it is in this state, and what to do where that is not plain.
        kind: of its job ("": not recorded).
        step: steps done, or pictures that a job that restores has dealt with. steps: of the whole job (0: not known yet).
        eta: seconds to the end as the run itself last said (None: not running or not known).
        attempt: the newest attempt (0: never started).
        stage: number of the stage of the last report (None: no report).
        loss: last training loss by task.
        psnr: dB by test set and task, from the last evaluation.
        images_per_second: of the last report. data_wait_share: share of time spent waiting for data, 0 to 1.
        samples: of the last report: how many were seen, and by kind how many of their pictures could not be used.
        checkpoint: step of the newest committed checkpoint, digests not looked at (None: none).
        updated: when the run last said something (UTC, ISO 8601; "": never).
    """

    run_id: str
    state: str
    reason: str
    kind: str = ""
    step: int = 0
    steps: int = 0
    eta: float | None = None
    attempt: int = 0
    stage: int | None = None
    loss: dict[str, float] | None = None
    psnr: dict[str, dict[str, float]] | None = None
    images_per_second: float | None = None
    data_wait_share: float | None = None
    samples: dict[str, Any] | None = None
    checkpoint: int | None = None
    updated: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def run_status(run: RunDir, stale: float = STALE_SECONDS, clock: Callable[[], datetime] = utc_now) -> Status:
    """Work out the state of a run from its files.

    An attempt without an ending is running as long as its leading process is seen alive. Where that process is gone,
    the run is interrupted at once; where it cannot be seen (another machine), after `stale` seconds without a word.

    Args:
        run: the run.
        stale: seconds without a word after which a process that cannot be seen is taken for dead.
        clock: the present moment.
    """
    attempt = run.attempt(run.current_attempt())
    events = read_events(run)
    current = [event for event in events if event.get("attempt") == attempt.number]
    kind = next((str(event.get("kind", "")) for event in events if event.get("type") == "created"), "")
    training, evaluation = _last_report(run, "steps"), _last_report(run, "evaluation")
    step, total = _progress(training, events)
    checkpoint = newest_commit(run)
    updated = max([line["time"] for line in (*events[-1:], training, evaluation) if "time" in line] + [attempt.started])
    ending = next((event for event in reversed(current) if event.get("type") in ENDINGS), None)
    if ending:
        state, reason = ending["type"], _ended(run, ending, step, total, kind, checkpoint)
    elif attempt.number == 0:
        state, reason = "created", "no attempt has started yet; submit its job to start it"
    else:
        state, reason = _under_way(run, attempt, _age(updated, clock()), stale, kind, checkpoint)
    return Status(
        run_id=run.id,
        state=state,
        reason=reason,
        kind=kind,
        step=step,
        steps=total,
        eta=training.get("eta_seconds") if state == "running" and training.get("attempt") == attempt.number else None,
        attempt=attempt.number,
        stage=training.get("stage"),
        loss=training.get("loss"),
        psnr=_psnr(evaluation),
        images_per_second=training.get("images_per_second"),
        data_wait_share=training.get("data_wait_share"),
        samples=training.get("samples"),
        checkpoint=checkpoint,
        updated=updated,
    )


def newest_commit(run: RunDir) -> int | None:
    """The newest step with a COMMIT; cheap, its digests are looked at only when it is loaded."""
    return next((step for step, path in steps(run.checkpoints) if (path / COMMIT).is_file()), None)


def _last_report(run: RunDir, kind: str) -> dict[str, Any]:
    """The newest line of metrics.jsonl that holds this field; {} if none does."""
    for tail in _LOOK_BACK:
        if found := next((line for line in reversed(read_metrics(run, tail)) if kind in line), None):
            return found
    return {}


def _progress(training: dict[str, Any], events: list[dict[str, Any]]) -> tuple[int, int]:
    """Steps done and steps in all: from whichever of the last report and the later events says so last."""
    step, total = training.get("step", 0), training.get("steps", 0)
    for event in events:
        total = event.get("steps", total)
        if event.get("type") in _STEP_EVENTS and _moment(event) > _moment(training):
            step = event.get("step", 0 if event["type"] == "started" else step)
    return step, total


def _moment(line: dict[str, Any]) -> tuple[int, str]:
    return line.get("attempt", 0), line.get("time", "")


def _ended(run: RunDir, ending: dict[str, Any], step: int, total: int, kind: str, checkpoint: int | None) -> str:
    reason = str(ending.get("reason", "")).strip().rstrip(".")
    if ending["type"] == "finished":
        return reason or f"all {total or step} steps are done"
    done = f"after {'picture' if kind == RESTORE else 'step'} {step}{f' of {total}' if total else ''}"
    return f"{reason or 'no reason was recorded'} ({done}); {_go_on(run, kind, checkpoint)}"


def _under_way(run: RunDir, attempt: Attempt, age: float, stale: float, kind: str, checkpoint: int | None) -> tuple[str, str]:
    process = attempt.process
    alive = process.alive() if process else None
    leader = str(process) if process else "its process"
    silent = f"for {_span(age)}"
    stop = run.stop_requested(attempt.number)
    if alive is False:
        return "interrupted", f"{leader} is gone without an ending; {_go_on(run, kind, checkpoint)}"
    if alive is None and age > stale:
        return "interrupted", f"nothing was heard {silent} of {leader}; {_go_on(run, kind, checkpoint)}"
    if stop is not None:
        how = "ends with the next picture" if kind == RESTORE else "commits a checkpoint first"
        return "running", f"asked to stop ({stop.rstrip('.')}), {how}"
    if age > stale:
        return "running", f"{leader} is alive but has said nothing {silent}: it may hang, see its logs"
    return "running", f"attempt {attempt.number} is led by {leader}, last word {_span(age)} ago"


def _go_on(run: RunDir, kind: str, checkpoint: int | None) -> str:
    if kind == RESTORE:
        return f"submitting {run.id} again restores what is missing"
    start = f"goes on from step {checkpoint}" if checkpoint is not None else "starts again from step 0 (no checkpoint)"
    return f"submitting {run.id} again {start}"


def _psnr(line: dict[str, Any]) -> dict[str, dict[str, float]] | None:
    return {
        name: {task: numbers["psnr"] for task, numbers in tasks.items() if "psnr" in numbers}
        for name, tasks in line.get("evaluation", {}).items()
    } or None


def _age(updated: str, now: datetime) -> float:
    """Seconds since the last word; 0 if the other clock is ahead of ours."""
    try:
        moment = datetime.fromisoformat(updated)
    except ValueError:
        return float("inf")
    return max(0.0, (now - moment.replace(tzinfo=moment.tzinfo or UTC)).total_seconds())


def _span(seconds: float) -> str:
    """Seconds in words, as coarse as they are long."""
    if seconds == float("inf"):
        return "an unknown time"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
