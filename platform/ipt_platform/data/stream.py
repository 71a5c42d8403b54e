"""The plan as a Ray Data pipeline: step numbers go in, batches come out, in the order of the plan.

Each training worker runs the pipeline of its own share. A row is one step of that worker; one operator reads, decodes, crops
and degrades, in actors that keep files open and small sets decoded. A batch travels as one flat buffer (`Batch.to_bytes`):
whole pictures never enter the object store, and nothing is collated on the trainer's side.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.exceptions import RayTaskError

from ipt_platform.data.batch import Batch
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import DataError, IptError, NotFoundError

TASK_STEPS = 32
"""Steps that one task of the operator makes; each is handed over as soon as it is made."""

BLOCK_BYTES = 1 << 20
"""The operator hands over what it has made from this size on."""


def ray_stream(maker: BatchMaker, start_step: int, stop_step: int, cpus: float, prefetch: int) -> Iterator[Batch]:
    """Batches of steps `start_step` to `stop_step` (exclusive), in order.

    Args:
        maker: makes the batch of a step; is copied into the operator's processes.
        start_step: first step.
        stop_step: step after the last.
        cpus: CPU cores for the operator: one process for each core, at least one.
        prefetch: steps kept ready beside the trainer.

    Raises:
        DataError, NotFoundError: as `BatchMaker.make`, after the batches of the steps before.
    """
    if start_step >= stop_step:
        return
    batches = _pipeline(maker, start_step, stop_step, cpus)
    try:
        for rows in batches.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=prefetch):
            table = cast(pa.Table, rows)
            if kind := table["error"][0].as_py():
                raise _ERRORS[kind](table["batch"][0].as_py().decode())
            yield Batch.from_bytes(cast(Any, table)["batch"].chunk(0)[0].as_buffer())
    except RayTaskError as error:
        raise error.cause from error  # what the operator met, without the traceback that Ray makes part of its words


def _pipeline(maker: BatchMaker, start_step: int, stop_step: int, cpus: float) -> ray.data.Dataset:
    processes = max(1, int(cpus))
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = BLOCK_BYTES
    context.max_tasks_in_flight_per_actor = 2  # the one at work and the next
    with DataContext.current(context):
        steps = ray.data.read_datasource(_Steps(start_step, stop_step), num_cpus=_COUNTING_CPUS, concurrency=1)
        return steps.map_batches(
            _MakeBatches,
            fn_constructor_args=(maker,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=processes),
            num_cpus=cpus / processes,
        )


# Counting needs a core for no time. Any share of one would wait for ever where workers and operator take all that there are.
_COUNTING_CPUS = 0


class _Steps(Datasource):
    """Rows `{"step": s}`, `TASK_STEPS` to a block."""

    def __init__(self, start: int, stop: int):
        self.start, self.stop = start, stop

    def estimate_inmemory_data_size(self) -> int:
        return 8 * (self.stop - self.start)

    def get_read_tasks(self, parallelism: int, *args: object, **kwargs: object) -> list[ReadTask]:
        starts = range(self.start, self.stop, TASK_STEPS)
        return [_read_task(start, min(start + TASK_STEPS, self.stop)) for start in starts]


def _read_task(start: int, stop: int) -> ReadTask:
    def read() -> Iterable[Block]:
        return [pa.table({"step": range(start, stop)})]

    metadata = BlockMetadata(num_rows=stop - start, size_bytes=8 * (stop - start), input_files=None, exec_stats=None)
    return ReadTask(read, metadata, pa.schema({"step": pa.int64()}))


_ERRORS: dict[str, type[IptError]] = {"DataError": DataError, "NotFoundError": NotFoundError}


class _MakeBatches:
    """The operator: rows `{"step": s}` to rows `{"batch": bytes, "error": ""}`.

    What is wrong with the data travels as a row too, its words in the place of the batch: it then comes in its turn, and
    without the pages that Ray adds to an exception.
    """

    def __init__(self, maker: BatchMaker):
        self.maker = maker

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for step in rows["step"].to_pylist():
            try:
                yield _row(self.maker.make(step).to_bytes())
            except tuple(_ERRORS.values()) as error:
                yield _row(str(error).encode(), type(error).__name__)
                return


def _row(batch: bytes, error: str = "") -> pa.Table:
    return pa.table({"batch": pa.array([batch], pa.large_binary()), "error": [error]})
