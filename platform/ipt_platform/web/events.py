"""State changes in the words of the page."""

from dataclasses import dataclass
from typing import Any

HIDDEN = {"time", "type", "attempt", "step", "reason", "evaluation"}


@dataclass(frozen=True)
class Told:
    """A state change: when, what, at which step and in which attempt, and what else it says."""

    time: str
    type: str
    step: int | None
    attempt: int
    words: str


def in_words(event: dict[str, Any]) -> Told:
    """An event of events.jsonl; what it says beyond the usual follows its reason."""
    more = [
        f"{name} {_plain(value)}"
        for name, value in event.items()
        if name not in HIDDEN and isinstance(value, str | int | float)
    ]
    reason, step, attempt = str(event.get("reason", "")), event.get("step"), event.get("attempt", 0)
    words = "; ".join(filter(None, [reason, ", ".join(more)]))
    return Told(
        str(event.get("time", "")),
        str(event.get("type", "event")),
        step if isinstance(step, int) else None,
        attempt if isinstance(attempt, int) else 0,
        words,
    )


def _plain(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
