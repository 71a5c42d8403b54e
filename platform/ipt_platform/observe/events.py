"""The state changes of a run: one line each in events.jsonl, with time, attempt and reason."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ipt_platform.observe.jsonl import append_line, read_lines
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
    "warning": "something a person should know, without consequence for the state",
    "stop-requested": "somebody asked the run to stop after a checkpoint",
    "worker-lost": "a worker process died; the attempt ends or goes on without it",
    "failed": "the attempt ended with an error",
    "cancelled": "the attempt ended because somebody asked for it",
    "finished": "the last step was done and evaluated, or the last picture restored",
}
ENDINGS = {"failed", "cancelled", "finished"}


def utc_now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def append_event(
    run: RunDir, event: str, attempt: int, *, clock: Callable[[], datetime] = utc_now, **fields: Any
) -> dict[str, Any]:
    """Append one state change and wait until the disk has it.

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
    """
    if event not in EVENT_TYPES:
        raise ValueError(f"{event!r} is no event type; expected one of {', '.join(EVENT_TYPES)}")
    line = {"time": clock().isoformat(timespec="milliseconds"), "type": event, "attempt": attempt, **fields}
    append_line(run.events, line, sync=True)
    return line


def read_events(run: RunDir, tail: int | None = None) -> list[dict[str, Any]]:
    """The state changes in order ([] before the first), without lines torn by a kill; `tail`: only the last ones."""
    return read_lines(run.events, tail)
