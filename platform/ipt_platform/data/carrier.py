"""The carrier for one machine: a few processes make batches ahead of the training step."""

from collections.abc import Iterator
from contextlib import closing

from ipt_platform.data.batch import Batch
from ipt_platform.data.crew import Crew
from ipt_platform.data.pairs import BatchMaker


def local_stream(maker: BatchMaker, start_step: int, stop_step: int, processes: int = 2, prefetch: int = 4) -> Iterator[Batch]:
    """Batches of steps `start_step` to `stop_step` (exclusive), in order.

    Args:
        maker: makes the batch of a step.
        start_step: first step.
        stop_step: step after the last.
        processes: that make batches; 0 makes each here when it is asked for.
        prefetch: steps made ahead, by all processes together.

    Raises:
        DataError, NotFoundError: as `BatchMaker.make`, after the batches of the steps before.
        InfrastructureError: a process was ended from outside.
    """
    steps = range(start_step, stop_step)
    if processes == 0 or not steps:
        yield from map(maker.make, steps)
        return
    with closing(Crew(maker, min(processes, len(steps)), prefetch)) as crew:
        for step in steps[:prefetch]:
            crew.order(step)
        for step in steps:
            batch = crew.take(step)
            if step + prefetch < stop_step:
                crew.order(step + prefetch)
            yield batch
            del batch
