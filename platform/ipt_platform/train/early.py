"""A stream of batches that was begun before it was asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

from ipt_platform.data.batch import Batch


@dataclass(frozen=True)
class Early:
    """The batches of the steps from `start` up to `stop`."""

    start: int
    stop: int
    batches: Iterator[Batch]
