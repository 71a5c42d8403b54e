"""A training job as small as one can be, for tests of what stands around it; its shards are nowhere."""

from collections.abc import Mapping
from typing import Any

from ipt_platform.spec.job import JOB, TrainJob


def small_job(train: Mapping[str, Any] | None = None, **values: Any) -> TrainJob:
    """The job with some keys of `train`, and others of the whole, put in the place of its own."""
    job = JOB.validate_python(
        {
            "apiVersion": "ipt/v1",
            "kind": "train",
            "name": "small",
            "model": {"backbone": "iptv2-nano"},
            "tasks": ["denoise"],
            "data": {"shards": "shards/*.tar"},
            "train": {"stages": [{"steps": 2, "patch": 32, "images": 4}], **(train or {})},
            **values,
        }
    )
    assert isinstance(job, TrainJob)
    return job
