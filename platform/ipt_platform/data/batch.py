"""What a training worker receives for a step, and the two parts in which it travels: a head (JSON), and a buffer of pixels."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ipt_platform.data.bad import Bad
from ipt_platform.errors import DataError

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
            DataError: The buffer is smaller than the head says.
        """
        fields: dict[str, Any] = json.loads(head)
        tasks = arrays_in(pixels, fields["tasks"])
        bad = [Bad(*each) for each in fields["bad"]]
        return cls(step=fields["step"], tasks=tasks, keys=fields["keys"], params=fields["params"], bad=bad)


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
    return int(np.prod(shape))


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
