"""What a worker adds to a session."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ipt_platform.train.driver import _backend_config
from ipt_platform.train.early import Early
from ipt_platform.train.group import ALONE, Workers
from ipt_platform.train.worker import carrier_of, distributed
from tests.jobs import small_job

CPU = torch.device("cpu")


@pytest.fixture
def one_of_one(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_of_one")
def test_a_model_is_distributed_with_nothing_that_is_deprecated():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped = distributed(model, Workers(0, 2), CPU)
        wrapped(torch.ones(2, 1, 2, 2)).sum().backward()

    assert isinstance(wrapped, nn.parallel.DistributedDataParallel)
    assert not wrapped.will_sync_module_buffers()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("cluster", "backend"), [({"workers": 2, "gpus_per_worker": 1}, "nccl"), ({"workers": {"min": 1, "max": 2}}, "gloo")]
)
def test_gpus_talk_through_nccl_and_cpus_through_gloo(cluster, backend):
    assert vars(_backend_config(small_job(cluster=cluster), waits=0))["backend"] == backend


def test_a_stream_that_has_begun_is_taken_if_it_is_of_these_steps():
    begun: Any = iter(())
    open_stream = carrier_of(small_job(), Early(4, 9, begun))
    maker: Any = None

    assert open_stream(maker, 4, 9) is begun
    assert open_stream(maker, 9, 9) is not begun
    assert list(open_stream(maker, 9, 9)) == []


def test_a_worker_that_is_alone_is_not_wrapped():
    model = nn.Linear(1, 1)

    assert distributed(model, ALONE, CPU) is model
