"""The state changes of a run: one line each in events.jsonl, with time, attempt and reason."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ipt_platform.errors import CancelledRunError, IptError
from ipt_platform.observe.gather import append_missing
from ipt_platform.observe.jsonl import append_line, line_of, read_ends, read_lines
from ipt_platform.observe.mirror import Mirror
from ipt_platform.observe.rundir import RunDir

EVENT_TYPES = {
    "created": "the run's folder and resolved job were written",
    "started": "an attempt began at step 0",
    "resumed": "an attempt goes on from a checkpoint, or with the pictures that are missing",
    "stage": "training entered a stage (patch and batch size)",
    "checkpoint": "a checkpoint was committed",
    "checkpoint-damaged": "a checkpoint could not be used and was passed over",
    "evaluated": "the test sets were measured",
    "bad-sample": "a picture could not be used; training replaces it",
    "job": "one of the jobs that this one is made of began, or came to its end",
    "warning": "something a person should know, without consequence for the state",
    "stop-requested": "somebody asked the run to stop after a checkpoint",
    "checkpoint-requested": "somebody asked the run to commit a checkpoint and go on",
    "resume-requested": "somebody asked the run to go on",
    "preempted": "machines are about to be taken away; the attempt has committed a checkpoint and makes room",
    "worker-lost": "a worker process died or stood still; the attempt ends or goes on without it",
    "resized": "the number of workers changes; all of them start again from the newest checkpoint",
    "failed": "the attempt ended with an error",
    "cancelled": "the attempt ended because somebody asked for it",
    "finished": "the last step was done and evaluated, the last picture restored, or the last job of it over",
}
ENDINGS = {"failed", "cancelled", "finished"}
AWAITED = {
    "created",
    "started",
    "resumed",
    "stop-requested",
    "checkpoint-requested",
    "resume-requested",
    "worker-lost",
    *ENDINGS,
}
"""Events that say who does what with a run: on S3 before `append_event` returns. Others follow in moments, and in order."""

KEPT = {"worker-lost", "failed"}
"""Events that say why something ended. S3 itself may be why, so where it takes none they stand in the working folder alone."""

KEPT_SECONDS = 60.0
"""How long S3 is asked to take one of those, where the run is not less patient."""


def utc_now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def append_event(
    run: RunDir, event: str, attempt: int, *, clock: Callable[[], datetime] = utc_now, **fields: Any
) -> dict[str, Any]:
    """Append one state change and wait until the disk has it; of a run on S3, until S3 has it (see `AWAITED`).

    Args:
        run: the run.
        event: its type, a key of EVENT_TYPES.
        attempt: the attempt it happened in (0: before the first).
        clock: gives the time of the event.
        fields: what else to say; `reason` is the sentence that people are shown, `step` the steps done.

    Returns:
        The line as it was written.

    Raises:
        ValueError: the type is none of EVENT_TYPES.
        InfrastructureError: S3 failed for longer than the run is patient.
        UsageError: it does not let us write.
    """
    if event not in EVENT_TYPES:
        raise ValueError(f"{event!r} is no event type; expected one of {', '.join(EVENT_TYPES)}")
    line = {"time": clock().isoformat(timespec="milliseconds"), "type": event, "attempt": attempt, **fields}
    if mirror := run.mirror:
        _tell(mirror, run, line)
    else:
        append_line(run.events, line, sync=True)
    return line


def append_ending(run: RunDir, attempt: int, error: IptError, **fields: Any) -> dict[str, Any]:
    """Append the ending that an error is, with the exit code of the command that meets it and, of a failure, its class.

    Args:
        run: the run.
        attempt: the attempt that it ends.
        error: what ends it.
        fields: as `append_event`.
    """
    if isinstance(error, CancelledRunError):
        return append_event(run, "cancelled", attempt, reason=str(error), exit_code=error.exit_code, **fields)
    return append_event(run, "failed", attempt, reason=str(error), **failure_fields(error), **fields)


def failure_fields(error: IptError) -> dict[str, Any]:
    """What an event says of a failure besides the reason."""
    return {"class": str(error.failure), "exit_code": error.exit_code}


def read_events(run: RunDir, tail: int | None = None) -> list[dict[str, Any]]:
    """The state changes in order ([] before the first), without lines torn by a kill; `tail`: only the last ones."""
    run.refresh(now=True)
    return read_lines(run.events, tail)


def identity_of(run: RunDir) -> str:
    """What tells a run from every other one, of any storage: its id, and when it was made."""
    made = next((event["time"] for event in read_ends(run.events, 1 << 12) if event.get("type") == "created"), "")
    return f"{run.id} {made}".strip()


def _tell(mirror: Mirror, run: RunDir, line: dict[str, Any]) -> None:
    """Append a line to the working folder and to the objects of this process."""
    data, journal, kept = line_of(line), mirror.journal("events", line["attempt"]), line["type"] in KEPT
    if line["type"] not in AWAITED and mirror.followed:
        append_line(run.events, line, sync=True)
        journal.add(data)
        return
    journal.add(data)
    try:
        mirror.insist(journal.flush, KEPT_SECONDS if kept else None)
    except IptError:
        if journal.withdraw(data):
            if kept:
                append_missing(run.path, "events", data)
            raise
    append_missing(run.path, "events", data)
