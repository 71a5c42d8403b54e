"""Many pictures through Ray Data: names go to actors, each of which reads, restores and writes, and a word comes back.

No picture travels between processes. Blocks are of a few pictures of one task, so that a task changes seldom and little is done
twice when an actor is lost: it is started again and given its blocks again, and what is written already is passed over.
"""

import gc
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import cv2
import pyarrow as pa
import ray
import ray.data
import torch
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.exceptions import RayActorError, RayError, RayTaskError

from ipt_platform.data.executor import bounded_context
from ipt_platform.data.heap import keep_freed_memory
from ipt_platform.data.told import EXPECTED, retell, tell
from ipt_platform.errors import BadPictureError, InfrastructureError, storage_failed
from ipt_platform.observe.events import append_event, failure_fields
from ipt_platform.observe.storage import run_at
from ipt_platform.restore.encoded import restore_encoded
from ipt_platform.restore.model import choose_device
from ipt_platform.restore.models import Chosen, Models
from ipt_platform.restore.outputs import Outputs
from ipt_platform.restore.pictures import Picture
from ipt_platform.restore.tiles import restore_array
from ipt_platform.spec.parts import ActorsSpec
from ipt_platform.storage.paths import AnyPath, any_path

log = logging.getLogger(__name__)

BLOCK = 4
"""Pictures of a block at the most. Each block costs Ray about 10 ms, a picture seldom less than ten times that."""

BLOCKS_EACH = 2
"""Blocks that each actor has been asked for: the one at work, and the next."""


@dataclass(frozen=True)
class Setup:
    """What every actor is told.

    Attributes:
        run: folder of the run. storage: where that lies on S3, if it does.
        attempt: the attempt that it belongs to.
        output: where restored pictures go.
        chosen: what restores for each task.
        tile, overlap: pixels, as `restore_tiled` takes them.
        threads: of the CPU.
        device: "cpu" or "cuda".
    """

    run: Path
    storage: str | None
    attempt: int
    output: AnyPath
    chosen: Mapping[str, Chosen]
    tile: int
    overlap: int
    threads: int
    device: str


@dataclass(frozen=True)
class Done:
    """A picture that was dealt with.

    Attributes:
        name, task: of the picture.
        kind, reason: why it could not be restored, as `Bad` has them; "" where its output is there.
    """

    name: str
    task: str
    kind: str = ""
    reason: str = ""


def restore_stream(setup: Setup, missing: Mapping[str, Sequence[Picture]], actors: ActorsSpec) -> Iterator[Done]:
    """Restore pictures on the Ray that this process is connected to; gives a word for each, as they are done.

    Args:
        setup: what the actors are told.
        missing: the pictures of each task.
        actors: how many, and what each of them takes.

    Raises:
        InfrastructureError: an actor was lost more often than the job allows, or Ray or the storage failed.
        DataError, NotFoundError, UsageError, CheckpointError, PackError: a shard has changed, a model cannot be used, or a
            tile does not fit into the memory of a GPU.
    """
    try:
        yield from _taken(_pipeline(setup, missing, actors))
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        raise InfrastructureError(
            f"an actor was lost more often than cluster.max_failures allows ({actors.max_failures}); its log in "
            f"{setup.run / 'logs' / str(setup.attempt)} names the picture that it was at"
        ) from error
    except RayError as error:
        raise InfrastructureError(f"Ray failed: {next(iter(str(error).splitlines()), type(error).__name__)}") from error
    finally:
        gc.collect()  # an actor ends when nobody refers to it, and Ray Data leaves references to it in cycles


def names_bytes(missing: Mapping[str, Sequence[Picture]]) -> int:
    """Room that the names of pictures take in Ray's object store."""
    return _names(missing).nbytes


def _taken(dataset: ray.data.Dataset) -> Iterator[Done]:
    for bundle in dataset.iter_internal_ref_bundles():
        for block in bundle.blocks:
            rows = cast(pa.Table, ray.get(cast(Any, block.ref)))
            for row in rows.to_pylist():
                if row.pop("error"):
                    raise retell(row["kind"], row["reason"])
                yield Done(**row)


def _pipeline(setup: Setup, missing: Mapping[str, Sequence[Picture]], actors: ActorsSpec) -> ray.data.Dataset:
    with DataContext.current(bounded_context(actors.actors * BLOCKS_EACH, BLOCKS_EACH, ordered=False)):
        return ray.data.read_datasource(_Naming(missing), num_cpus=0, concurrency=1, override_num_blocks=1).map_batches(
            _Restore,
            fn_constructor_args=(setup,),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=actors.actors),
            num_cpus=actors.cpus_per_actor,
            num_gpus=actors.gpus_per_actor or None,
            max_restarts=actors.max_failures,
            max_task_retries=-1,
        )


