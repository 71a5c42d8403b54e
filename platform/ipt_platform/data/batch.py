"""What a training worker receives for a step, and the flat form in which it travels."""

import json
from dataclasses import dataclass

import numpy as np

from ipt_platform.errors import DataError

MAGIC = b"ipt-batch/1\n"
ALIGN = 64  # bytes; a cache line, and more than any dtype asks for


@dataclass(frozen=True)
class Batch:
    """One worker's crops of one step.

    tasks: task -> (degraded float32 [n, P, P, 3], clean uint8 [n, P, P, 3]); n is pictures times the task's
        weight, crops of one picture side by side. keys: the picture of each sample. params: what made each crop. bad:
        (key, reason) of each picture that could not be used and was replaced by the next of the plan.
    """

    step: int
    tasks: dict[str, tuple[np.ndarray, np.ndarray]]
    keys: list[str]
    params: list[dict]
    bad: list[tuple[str, str]]

    @property
    def crops(self) -> int:
        """Crops of all tasks."""
        return sum(len(clean) for _, clean in self.tasks.values())

    def to_bytes(self) -> bytes:
        """One flat buffer: magic, length of the JSON header, header, then the arrays in turn, each aligned."""
        arrays = [array for pair in self.tasks.values() for array in pair]
        head = json.dumps(
            {
                "step": self.step,
                "tasks": {name: list(clean.shape) for name, (_, clean) in self.tasks.items()},
                "keys": self.keys,
                "params": self.params,
                "bad": self.bad,
            },
            separators=(",", ":"),
        ).encode()
        parts = [MAGIC + len(head).to_bytes(8, "little") + head]
        for array in arrays:
            parts += [bytes(-len(parts[-1]) % ALIGN), np.ascontiguousarray(array).data.cast("B")]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, buffer: bytes | bytearray | memoryview) -> "Batch":
        """The batch of a buffer; its arrays are views of the buffer, and read-only where the buffer is.

        Raises:
            DataError: Not a batch, or cut off.
        """
        view = memoryview(buffer).cast("B")
        start = len(MAGIC) + 8
        if bytes(view[: len(MAGIC)]) != MAGIC or len(view) < start:
            raise DataError(f"Not a batch of format {MAGIC.decode().strip()} ({len(view)} bytes).")
        at = start + int.from_bytes(view[len(MAGIC) : start], "little")
        if at > len(view):
            raise DataError(f"The batch is cut off: its header ends at byte {at} of {len(view)}.")
        head = json.loads(bytes(view[start:at]))
        tasks = {}
        for name, shape in head["tasks"].items():
            degraded, at = _take(view, at, np.dtype(np.float32), shape)
            clean, at = _take(view, at, np.dtype(np.uint8), shape)
            tasks[name] = (degraded, clean)
        bad = [(key, reason) for key, reason in head["bad"]]
        return cls(step=head["step"], tasks=tasks, keys=head["keys"], params=head["params"], bad=bad)


def _take(view: memoryview, at: int, dtype: np.dtype, shape: list[int]) -> tuple[np.ndarray, int]:
    at += -at % ALIGN
    end = at + dtype.itemsize * int(np.prod(shape))
    if end > len(view):
        raise DataError(f"The batch is cut off: {len(view)} bytes of at least {end}.")
    return np.frombuffer(view[at:end], dtype).reshape(shape), end
