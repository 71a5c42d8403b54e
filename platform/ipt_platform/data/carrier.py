"""The carrier for one machine: a few threads make batches ahead of the training step."""

from collections.abc import Iterator

from ipt_platform.data.batch import Batch
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.pairs import BatchMaker


def local_stream(maker: BatchMaker, start_step: int, stop_step: int, threads: int = 2, prefetch: int = 4) -> Iterator[Batch]:
    """Batches of steps `start_step` to `stop_step` (exclusive), in order, made by threads up to `prefetch` steps ahead.

    Decoding and filtering release the interpreter lock, so threads are enough. Closing the iterator stops the threads.

    Raises:
        DataError: As `BatchMaker.make`, at the step it belongs to.
    """
    return ordered_map(maker.make, range(start_step, stop_step), threads=threads, ahead=prefetch)
