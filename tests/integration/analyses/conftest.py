"""What the tests of more than one analysis use."""

from pathlib import Path

import pytest

from tests.integration.analyses.jobs_here import make_base


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    """A working directory with shards and a test set."""
    return make_base(tmp_path_factory.mktemp("base"), photograph)


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """Every test here computes with one."""
