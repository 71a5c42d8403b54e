"""What the workers of an attempt tell each other besides gradients; alone, a worker tells nobody."""

from dataclasses import dataclass
from typing import Any

from torch import distributed


@dataclass(frozen=True)
class Workers:
    """This worker's number among those of the attempt; uses torch's default process group where there are several."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this worker writes what is written once."""
        return self.rank == 0

    def from_first(self, value: Any) -> Any:
        """The first worker's value, in every worker."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every worker's value in the order of ranks, in every worker."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values


ALONE = Workers()
"""The one worker of an attempt that has no other."""
