"""The record of a task: what it is, on what its versions are measured, and by whom it was registered; format `ipt-task/1`.

A record holds the task file as it was understood: every parameter of its degradation written out, so that what the task is
does not change with a default of a later version of the platform.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from ipt_platform.errors import DataError
from ipt_platform.registry.names import NAME
from ipt_platform.spec.base import Many, Spec, Text
from ipt_platform.spec.task import TaskSpec

FORMAT = "ipt-task/1"

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Signature(Spec):
    """What goes into a task's model and comes out of it."""

    channels: Literal[3] = Field(default=3, description="Channels of a picture.")
    range: Many[float] = Field(default=(0.0, 1.0), description="Smallest and largest value.")
    colour: Literal["sRGB"] = Field(default="sRGB", description="Colour space of the values.")
    scale: int = Field(ge=1, description="How many times longer each side of a restored picture is than that of the file.")


class FrozenSet(Spec):
    """A test set as it was when the task was registered."""

    name: Text = Field(description="As the task's file names it.")
    digest: Sha256 = Field(description="Of its pairs: equal for equal pairs, wherever they lie.")
    pictures: int = Field(ge=1, description="Number of pictures.")


class PairedShards(Spec):
    """The pairs on disk that a task is trained on, as they were when it was registered."""

    shards: int = Field(ge=1, description="Number of shards.")
    pictures: int = Field(ge=1, description="Number of pairs.")
    digest: Sha256 = Field(description="Over the keys and digests of all halves, from the shards' indexes.")


class TaskRecord(Spec):
    """The content of `task.json`."""

    format: Literal["ipt-task/1"] = Field(default=FORMAT, description="Version of this format.")
    id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")] = Field(
        description="Random; tells this version from every other, also after an export and an import."
    )
    name: Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")] = Field(description="What people call the task.")
    version: int = Field(ge=1, description="Number of the version, from 1.")
    owner: Text = Field(description="Whom to ask about the task.")
    created: Text = Field(description="When the version was registered (UTC, ISO 8601).")
    signature: Signature = Field(description="What goes in and comes out.")
    task: TaskSpec = Field(description="The task file, every parameter of its degradation written out.")
    sets: Many[FrozenSet] = Field(description="The test sets, frozen.")
    pairs: PairedShards | None = Field(description="The pairs on disk, where the task reads some.")

    @property
    def content(self) -> str:
        """The sha256 of all that makes the task what it is: versions of one content differ in their packs alone."""
        plain = self.model_dump(mode="json", include={"name", "signature", "task", "sets", "pairs"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def resolved(task: TaskSpec) -> TaskSpec:
    """A task with every parameter of its degradation written out, and the same pairs.

    Raises:
        pydantic.ValidationError: the degradation cannot be built.
    """
    if task.pairs:
        return task
    degradation = task.training({})
    return task.model_copy(update={"degradation": {"name": degradation.name, **degradation.model_dump(mode="json")}})


def signature_of(task: TaskSpec) -> Signature:
    """What goes into a task's model and comes out of it."""
    return Signature(scale=1 if task.pairs else task.training({}).upscale)


def parse_record(data: bytes, file: object) -> TaskRecord:
    """The record in the bytes of a file; `file` is how errors name it.

    Raises:
        DataError: it is none, or one of another version of the platform.
    """
    try:
        found: Any = json.loads(data)
        if isinstance(found, dict) and found.get("format") != FORMAT:
            raise DataError(
                f"{file}: expected format {FORMAT}, found {found.get('format')!r}; was it written by another version?"
            )
        return TaskRecord.model_validate_json(data)
    except (ValueError, RecursionError) as error:
        first = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise DataError(f"{file}: not a record of a task: {what}") from error
