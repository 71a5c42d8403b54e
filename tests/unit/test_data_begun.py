"""The first item is made ahead, all come in order, and errors come in their turn."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.data.begun import begun


@given(st.lists(st.integers()))
def test_the_items_are_the_same(items):
    assert list(begun(iter(items))) == items


def test_the_first_is_made_before_anybody_asks_and_no_other():
    made = threading.Semaphore(0)
    more = threading.Event()

    def items() -> Iterator[int]:
        made.release()
        yield 1
        more.set()
        yield 2

    stream = begun(items())
    assert made.acquire(timeout=30)
    assert next(stream) == 1
    assert not more.is_set()
    assert next(stream) == 2


@pytest.mark.parametrize("good", [0, 1, 2])
def test_an_error_comes_in_its_turn(good):
    def items() -> Iterator[int]:
        yield from range(good)
        raise KeyError("damaged")

    stream = begun(items())
    assert [next(stream) for _ in range(good)] == list(range(good))
    with pytest.raises(KeyError, match="damaged"):
        next(stream)
