"""Where the aliases of a task point, and how they came there; format `ipt-change/1`.

    tasks/<name>/history/000001.json   one file for each change, never written over; the newest says how things stand now

A change and its entry in the history are one file, so neither can be there without the other; and of two who would make
change number n, one creates the file and the other is told.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError

from ipt_platform.errors import DataError
from ipt_platform.spec.base import Many, Spec, Text

FORMAT = "ipt-change/1"
HISTORY = "history"
PROTECTED = ("prod",)
"""Aliases that can be moved but not taken away: somebody restores with them."""

Action = Literal["promote", "rollback", "drop", "remove"]


@dataclass(frozen=True)
class By:
    """Who changes something, when, and why."""

    actor: str
    time: datetime
    reason: str | None = None


class Change(Spec):
    """One change: an alias was moved (`promote`, `rollback`) or taken away (`drop`), or a version was removed (`remove`)."""

    format: Literal["ipt-change/1"] = Field(default=FORMAT, description="Version of this format.")
    revision: int = Field(ge=1, description="Number of the change, from 1.")
    action: Action = Field(description="What was done.")
    alias: Text | None = Field(default=None, description="The alias that was moved or taken away.")
    version: int | None = Field(default=None, ge=1, description="The version it points to now; or the one that was removed.")
    previous: int | None = Field(default=None, ge=1, description="The version it pointed to before.")
    actor: Text = Field(description="Who did it.")
    time: Text = Field(description="When (UTC, ISO 8601).")
    reason: Text | None = Field(default=None, description="Why, in the words of who did it.")
    forced: bool = Field(default=False, description="Whether it was done although a gate was missed.")
    missed: Many[Text] = Field(default=(), description="What the gates had to say against it.")
    numbers: Many[dict[str, Any]] = Field(default=(), description="What was measured for it, set by set.")
    aliases: dict[str, int] = Field(description="Every alias and its version, after the change.")
    removed: Many[int] = Field(description="Every version that was removed so far.")
    passed: Many[int] = Field(description="Every version that passed its gates when it was promoted.")

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def file_of(revision: int) -> str:
    """The name of the file of a change, below the folder of its task."""
    return f"{HISTORY}/{revision:06d}.json"


def parse_change(data: bytes, file: object) -> Change:
    """The change in the bytes of a file; `file` is how errors name it.

    Raises:
        DataError: it is none.
    """
    try:
        return Change.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(
            f"{file}: not a change of format {FORMAT}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error


def holders(changes: list[Change], alias: str) -> list[int]:
    """The versions that an alias pointed to: the last one is today's, the one before is what a rollback gives back."""
    stack: list[int] = []
    for change in changes:
        if change.alias != alias:
            continue
        if change.action == "drop":
            stack.clear()
        elif change.action == "rollback":
            stack.pop()
        elif change.version is not None:
            stack.append(change.version)
    return stack
