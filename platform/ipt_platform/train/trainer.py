"""Ray's trainer as a job needs it: with our policy for a range of workers, and without processes that have nothing to do.

Every process of Ray's takes a second or two to start, and workers wait for some of them. Ray has no setting for what is left
out.
"""

from typing import Any

from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from ipt_platform.train.elastic import DividingPolicy, Elasticity


class Trainer(DataParallelTrainer):
    """Trains with a fixed number of workers, or with a range of them in which `DividingPolicy` decides.

    Ray's own trainer for torch differs in nothing that is used here, but imports torch where nobody computes.

    Args:
        train_loop_per_worker: what each worker runs.
        elasticity: what decides about the number of workers, if there is a range.
        alone: whether Ray is there for this job only: it has one machine, and ends with the job.
        settings: those of Ray's trainer.
    """

    def __init__(self, train_loop_per_worker: Any, *, elasticity: Elasticity, alone: bool, **settings: Any):
        super().__init__(train_loop_per_worker, **settings)
        self.elasticity, self.alone = elasticity, alone

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        # The one hands out data sets, and Ray Train is given none. The other frees what a lost controller had reserved: for
        # others, and there are none where Ray ends with the job.
        idle = (DatasetsCallback, PlacementGroupCleanerCallback) if self.alone else (DatasetsCallback,)
        return [each for each in super()._create_default_callbacks() if not isinstance(each, idle)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = DividingPolicy(self.scaling_config, self.elasticity)
        elif self.alone:
            parts["scaling_policy"] = AlonePolicy(self.scaling_config)
        return super()._initialize_and_run_controller(**parts)


class AlonePolicy(FixedScalingPolicy):
    """Ray's policy for a fixed number of workers, where there is no other machine: it asks nobody for one."""

    def _send_resource_request(self) -> None:
        """Ray would start a process that hands out a cluster's machines, and wait for it."""

    def _maybe_send_resource_request(self) -> None:
        """As above."""

    def _cancel_resource_request(self) -> None:
        """Nothing was asked for."""