def _names(missing: Mapping[str, Sequence[Picture]]) -> pa.Table:
    """A row for each picture, those of a task together."""
    rows = [(task, picture) for task, pictures in missing.items() for picture in pictures]
    return pa.table(
        {
            "task": pa.array([task for task, _ in rows], pa.string()),
            "name": pa.array([picture.name for _, picture in rows], pa.string()),
            "file": pa.array([str(picture.file) for _, picture in rows], pa.string()),
            "offset": pa.array([picture.offset for _, picture in rows], pa.int64()),
            "size": pa.array([picture.size for _, picture in rows], pa.int64()),
            "tag": pa.array([picture.tag for _, picture in rows], pa.string()),
        }
    )


class _Naming(Datasource):
    """Blocks of the rows of `_names`, given out by one task while they are used up."""

    def __init__(self, missing: Mapping[str, Sequence[Picture]]):
        self.names = _names(missing)
        ends = list(accumulate(len(pictures) for pictures in missing.values()))
        tasks = zip([0, *ends], ends, strict=False)
        self.spans = [(first, min(first + BLOCK, end)) for start, end in tasks for first in range(start, end, BLOCK)]

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *args: object, **kwargs: object) -> list[ReadTask]:
        names, spans = self.names, self.spans

        def read() -> Iterable[Block]:
            for start, stop in spans:
                yield names.take(pa.array(range(start, stop)))  # a copy: a slice would travel with all of the names

        metadata = BlockMetadata(num_rows=names.num_rows, size_bytes=names.nbytes, input_files=None, exec_stats=None)
        return [ReadTask(read, metadata, names.schema)]


class _Restore:
    """The operator: rows of pictures to rows of `Done`, each a block of its own, so that it is heard of at once.

    An error that is no picture's travels in a row too, without the pages that Ray adds to an exception.
    """

    def __init__(self, setup: Setup):
        context = ray.get_runtime_context()
        name = f"actor-{(context.get_actor_id() or '')[:8]}"
        run = run_at(setup.run, setup.storage)
        logging.basicConfig(
            filename=run.logs(setup.attempt, name),
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            force=True,
        )
        if context.was_current_actor_reconstructed:
            lost = f"{name} was lost, and has been started again"
            append_event(run, "worker-lost", setup.attempt, reason=lost, **failure_fields(InfrastructureError(lost)))
        keep_freed_memory()
        cv2.setNumThreads(1)
        torch.set_num_threads(setup.threads)
        self.setup = setup
        self.device = choose_device(setup.device)
        self.outputs = Outputs(setup.output, run.id)
        self.models = Models(setup.chosen, self.device)
        log.info("%s on %s, %d thread%s", name, self.device, setup.threads, "s" if setup.threads > 1 else "")

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        for row in rows.to_pylist():
            task = row.pop("task")
            picture = Picture(**row | {"file": any_path(row["file"])})
            try:
                kind, reason = self._deal_with(picture, task)
            except EXPECTED as error:
                yield _word(picture.name, task, *tell(error), error=True)
                return
            except OSError as error:
                failed = storage_failed(error, self.setup.output)
                yield _word(picture.name, task, *tell(failed), error=True)
                return
            yield _word(picture.name, task, kind, reason)

    def _deal_with(self, picture: Picture, task: str) -> tuple[str, str]:
        """Restore a picture; why it could not be, ("", "") where it could."""
        if self.outputs.has(picture.name):
            return "", ""
        log.info("restoring %s: %s", picture.name, task)
        began = time.perf_counter()
        try:
            data = restore_encoded(picture.read(), Path(picture.name).suffix, *self._restorer(task))
        except BadPictureError as error:
            log.warning("bad picture %s (%s): %s", picture.name, error.kind, error)
            return error.kind, str(error)
        self.outputs.put(picture.name, data)
        log.info("restored %s in %.2f s", picture.name, time.perf_counter() - began)
        return "", ""

    def _restorer(self, task: str) -> tuple[Any, int]:
        model, setup = self.models.restorer(task), self.setup
        restore = partial(restore_array, model, device=self.device, tile=setup.tile, overlap=setup.overlap)
        return restore, setup.chosen[task].scale


def _word(name: str, task: str, kind: str, reason: str, error: bool = False) -> pa.Table:
    return pa.table({"name": [name], "task": [task], "kind": [kind], "reason": [reason], "error": [error]})
