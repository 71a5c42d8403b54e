"""The plan as a Ray Data pipeline: step numbers go in, batches come out, in the order of the plan.

Each training worker runs the pipeline of its own share. One operator reads, decodes, crops and degrades, in actors that keep
files open and small sets decoded. What travels is a block of a few steps, whose arrays were made where they travel from: whole
pictures never enter the object store, nothing is converted on the way, and nothing is collated on the trainer's side.
docs/architecture.md says what was measured.
"""

import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.exceptions import RayTaskError

from ipt_platform.data.batch import Batch
from ipt_platform.data.pairs import BatchMaker, new_buffer
from ipt_platform.data.told import EXPECTED, retell, tell

BLOCK_BYTES = 16 << 20
"""An actor makes a block at a time: as many steps as fit into this, at least one."""

BLOCK_STEPS = 32
"""And at most so many, for none is handed over before the last is made."""

TASKS_IN_FLIGHT = 3
"""Blocks that each actor has been asked for: Ray Data looks for what is done ten times a second, and an actor should not run
dry meanwhile."""

COUNTED = 4096
"""Most steps that one counting task counts."""


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
    try:
        yield from _taken(_pipeline(maker, start_step, stop_step, cpus))
    except RayTaskError as error:
        raise error.cause from error  # what the operator met, without the traceback that Ray makes part of its words
    finally:
        # An actor ends, and gives its core back, when nobody refers to it; Ray Data leaves references to it in cycles.
        gc.collect()


def _taken(dataset: ray.data.Dataset) -> Iterator[Batch]:
    for bundle in dataset.iter_internal_ref_bundles():
        for block in bundle.blocks:
            yield from _batches(ray.get(cast(Any, block.ref)))


def _pipeline(maker: BatchMaker, start: int, stop: int, cpus: float) -> ray.data.Dataset:
    processes = max(1, int(cpus))
    counting = math.ceil((stop - start) / COUNTED)
    each = math.ceil((stop - start) / counting)
    together = max(1, min(BLOCK_BYTES // maker.largest_room, BLOCK_STEPS))
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1 << 40  # blocks are as we make them
    context.max_tasks_in_flight_per_actor = TASKS_IN_FLIGHT
    context.memory_usage_poll_interval_s = None
    with DataContext.current(context):
        return ray.data.read_datasource(
            _Steps(range(start, stop, each), stop),
            num_cpus=_COUNTING_CPUS,
            concurrency=1,
            override_num_blocks=counting * math.ceil(each / together),  # Ray splits what a task counts accordingly
        ).map_batches(
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
    """Rows `{"step": s}`, one task for each stretch of steps."""

    def __init__(self, starts: Sequence[int], stop: int):
        self.starts, self.stop = starts, stop

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *args: object, **kwargs: object) -> list[ReadTask]:
        return [_read_task(start, stop) for start, stop in zip(self.starts, [*self.starts[1:], self.stop], strict=True)]


def _read_task(start: int, stop: int) -> ReadTask:
    def read() -> Iterable[Block]:
        return [pa.table({"step": range(start, stop)})]

    metadata = BlockMetadata(num_rows=stop - start, size_bytes=8 * (stop - start), input_files=None, exec_stats=None)
    return ReadTask(read, metadata, pa.schema({"step": pa.int64()}))


class _MakeBatches:
    """The operator: rows `{"step": s}` to rows `{"head": bytes, "pixels": bytes, "error": ""}`.

    What is wrong with the data travels as a row too, its words in the place of the head: it then comes in its turn, and
    without the pages that Ray adds to an exception.
    """

    def __init__(self, maker: BatchMaker):
        cv2.setNumThreads(1)  # one process for each core: more threads would only take turns
        self.maker = maker
        self.pixels = new_buffer(0)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        steps = rows["step"].to_pylist()
        places = np.cumsum([0, *(self.maker.room(step) for step in steps)])
        if len(self.pixels) < places[-1]:
            self.pixels = new_buffer(int(places[-1]))
        # The block before has been copied into the object store, so its memory serves this one too.
        pixels = self.pixels[: places[-1]]
        heads: list[bytes] = []
        error = "", ""
        for step, place in zip(steps, places, strict=False):
            try:
                heads.append(self.maker.make(step, lambda size, at=place: pixels[at : at + size]).head())
            except EXPECTED as found:
                error = tell(found)
                break
        yield _table(heads, pixels, places, *error)


def _table(heads: Sequence[bytes], pixels: np.ndarray, places: np.ndarray, kind: str, words: str) -> pa.Table:
    """Batches as rows, without copying pixels; an error is one more row."""
    ends = places[: len(heads) + 1].tolist()
    if kind:
        heads, ends = [*heads, words.encode()], [*ends, ends[-1]]
    buffers = [None, pa.py_buffer(np.array(ends, np.int64)), pa.py_buffer(pixels)]
    column = pa.Array.from_buffers(pa.large_binary(), len(heads), buffers)
    kinds = [""] * (len(heads) - 1) + [kind]
    return pa.table({"head": pa.array(heads, pa.binary()), "pixels": column, "error": kinds})


def _batches(table: pa.Table) -> Iterator[Batch]:
    # Arrow would copy pixels on the way to a scalar, and to combine even one chunk; so they are cut out of the buffer here.
    _, offsets, data = table["pixels"].chunk(0).buffers()
    ends, pixels = np.frombuffer(offsets, np.int64), np.frombuffer(data, np.uint8)
    for row, (head, kind) in enumerate(zip(table["head"].to_pylist(), table["error"].to_pylist(), strict=True)):
        if kind:
            raise retell(kind, head.decode())
        yield Batch.of(head, pixels[ends[row] : ends[row + 1]])
