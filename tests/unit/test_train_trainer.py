"""What Ray's trainer is left with; processes that train are in tests/integration."""

import pytest
import ray
from ray.train import RunConfig
from ray.train.v2._internal.callbacks import AcceleratorSetupCallback, BackendSetupCallback, DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision

from ipt_platform.spec.parts import ClusterSpec
from ipt_platform.train.elastic import Elasticity, scaling_of
from ipt_platform.train.entry import train_worker
from ipt_platform.train.trainer import AlonePolicy, Trainer

ELASTICITY = Elasticity((1,), 1, lambda: None, print)


@pytest.mark.parametrize("alone", [True, False])
def test_only_a_trainer_alone_cleans_up_after_nobody(alone, tmp_path):
    settings = RunConfig(name="r", storage_path=str(tmp_path))
    trainer = Trainer(
        train_worker, elasticity=ELASTICITY, alone=alone, run_config=settings, scaling_config=scaling_of(ClusterSpec())
    )

    kinds = {type(each) for each in trainer._create_default_callbacks()}

    assert {AcceleratorSetupCallback, BackendSetupCallback} <= kinds
    assert DatasetsCallback not in kinds
    assert (PlacementGroupCleanerCallback in kinds) is not alone


def test_a_policy_alone_starts_all_workers_and_asks_no_ray():
    policy = AlonePolicy(scaling_of(ClusterSpec(workers=3, cpus_per_worker=2)))

    decision = policy.make_decision_for_non_running_worker_group()
    policy.before_controller_abort()

    assert decision == ResizeDecision(num_workers=3, resources_per_worker={"CPU": 2})
    assert not ray.is_initialized()
