"""What a job may write to on a cluster; the rest of it is tried on a real one (tests/integration/cluster)."""

from pathlib import Path

import pytest

from ipt_platform.cluster.remote import check_written
from ipt_platform.errors import RefusedError
from ipt_platform.spec.job import RestoreJob


def job(output: str, storage: str) -> RestoreJob:
    value = {"apiVersion": "ipt/v1", "kind": "restore", "name": "clean", "storage": storage, "run": "demo"}
    return RestoreJob.model_validate(value | {"input": "photos", "output": output, "tasks": [{"task": "denoise"}]})


@pytest.fixture
def base(tmp_path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "home" / "door").symlink_to(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("output", ["out", "deep/out", "s3://bucket/out", "../shared/out", "door/shared/out", "door/home/out"])
def test_below_storage_and_base_and_on_s3_it_may_write(base, output):
    check_written(job(output, str(base.parent / "shared")), base)


@pytest.mark.parametrize("output", ["../out", "/etc/ipt", "../sharedother/out", "door/out", "out/../../out"])
def test_elsewhere_it_may_not(base, output):
    with pytest.raises(RefusedError, match=r"output: .* is not below"):
        check_written(job(output, str(base.parent / "shared")), base)
