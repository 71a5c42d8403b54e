"""Ray Data's executor as a bounded stream needs it: it runs so far ahead and no further, and rests in between.

It shares an interpreter with the trainer, and starts with the job. So it also goes without two processes that Ray Data starts
before any other: one that hands out a cluster's resources, of which this stream has its own, and, where nobody collects Ray's
metrics, the one that keeps those. Only streams that are bounded here are changed, whoever else uses Ray Data in the process.
"""

import os
import time
from typing import Any

from ray.data import DataContext
from ray.data._internal.cluster_autoscaler import ClusterAutoscaler
from ray.data._internal.execution import streaming_executor
from ray.data._internal.execution.backpressure_policy import ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY
from ray.data._internal.execution.backpressure_policy.backpressure_policy import BackpressurePolicy
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.interfaces import ExecutionResources
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

_BLOCKS = "ipt_platform.blocks_ahead"
"""The setting of a context that makes its streams bounded: how many blocks they may be ahead."""


def bounded_context(blocks: int, each: int, ordered: bool) -> DataContext:
    """Settings of a pipeline with one operator of actors.

    Args:
        blocks: how many blocks it may run ahead of whoever takes them.
        each: how many of them each actor has been asked for.
        ordered: whether blocks come in the order of their rows, or as they are done.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = ordered
    context.target_max_block_size = 1  # blocks are as we make them: of one row, which nobody cuts or joins
    context.max_tasks_in_flight_per_actor = each
    context.memory_usage_poll_interval_s = None
    context.set_config(_BLOCKS, blocks)
    context.set_config(ENABLED_BACKPRESSURE_POLICIES_CONFIG_KEY, [_Bounded])
    context.custom_execution_callback_classes = [_Unhurried]
    return context


def _metrics() -> bool:
    """Whether somebody may collect what Ray measures of itself: an embedded Ray is started without."""
    return os.environ.get("RAY_enable_metrics_collection") != "0"  # noqa: SIM112 - Ray's name for it


class _Bounded(BackpressurePolicy):
    """Runs so many blocks ahead of the trainer, and no further.

    Ray's own policies guess from the sizes of blocks seen what fits into a share of the object store. They let actors run dry
    while there was room, and once it was used up they had the executor look for what it might not take without a pause: a core
    in the trainer's process, and its interpreter's lock.
    """

    def __init__(self, data_context: DataContext, topology: Any, resource_manager: Any):
        super().__init__(data_context, topology, resource_manager)
        self.blocks = data_context.get_config(_BLOCKS)

    @property
    def name(self) -> str:
        return "Bounded"

    def can_add_input(self, op: Any) -> bool:
        if not isinstance(op, ActorPoolMapOperator):
            return True
        waiting = op.internal_output_queue_num_blocks() + len(self._topology[op].output_queue)
        return op.num_active_tasks() + waiting < self.blocks

    def max_task_output_bytes_to_read(self, op: Any) -> int | None:
        if isinstance(op, ActorPoolMapOperator):
            return None
        return None if len(self._topology[op].output_queue) < 2 * self.blocks else 0


class _Unhurried(ExecutionCallback):
    """Keeps the executor's loop, which shares an interpreter with the trainer, from running when there is nothing to do.

    Ray waits up to 0.1 s for something to happen, but not at all where something has happened that it leaves for later, such
    as a count that nobody needs yet.
    """

    NEEDED, READY = 0.01, 0.1
    """Seconds between two rounds: while the trainer waits, and while it has what it needs."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def before_execution_starts(self, executor: Any) -> None:
        if not _metrics():
            executor._update_stats_metrics = lambda *_, **__: None

    def on_execution_step(self, executor: Any) -> None:
        pause = self.NEEDED if executor._consumer_idling() else self.READY
        time.sleep(max(0.0, self.last + pause - time.monotonic()))
        self.last = time.monotonic()


# Ray computes with it, which it cannot with infinities.
_PLENTY = ExecutionResources(cpu=1 << 20, gpu=1 << 20, memory=1 << 50, object_store_memory=1 << 50)


class _Given(ClusterAutoscaler):
    """Knows no limit: the processes of a stream are as many as it was given cores, and its blocks are bounded."""

    def try_trigger_scaling(self) -> None:
        """A cluster grows by what its actors wait for."""

    def on_executor_shutdown(self) -> None:
        """Nothing was asked for."""

    def get_total_resources(self) -> ExecutionResources:
        return _PLENTY


def _autoscaler(topology: Any, resource_manager: Any, data_context: DataContext, **rest: Any) -> ClusterAutoscaler:
    if data_context.get_config(_BLOCKS) is not None:
        return _Given()
    return _create_cluster_autoscaler(topology, resource_manager, data_context, **rest)


class _Stats(streaming_executor._StatsManager):
    """Starts the process that keeps metrics only for whom they are kept."""

    @staticmethod
    def register_dataset_to_stats_actor(dataset_tag: Any, operator_tags: Any, topology: Any, data_context: DataContext) -> None:
        if _metrics() or data_context.get_config(_BLOCKS) is None:
            _register(dataset_tag, operator_tags, topology, data_context)


# Ray Data has no setting for either.
_create_cluster_autoscaler, streaming_executor.create_cluster_autoscaler = (
    streaming_executor.create_cluster_autoscaler,
    _autoscaler,
)
_register = streaming_executor._StatsManager.register_dataset_to_stats_actor
streaming_executor._StatsManager = _Stats
