"""Running ahead: in order, never further than allowed, errors in their place, no thread left behind."""

import threading

import numpy as np
import pytest

from ipt_platform.data.cache import PictureCache
from ipt_platform.data.ordered import ordered_map


def data_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ipt-data")]


def test_results_come_in_order_though_they_are_made_out_of_order():
    second_done = threading.Event()

    def work(item):
        if item == 0:
            assert second_done.wait(10)
        if item == 1:
            second_done.set()
        return item * item

    assert list(ordered_map(work, range(50), threads=2, ahead=4)) == [item * item for item in range(50)]
    assert data_threads() == []


def test_no_more_than_allowed_is_made_ahead():
    started = []
    stream = ordered_map(lambda item: started.append(item) or item, range(100), threads=2, ahead=3)

    for taken in range(1, 20):
        next(stream)
        assert max(started) < taken + 3
    stream.close()
    assert len(started) <= 19 + 3
    assert data_threads() == []


def test_nothing_is_started_before_it_is_asked_for():
    ordered_map(lambda item: pytest.fail("started"), range(3))

    assert data_threads() == []


def test_an_error_comes_at_its_place_and_ends_the_stream():
    def work(item):
        if item == 5:
            raise ZeroDivisionError(item)
        return item

    stream = ordered_map(work, range(10), threads=3, ahead=8)

    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert list(stream) == []
    assert data_threads() == []


def test_nothing_in_gives_nothing_out():
    assert list(ordered_map(str, [])) == []


def picture(value, size=10):
    return np.full((size, size, 3), value, np.uint8)


def test_the_cache_keeps_what_was_used_last_within_its_bytes():
    cache = PictureCache(max_bytes=700)  # two pictures of 300 bytes
    loads = []

    def get(index):
        return cache.get(index, lambda: loads.append(index) or picture(index))[0, 0, 0]

    assert [get(index) for index in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert loads == [1, 2, 3, 2]
    assert cache.bytes == 600


def test_a_picture_larger_than_the_cache_drives_nothing_out():
    cache = PictureCache(max_bytes=700)
    cache.get(1, lambda: picture(1))
    cache.get(2, lambda: picture(2, size=100))

    assert cache.bytes == 300
    assert cache.get(1, lambda: pytest.fail("was driven out"))[0, 0, 0] == 1


def test_pictures_of_the_cache_cannot_be_written_to():
    kept = PictureCache(max_bytes=700).get(1, lambda: picture(1))

    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0


def test_an_error_while_loading_passes_through_and_is_not_kept():
    cache = PictureCache(max_bytes=700)
    with pytest.raises(ZeroDivisionError):
        cache.get(1, lambda: 1 // 0)

    assert cache.get(1, lambda: picture(7))[0, 0, 0] == 7
