"""The plan as a Ray Data pipeline: step numbers go in, batches come out, in the order of the plan.

Each training worker runs the pipeline of its own share. One operator reads, decodes, crops and degrades, in actors that keep
files open and small sets decoded. What travels is a block of a few steps, whose arrays were made where they travel from: whole
pictures never enter the object store, nothing is converted on the way, and nothing is collated on the trainer's side. How far
it runs ahead is said by `ahead.py`, not by estimates of Ray's. docs/architecture.md says what was measured.
"""

import gc
from collections.abc import Iterable, Iterator
from typing import Any, cast

import cv2
import numpy as np
import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.exceptions import RayTaskError

from ipt_platform.data.ahead import BLOCKS_EACH, Ahead, processes_of
from ipt_platform.data.batch import Batch
from ipt_platform.data.executor import bounded_context
from ipt_platform.data.heap import keep_freed_memory
from ipt_platform.data.pairs import BatchMaker, new_buffer
from ipt_platform.data.told import EXPECTED, retell, tell


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
        yield from _taken(_pipeline(maker, start_step, stop_step, cpus, prefetch))
    except RayTaskError as error:
        raise error.cause from error  # what the operator met, without the traceback that Ray makes part of its words
    finally:
        # An actor ends, and gives its core back, when nobody refers to it; Ray Data leaves references to it in cycles.
        gc.collect()


def _taken(dataset: ray.data.Dataset) -> Iterator[Batch]:
    for bundle in dataset.iter_internal_ref_bundles():
        for block in bundle.blocks:
            yield from _batches(ray.get(cast(Any, block.ref)))


def _pipeline(maker: BatchMaker, start: int, stop: int, cpus: float, prefetch: int) -> ray.data.Dataset:
    processes = processes_of(cpus)
    ahead = Ahead.of(maker.largest_room, processes, prefetch)
    with DataContext.current(bounded_context(ahead.blocks, BLOCKS_EACH, ordered=True)):
        return ray.data.read_datasource(
            _Counting(start, stop, ahead.steps, first=processes),
            num_cpus=_COUNTING_CPUS,
            concurrency=1,
            override_num_blocks=1,
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


class _Counting(Datasource):
    """Rows `{"start": s, "stop": s + each}`, a block each, counted by one task while they are used up: a schedule of any length
    costs nothing. The `first` blocks are of one step, so that a trainer does not wait for more when it begins.
    """

    def __init__(self, start: int, stop: int, each: int, first: int):
        self.alone, self.together = range(start, stop)[:first], range(start, stop)[first::each]
        self.each, self.stop = each, stop

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *args: object, **kwargs: object) -> list[ReadTask]:
        spans = [(self.alone, 1), (self.together, self.each)]
        stop = self.stop

        def read() -> Iterable[Block]:
            for firsts, each in spans:
                for first in firsts:
                    yield pa.table({"start": [first], "stop": [min(first + each, stop)]})

        blocks = len(self.alone) + len(self.together)
        metadata = BlockMetadata(num_rows=blocks, size_bytes=16 * blocks, input_files=None, exec_stats=None)
        return [ReadTask(read, metadata, pa.schema({"start": pa.int64(), "stop": pa.int64()}))]


class _MakeBatches:
    """The operator: rows `{"start", "stop"}` to rows that hold the batches of those steps (`_table`).

    What is wrong with the data travels in the row too, behind the batches before it: it then comes in its turn, and without
    the pages that Ray adds to an exception.
    """

    def __init__(self, maker: BatchMaker):
        keep_freed_memory()
        cv2.setNumThreads(1)  # one process for each core: more threads would only take turns
        self.maker = maker
        self.pixels = new_buffer(0)

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for row in rows.to_pylist():
            yield self.block(range(row["start"], row["stop"]))

    def block(self, steps: range) -> pa.Table:
        """The batches of some steps."""
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
        return _table(heads, pixels, places[: len(heads)], *error)


def _table(heads: list[bytes], pixels: np.ndarray, places: np.ndarray, kind: str, words: str) -> pa.Table:
    """Batches as one row, without copying pixels, and what ended them, if anything did."""
    buffers = [None, pa.py_buffer(np.array([0, len(pixels)], np.int64)), pa.py_buffer(pixels)]
    return pa.table(
        {
            "heads": pa.array([heads], pa.list_(pa.binary())),
            "places": pa.array([places], pa.list_(pa.int64())),
            "pixels": pa.Array.from_buffers(pa.large_binary(), 1, buffers),
            "error": [kind],
            "words": [words],
        }
    )


def _batches(table: pa.Table) -> Iterator[Batch]:
    # Arrow would copy pixels on the way to a scalar, and to combine even one chunk; so they are cut out of the buffer here.
    _, _, data = table["pixels"].chunk(0).buffers()
    pixels = np.frombuffer(data, np.uint8)
    (row,) = table.drop_columns("pixels").to_pylist()
    for head, place in zip(row["heads"], row["places"], strict=True):
        yield Batch.of(head, pixels[place:])
    if row["error"]:
        raise retell(row["error"], row["words"])
