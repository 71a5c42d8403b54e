"""One thread meanwhile, and as many as before afterwards."""

import pytest
import torch

from ipt_platform.tune.threads import one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def fail_in_one_thread(seen: list[int]) -> None:
    with one_thread():
        seen.append(torch.get_num_threads())
        raise ValueError("inside")


@pytest.mark.usefixtures("two_threads")
def test_threads_are_given_back_also_after_an_error():
    seen: list[int] = []
    with pytest.raises(ValueError, match="inside"):
        fail_in_one_thread(seen)

    assert [*seen, torch.get_num_threads()] == [1, 2]
