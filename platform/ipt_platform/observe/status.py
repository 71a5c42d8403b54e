"""In which state a run is, and why, worked out from its files alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint import remote
from ipt_platform.checkpoint.manifest import COMMIT, steps
from ipt_platform.errors import ExitCode
from ipt_platform.observe import said
from ipt_platform.observe.events import ENDINGS, read_events, utc_now
from ipt_platform.observe.heartbeat import last_beat
from ipt_platform.observe.jsonl import read_ends
from ipt_platform.observe.metrics_log import last_reports, psnr_of
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import Attempt, RunDir
from ipt_platform.observe.submitted import submitted

STATES = ("created", "running", "interrupted", "finished", "failed", "cancelled")
RESTORE = "restore"
"""The kind of a job whose steps are pictures, and which has no checkpoints: its outputs say where it goes on."""

UNITS = {RESTORE: "picture", "tune": "trial", "analyze": "job"}
"""What the steps of a kind of job are, where they are not steps of training; none of these has checkpoints of its own."""

STALE_SECONDS = 120.0  # an evaluation or the start of Ray on a slow machine may say nothing for a minute
_STEP_EVENTS = {"started", "resumed", "checkpoint", "evaluated", *ENDINGS}  # other events may speak of steps ahead
_QUICK_EVENTS, _QUICK_METRICS = 1 << 11, 1 << 20  # bytes
_EXIT_CODES = {"finished": ExitCode.OK, "failed": ExitCode.JOB_FAILED, "cancelled": ExitCode.CANCELLED}
_NOT_OF_THE_JOB = {"infrastructure", "preemption", "hang"}  # classes of failures


@dataclass(frozen=True)
class Status:
    """The state of a run and what people ask first.

    Attributes:
        run_id: the run.
        state: one of STATES.
        reason: one sentence: why it is in this state, and what to do where that is not plain.
        failure: of a run that failed, the class of its failure (`errors.FailureClass`; "": none, or not recorded).
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
    failure: str = ""
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


def run_status(
    run: RunDir, stale: float = STALE_SECONDS, clock: Callable[[], datetime] = utc_now, quick: bool = False
) -> Status:
    """Work out the state of a run from its files.

    An attempt without an ending is running as long as its leading process is seen alive. Where that process is gone,
    the run is interrupted at once; where it cannot be seen (another machine), after `stale` seconds without a word or a
    heartbeat. The second is there for a machine whose clock is wrong. What a damaged line says is taken as not said.

    Args:
        run: the run.
        stale: seconds without a word after which a process that cannot be seen is taken for dead.
        clock: the present moment.
        quick: look at the ends of its files alone, as suits who looks at many runs. An evaluation that lies far back is then
            not seen.
    """
    attempt = run.attempt(run.current_attempt(fresh=not quick))
    if quick:
        run.refresh()
        events = read_ends(run.events, _QUICK_EVENTS)
    else:
        events = read_events(run)
    current = [event for event in events if event.get("attempt") == attempt.number]
    kind = next((str(event.get("kind", "")) for event in events if event.get("type") == "created"), "")
    reports = last_reports(run, ("steps", "evaluation"), _QUICK_METRICS if quick else None)
    training, evaluation = reports.get("steps", {}), reports.get("evaluation", {})
    lines = (*events[-1:], training, evaluation)
    step, total = _progress(training, events)
    checkpoint = newest_commit(run)
    updated = max(said.moment(each) for each in (*(line.get("time") for line in lines), attempt.started))
    ending = next((event for event in reversed(current) if _is_of(event, ENDINGS)), None)
    if ending:
        state, reason = ending["type"], _ended(run, ending, step, total, kind, checkpoint)
    elif attempt.number == 0:
        state, reason = "created", _not_begun(run, events)
    else:
        now = clock()
        age = _age(updated, now)
        if age > stale and (attempt.process is None or attempt.process.alive() is None):
            age = min(age, _since(last_beat(run, attempt.number), now))
        state, reason = _under_way(run, attempt, age, stale, kind, checkpoint)
    of_this_attempt = training.get("attempt") == attempt.number
    return Status(
        run_id=run.id,
        state=state,
        reason=reason,
        failure=str(ending.get("class", "")) if ending else "",
        kind=kind,
        step=step,
        steps=total,
        eta=said.number(training.get("eta_seconds")) if state == "running" and of_this_attempt else None,
        attempt=attempt.number,
        stage=said.count(training.get("stage")),
        loss=said.numbers(training.get("loss")) or None,
        psnr=psnr_of(evaluation) or None,
        images_per_second=said.number(training.get("images_per_second")),
        data_wait_share=said.number(training.get("data_wait_share")),
        samples=_samples(training.get("samples")),
        checkpoint=checkpoint,
        updated=updated,
    )


def as_it_is_now(
    status: Status,
    leader: Process | None,
    told: datetime | None = None,
    stale: float = STALE_SECONDS,
    clock: Callable[[], datetime] = utc_now,
) -> Status:
    """What a state that was worked out some time ago has become, if nothing was heard of the run since then.

    Args:
        status: the state.
        leader: who led the attempt.
        told: when it was worked out, by the clock of where it was kept.
        stale: as in `run_status`.
        clock: the present moment.
    """
    if status.state != "running":
        return status
    now = clock()
    age = min(_age(status.updated, now), _since(told, now))
    gone = _gone(RunDir(Path(status.run_id)), leader, age, stale, status.kind, status.checkpoint)
    return replace(status, state="interrupted", reason=gone, eta=None) if gone else status


def newest_commit(run: RunDir) -> int | None:
    """The newest step with a COMMIT; cheap, its digests are looked at only when it is loaded."""
    if mirror := run.mirror:
        return remote.newest_commit(mirror.remote)
    return next((step for step, path in steps(run.checkpoints) if (path / COMMIT).is_file()), None)


