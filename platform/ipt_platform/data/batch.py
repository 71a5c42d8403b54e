"""What a training worker receives for a step, and the two parts in which it travels: a head (JSON), and a buffer of pixels."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipt_platform.data.bad import Bad
from ipt_platform.errors import BAD_KINDS, DataError

ALIGN = 64  # bytes; a cache line, and more than any dtype asks for

Shapes = Mapping[str, tuple[int, int, int, int]]
"""Task -> shape [n, P, P, 3] of its crops."""

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Batch:
    """One worker's crops of one step.

    tasks: task -> (degraded float32 [n, P, P, 3], clean uint8 [n, P, P, 3]); n is pictures times the task's
        weight, crops of one picture side by side. keys: the picture of each sample. params: what made each crop. bad:
        each picture (by its key) that could not be used and was replaced by the next of the plan.
    """

    step: int
    tasks: Arrays
    keys: list[str]
    params: list[dict]
    bad: list[Bad]

    @property
    def crops(self) -> int:
        """Crops of all tasks."""
        return sum(len(clean) for _, clean in self.tasks.values())

    def head(self) -> bytes:
        """Everything but the pixels, as JSON."""
        shapes = {name: clean.shape for name, (_, clean) in self.tasks.items()}
        head = {"step": self.step, "tasks": shapes, "keys": self.keys, "params": self.params, "bad": self.bad}
        return json.dumps(head, separators=(",", ":")).encode()

    @classmethod
    def of(cls, head: bytes, pixels: np.ndarray) -> "Batch":
        """The batch of a head and the buffer into which its arrays were made (`arrays_in`); they stay views of it.

        Raises:
            DataError: The head is damaged, or the buffer is smaller than it says.
        """
        fields = _fields(head)
        tasks = arrays_in(pixels, fields["tasks"])
        bad = [Bad(*each) for each in fields["bad"]]
        return cls(step=fields["step"], tasks=tasks, keys=fields["keys"], params=fields["params"], bad=bad)


def _fields(head: bytes) -> dict[str, Any]:
    """What `Batch.head` wrote, checked: a batch that was damaged on its way is told, whatever became of it."""
    try:
        fields = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise DataError(f"The batch is damaged: its head is no JSON: {error}.") from error
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != _FIELDS:
        raise DataError(f"The batch is damaged: its head should hold {', '.join(_FIELDS)}.")
    whole = {
        "tasks": all(_is_shape(shape) for shape in fields["tasks"].values()),
        "keys": all(isinstance(key, str) for key in fields["keys"]),
        "params": all(isinstance(each, dict) for each in fields["params"]),
        "bad": all(_is_bad(each) for each in fields["bad"]),
    }
    if not all(whole.values()):
        raise DataError(f"The batch is damaged: {', '.join(name for name, is_so in whole.items() if not is_so)} in its head.")
    return fields


_FIELDS = {"step": int, "tasks": dict, "keys": list, "params": list, "bad": list}


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(type(side) is int and side > 0 for side in value)


def _is_bad(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 4 and all(isinstance(part, str) for part in value)):
        return False
    return value[1] in BAD_KINDS


def room_for(shapes: Shapes) -> int:
    """Bytes of the buffer that holds the arrays of a batch."""
    return sum(_aligned(4 * _count(shape)) + _aligned(_count(shape)) for shape in shapes.values())


def arrays_in(pixels: np.ndarray, shapes: Shapes) -> Arrays:
    """The arrays of a batch as views of a buffer: degraded and clean of each task in turn, each aligned.

    Args:
        pixels: uint8 [N], contiguous, at least `room_for(shapes)` bytes.
        shapes: of the tasks' crops.

    Raises:
        DataError: The buffer is too small.
    """
    if len(pixels) < room_for(shapes):
        raise DataError(f"The batch is cut off: {len(pixels)} bytes of {room_for(shapes)}.")
    tasks, at = {}, 0
    for name, shape in shapes.items():
        size = _count(shape)
        middle = at + _aligned(4 * size)
        degraded, clean = pixels[at : at + 4 * size].view(np.float32), pixels[middle : middle + size]
        tasks[name] = degraded.reshape(shape), clean.reshape(shape)
        at = middle + _aligned(size)
    return tasks


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)  # NumPy's would wrap around


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
