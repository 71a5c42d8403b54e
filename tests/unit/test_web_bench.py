"""What the page holds of the pictures that people try: nothing that was forgotten, also where nobody comes any more."""

import time
import weakref
from collections.abc import Callable

import pytest

from ipt_platform.web.bench import Bench
from tests.conftest import HANG

WANTS = {"kind": "restore", "run": None, "task": "denoise"}
PICTURE = bytes(1 << 20)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def bench(tmp_path):
    made = Bench(str(tmp_path))
    yield made
    made.close()


def test_of_a_picture_that_waited_and_was_forgotten_nothing_stays(bench):
    first = bench.place(WANTS, PICTURE)
    assert first
    until(lambda: first.state != "waiting")  # it is out of the queue
    for _ in range(20):
        waiting = bench.place(WANTS, PICTURE)
        assert waiting
        bench.forget(waiting.id)

    assert sum(len(order.data) for order in bench._queue.queue) == 0
    assert bench.place(WANTS, PICTURE)


def test_a_page_that_ends_begins_nothing_more(bench):
    placed = [bench.place(WANTS, PICTURE) for _ in range(2)]

    bench.close()

    assert [(each.ended.is_set(), each.data) for each in placed] == [(True, b"")] * 2
    assert placed[1].answer == {}
    assert bench._child is None


def test_without_visitors_a_picture_is_forgotten_too(tmp_path):
    now = [0.0]
    bench = Bench(str(tmp_path), limit=0.01, kept=100, idle=0.01, clock=lambda: now[0])
    try:
        order = bench.place(WANTS, PICTURE)
        assert order
        assert order.ended.wait(HANG)
        left = weakref.ref(order)
        del order
        assert left()
        now[0] = 101.0
        until(lambda: left() is None)
        until(lambda: bench._child is None)
    finally:
        bench.close()