def exit_code_of(ending: Mapping[str, Any]) -> int:
    """The exit code of a run (`errors.ExitCode`) whose attempt ended with this event.

    Args:
        ending: an event whose type is one of ENDINGS. Its `exit_code` is what counts, where it has one; else its `class`, where
            a failure has one; else its type.
    """
    if isinstance(code := ending.get("exit_code"), int):
        return code
    if ending["type"] == "failed" and ending.get("class") in _NOT_OF_THE_JOB:
        return ExitCode.INFRASTRUCTURE
    return _EXIT_CODES[ending["type"]]


def ending_of(run: RunDir, attempt: int) -> dict[str, Any] | None:
    """The event that an attempt ended with; None where it has none."""
    ours = (event for event in reversed(read_events(run)) if event.get("attempt") == attempt)
    return next((event for event in ours if _is_of(event, ENDINGS)), None)


def _progress(training: dict[str, Any], events: list[dict[str, Any]]) -> tuple[int, int]:
    """Steps done and steps in all: the furthest of the newest attempt, whose steps only rise, whatever its clock did."""
    furthest, total = (_count(training, "attempt"), _count(training, "step")), _count(training, "steps")
    for event in events:
        total = _count(event, "steps", total)
        if _is_of(event, _STEP_EVENTS) and ("step" in event or event["type"] == "started"):
            furthest = max(furthest, (_count(event, "attempt"), _count(event, "step")))
    return furthest[1], total


def _count(line: Mapping[str, Any], name: str, default: int = 0) -> int:
    found = said.count(line.get(name))
    return default if found is None else found


def _is_of(event: Mapping[str, Any], types: Collection[str]) -> bool:
    return isinstance(kind := event.get("type"), str) and kind in types


def _samples(value: Any) -> dict[str, Any] | None:
    """The samples of a report, with the counts that they must have; None: it tells of none."""
    told = said.table(value)
    bad = {kind: each for kind, each in said.table(told.get("bad")).items() if said.count(each) is not None}
    return {"seen": _count(told, "seen"), "bad": bad} if told else None


def _ended(run: RunDir, ending: dict[str, Any], step: int, total: int, kind: str, checkpoint: int | None) -> str:
    reason = str(ending.get("reason", "")).strip().rstrip(".")
    if ending["type"] == "finished":
        return reason or f"all {total or step} steps are done"
    done = f"after {UNITS.get(kind, 'step')} {step}{f' of {total}' if total else ''}"
    return f"{reason or 'no reason was recorded'} ({done}); {_go_on(run, kind, checkpoint)}"


def _not_begun(run: RunDir, events: list[dict[str, Any]]) -> str:
    if place := submitted(run):
        told = next((f"; {event.get('reason')}" for event in reversed(events) if event.get("type") == "warning"), "")
        return f"cluster {place.cluster} has it as {place.id}; no attempt has started yet{told}"
    return "no attempt has started yet; submit its job to start it"


def _under_way(run: RunDir, attempt: Attempt, age: float, stale: float, kind: str, checkpoint: int | None) -> tuple[str, str]:
    if gone := _gone(run, attempt.process, age, stale, kind, checkpoint):
        return "interrupted", gone
    leader, silent = str(attempt.process or "its process"), f"for {_span(age)}"
    stop = _asked_to_stop(run, attempt.number)
    if stop is not None:
        how = "ends with the next picture" if kind == RESTORE else "commits a checkpoint first"
        how = "its jobs commit a checkpoint first" if kind in ("tune", "analyze") else how
        return "running", f"asked to stop ({stop.rstrip('.')}), {how}"
    if age > stale:
        return "running", f"{leader} is alive but has said nothing {silent}: it may hang, see its logs"
    return "running", f"attempt {attempt.number} is led by {leader}, last word {_span(age)} ago"


def _asked_to_stop(run: RunDir, attempt: int) -> str | None:
    try:
        return run.stop_requested(attempt)
    except (ValueError, KeyError, TypeError):
        return None  # the request is damaged


def _gone(run: RunDir, process: Process | None, age: float, stale: float, kind: str, checkpoint: int | None) -> str:
    """Why an attempt without an ending is not under way any more; "" if it is."""
    alive = process.alive() if process else None
    leader = str(process or "its process")
    if alive is False:
        return f"{leader} is gone without an ending; {_go_on(run, kind, checkpoint)}"
    if alive is None and age > stale:
        return f"nothing was heard for {_span(age)} of {leader}; {_go_on(run, kind, checkpoint)}"
    return ""


def _go_on(run: RunDir, kind: str, checkpoint: int | None) -> str:
    if kind == RESTORE:
        return f"submitting {run.id} again restores what is missing"
    if kind in UNITS:
        return f"submitting {run.id} again goes on with the {UNITS[kind]}s that are not over"
    start = f"goes on from step {checkpoint}" if checkpoint is not None else "starts again from step 0 (no checkpoint)"
    return f"submitting {run.id} again {start}"


def _age(updated: str, now: datetime) -> float:
    """Seconds since the last word; 0 if the other clock is ahead of ours."""
    try:
        moment = datetime.fromisoformat(updated)
    except ValueError:
        return float("inf")
    return _since(moment.replace(tzinfo=moment.tzinfo or UTC), now)


def _since(moment: datetime | None, now: datetime) -> float:
    return float("inf") if moment is None else max(0.0, (now - moment).total_seconds())


def _span(seconds: float) -> str:
    """Seconds in words, as coarse as they are long."""
    if seconds == float("inf"):
        return "an unknown time"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
