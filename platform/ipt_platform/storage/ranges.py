"""Ranges of bytes of remote files: near ones are fetched together and ahead of use, and few bytes are kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import NamedTuple

from ipt_platform.storage.paths import S3Path

GAP = 256 << 10
"""Two ranges at most so many bytes apart are fetched by one request: those between cost less than a request does."""

SPAN = 8 << 20
"""Ranges are joined up to so many bytes."""

FETCHERS = 8
"""Requests ahead of use at a time, in each process: they wait for the network far longer than they work."""


class Range(NamedTuple):
    """Some bytes of a file."""

    file: S3Path
    start: int
    size: int

    @property
    def stop(self) -> int:
        """The byte after the last."""
        return self.start + self.size


class _Span(NamedTuple):
    """What came, or is on its way, and the ranges that it holds."""

    data: Future[bytes]
    members: list[Range]


class RangeCache:
    """Fetches ranges of bytes, and keeps those used last: at most `max_bytes`, those on their way included.

    Safe from several threads.

    Args:
        fetch: Reads one range.
        max_bytes: Bytes kept. 0 keeps none, and fetches nothing ahead.
    """

    def __init__(self, fetch: Callable[[Range], bytes], max_bytes: int):
        self.max_bytes = max_bytes
        self._fetch = fetch
        self._lock = threading.Lock()
        self._spans: OrderedDict[Range, _Span] = OrderedDict()
        self._span_of: dict[Range, Range] = {}
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def held(self) -> int:
        """Bytes held now, or on their way."""
        return self._bytes

    def prefetch(self, ranges: Iterable[Range]) -> None:
        """Begin to fetch ranges that will be read soon.

        At most half of `max_bytes` at a time, so that what one thread has fetched ahead is not driven out by another; what
        does not fit is fetched when it is read.
        """
        with self._lock:
            missing = []
            for each in ranges:
                span = self._span_of.get(each)
                if span is None:
                    missing.append(each)
                else:
                    self._spans.move_to_end(span)
            room = self.max_bytes // 2
            for span, members in joined(missing):
                if span.size <= room and span not in self._spans:
                    room -= span.size
                    self._pool = self._pool or ThreadPoolExecutor(FETCHERS, thread_name_prefix="ipt-fetch")
                    self._keep(span, members, self._pool.submit(self._fetch, span))

    def read(self, wanted: Range) -> bytes:
        """The bytes of a range. Whatever `fetch` raises passes through."""
        with self._lock:
            span = self._span_of.get(wanted)
            coming = self._spans[span].data if span else None
            if span is not None:
                self._spans.move_to_end(span)
        if span is None or coming is None:
            return self._read_alone(wanted)
        try:
            data = coming.result()
        except CancelledError:  # driven out before it was begun
            return self._read_alone(wanted)
        except Exception:
            with self._lock:
                self._drop(span)  # whoever asks next asks the server anew
            raise
        begin = wanted.start - span.start
        return data[begin : begin + wanted.size]

    def _read_alone(self, wanted: Range) -> bytes:
        data = self._fetch(wanted)  # outside the lock: at worst two threads fetch the same
        with self._lock:
            if wanted.size <= self.max_bytes and wanted not in self._span_of and wanted not in self._spans:
                future: Future[bytes] = Future()
                future.set_result(data)
                self._keep(wanted, [wanted], future)
        return data

    def _keep(self, span: Range, members: list[Range], future: Future[bytes]) -> None:
        self._spans[span] = _Span(future, members)
        self._span_of.update(dict.fromkeys(members, span))
        self._bytes += span.size
        while self._bytes > self.max_bytes:
            self._drop(next(iter(self._spans)))

    def _drop(self, span: Range) -> None:
        dropped = self._spans.pop(span, None)
        if dropped is None:
            return
        dropped.data.cancel()  # does nothing where it has begun
        for member in dropped.members:
            del self._span_of[member]
        self._bytes -= span.size


def joined(ranges: Iterable[Range]) -> list[tuple[Range, list[Range]]]:
    """Ranges that lie near each other in one file, joined: what to fetch, and which of the ranges it covers.

    In the order in which the first of each was named.
    """
    order = {each: place for place, each in reversed(list(enumerate(ranges)))}
    spans: list[tuple[Range, list[Range]]] = []
    for each in sorted(order):
        if spans:
            span, members = spans[-1]
            stop = max(span.stop, each.stop)
            if span.file == each.file and each.start - span.stop <= GAP and stop - span.start <= SPAN:
                spans[-1] = (Range(span.file, span.start, stop - span.start), [*members, each])
                continue
        spans.append((each, [each]))
    return sorted(spans, key=lambda joint: min(order[member] for member in joint[1]))
