"""How far a stream runs ahead is bounded by the job, and large enough to keep every process busy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.data.ahead import BLOCK_BYTES, BLOCK_STEPS, Ahead, processes_of


@given(st.integers(1, 1 << 32), st.integers(1, 64), st.integers(1, 1024))
def test_there_is_work_for_every_process_beside_what_is_ready_and_no_block_is_larger_than_it_must_be(room, processes, prefetch):
    ahead = Ahead.of(room, processes, prefetch)

    assert ahead.block_bytes == ahead.steps * room <= max(BLOCK_BYTES, room)
    assert 1 <= ahead.steps <= BLOCK_STEPS
    assert (ahead.blocks - processes) * ahead.steps >= prefetch
    assert ahead.store_bytes > ahead.blocks * ahead.block_bytes


@given(st.integers(1, 1 << 32), st.integers(1, 64), st.integers(1, 1024))
def test_more_prefetch_takes_no_more_memory_than_the_steps_it_asks_for(room, processes, prefetch):
    least, more = Ahead.of(room, processes, 1), Ahead.of(room, processes, prefetch)

    assert more.store_bytes - least.store_bytes <= prefetch * room


@pytest.mark.parametrize(("cpus", "processes"), [(0, 1), (0.5, 1), (1, 1), (1.9, 1), (2, 2), (16.5, 16)])
def test_a_process_for_every_whole_core(cpus, processes):
    assert processes_of(cpus) == processes
