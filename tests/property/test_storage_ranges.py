"""Joined and kept ranges: always the bytes of the file, never more of them than allowed, and few requests."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.storage import ranges
from ipt_platform.storage.paths import S3Path
from ipt_platform.storage.ranges import GAP, SPAN, Range, RangeCache, joined

FILES = {S3Path("b", name): np.random.default_rng(seed).bytes(4000) for seed, name in enumerate(("one", "two"))}
wanted = st.builds(Range, st.sampled_from(list(FILES)), st.integers(0, 3000), st.integers(1, 1000))


class Fetcher:
    """Reads from memory, and remembers what it was asked for."""

    def __init__(self):
        self.asked: list[Range] = []

    def __call__(self, each: Range) -> bytes:
        self.asked.append(each)
        return FILES[each.file][each.start : each.stop]


def bytes_of(each: Range) -> bytes:
    return FILES[each.file][each.start : each.stop]


@given(
    st.lists(st.tuples(st.lists(wanted, max_size=12), st.lists(wanted, max_size=6)), max_size=5),
    st.integers(0, 9000),
)
@settings(max_examples=100)
def test_what_is_read_is_what_lies_there_and_no_more_is_kept_than_allowed(steps, limit):
    fetch = Fetcher()
    cache = RangeCache(fetch, limit)
    for ahead, others in steps:
        cache.prefetch(ahead)
        assert cache.held <= limit
        for each in [*ahead, *others]:
            assert cache.read(each) == bytes_of(each)
            assert cache.held <= limit


@given(st.lists(wanted, min_size=1, max_size=20))
@settings(max_examples=100)
def test_joined_ranges_cover_each_range_once(asked):
    spans = joined(asked)

    assert sorted(member for _, members in spans for member in members) == sorted(set(asked))
    for span, members in spans:
        assert min(each.start for each in members) == span.start
        assert max(each.stop for each in members) == span.stop
        assert all(each.file == span.file for each in members)
    firsts = [min(asked.index(member) for member in members) for _, members in spans]
    assert firsts == sorted(firsts)


def test_ranges_are_joined_over_small_gaps_and_up_to_a_size():
    file = S3Path("b", "x")
    near, far = Range(file, 100 + GAP, 10), Range(file, 101 + GAP, 10)

    assert joined([Range(file, 0, 100), near]) == [(Range(file, 0, 110 + GAP), [Range(file, 0, 100), near])]
    assert len(joined([Range(file, 0, 100), far])) == 2
    assert len(joined([Range(file, 0, 100), Range(S3Path("b", "y"), 100, 10)])) == 2
    row = [Range(file, start, GAP) for start in range(0, 4 * SPAN, GAP)]
    assert [span.size for span, _ in joined(row)] == [SPAN] * 4


def test_near_ranges_cost_one_request_and_what_was_read_costs_none():
    file = next(iter(FILES))
    members = [Range(file, start, 90) for start in range(0, 4000, 100)]
    fetch = Fetcher()
    cache = RangeCache(fetch, 10_000)
    cache.prefetch(members)
    for each in members * 2:
        assert cache.read(each) == bytes_of(each)
    cache.prefetch(members)

    assert fetch.asked == [Range(file, 0, 3990)]


def test_at_most_half_is_fetched_ahead_and_nothing_where_nothing_may_be_kept():
    file = next(iter(FILES))
    fetch = Fetcher()
    cache = RangeCache(fetch, 1000)
    cache.prefetch([Range(file, 0, 501)])
    assert (cache.held, fetch.asked) == (0, [])
    cache.prefetch([Range(file, 0, 500)])
    assert cache.held == 500

    none = RangeCache(fetch, 0)
    none.prefetch([Range(file, 0, 1)])
    assert none.read(Range(file, 0, 100)) == none.read(Range(file, 0, 100)) == bytes_of(Range(file, 0, 100))
    assert none.held == 0


def test_a_failure_is_told_to_who_reads_and_then_asked_anew():
    file = next(iter(FILES))
    fetch = Fetcher()
    down = threading.Event()
    down.set()

    def fetch_or_fail(each: Range) -> bytes:
        if down.is_set():
            raise ConnectionError("down")
        return fetch(each)

    cache = RangeCache(fetch_or_fail, 10_000)
    first, second = Range(file, 0, 100), Range(file, 200, 100)
    cache.prefetch([first, second])
    with pytest.raises(ConnectionError, match="down"):
        cache.read(second)
    down.clear()

    assert cache.read(first) == bytes_of(first)
    assert cache.read(second) == bytes_of(second)


def test_many_threads_with_too_little_room_read_right(monkeypatch):
    monkeypatch.setattr(ranges, "GAP", 10)
    cache = RangeCache(Fetcher(), 1500)
    rng = np.random.default_rng(0)

    def work(seed: int) -> bool:
        own = [Range(list(FILES)[seed % 2], int(start), 100) for start in rng.integers(0, 3900, 40)]
        cache.prefetch(own)
        return all(cache.read(each) == bytes_of(each) for each in own)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(60)))
    assert cache.held <= 1500
