"""How far a stream runs ahead of its trainer: blocks of steps, few and large enough to keep its processes busy."""

import math
from dataclasses import dataclass

BLOCK_BYTES = 64 << 20
"""A process makes a block at a time: as many steps as fit into this, at least one. Each block costs Ray about 10 ms."""

BLOCK_STEPS = 32
"""And at most so many, for none is handed over before the last is made."""

BLOCKS_EACH = 3
"""Blocks that each process has been asked for: Ray Data looks for what is done ten times a second, and a process should not
run dry meanwhile."""


@dataclass(frozen=True)
class Ahead:
    """What is made ahead: the memory that a stream takes, whatever the length of the run or the size of the shards.

    Attributes:
        steps: steps of a block.
        blocks: most blocks that are being made, or wait for the trainer.
        block_bytes: the largest block.
    """

    steps: int
    blocks: int
    block_bytes: int

    @classmethod
    def of(cls, step_bytes: int, processes: int, prefetch: int) -> "Ahead":
        """For steps of at most so many bytes, made by so many processes, `prefetch` of them ready beside the trainer."""
        steps = max(1, min(BLOCK_BYTES // step_bytes, BLOCK_STEPS))
        return cls(steps, processes * BLOCKS_EACH + math.ceil(prefetch / steps), steps * step_bytes)

    @property
    def store_bytes(self) -> int:
        """What the object store holds at the most: those blocks, the one in use, and the one whose place it takes."""
        return (self.blocks + 2) * self.block_bytes


def processes_of(cpus: float) -> int:
    """Processes that make the batches of a worker: one for each whole core, at least one."""
    return max(1, int(cpus))
