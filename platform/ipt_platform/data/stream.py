"""The plan as a Ray Data pipeline: row numbers go in, batches come out, in the order of the plan.

Each training worker runs the pipeline of its own share. A row is one step of that worker; one operator reads, decodes, crops
and degrades, in actors that keep files open and small sets decoded. A batch travels as one flat buffer (`Batch.to_bytes`):
whole pictures never enter the object store, and nothing is collated on the trainer's side.
"""

import math
from collections.abc import Iterator

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext

from ipt_platform.data.batch import Batch
from ipt_platform.data.pairs import BatchMaker

BLOCK_STEPS = 8
"""Most steps in a block: what the operator makes before it hands anything over."""


class _MakeBatches:
    """The operator: rows `{"id": n}` to rows `{"batch": bytes}`."""

    def __init__(self, maker: BatchMaker, start_step: int):
        self.maker, self.start_step = maker, start_step

    def __call__(self, rows: pa.Table) -> pa.Table:
        steps = (self.start_step + row for row in rows["id"].to_pylist())
        return pa.table({"batch": pa.array([self.maker.make(step).to_bytes() for step in steps], pa.large_binary())})


def ray_stream(maker: BatchMaker, start_step: int, stop_step: int, cpus: float, prefetch: int) -> Iterator[Batch]:
    """Batches of steps `start_step` to `stop_step` (exclusive), in order.

    Args:
        maker: makes the batch of a step; is copied into the operator's processes.
        start_step: first step.
        stop_step: step after the last.
        cpus: CPU cores for the operator; one process for each, or part of, a core.
        prefetch: steps kept ready beside the trainer.

    Raises:
        DataError: as `BatchMaker.make`.
    """
    if start_step >= stop_step:
        return
    processes = max(1, math.floor(cpus))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    steps = stop_step - start_step
    blocks = math.ceil(steps / min(BLOCK_STEPS, prefetch))
    rows = ray.data.range(steps, override_num_blocks=blocks)
    batches = rows.map_batches(
        _MakeBatches,
        fn_constructor_args=(maker, start_step),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=processes),
        num_cpus=cpus / processes,
    )
    for table in batches.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=prefetch):
        yield Batch.from_bytes(table["batch"][0].as_buffer())
