"""Pictures that people try on the page: one at a time, in a process of its own, in memory alone, and forgotten soon.

torch takes seconds to import and a model may take all memory of a machine. So a child restores (`restore.bench`), which is
started when it is first needed, ended when it was not needed for a while, and killed when a picture takes too long.
"""

import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from ipt_platform.errors import NotFoundError
from ipt_platform.restore.pipe import receive, send

State = Literal["waiting", "working", "done", "failed"]
MOST_KEPT = 8
"""Orders that are done, and kept for those who asked for them."""

_LOOK_SECONDS = 30.0  # between two looks at what is to be forgotten

LOST = "the process that restores has ended, maybe for lack of memory; try a smaller picture"


@dataclass
class Order:
    """What somebody wants, and what became of it.

    Attributes:
        wants: see `restore.bench`.
        data: the picture; b"" as soon as it is restored or forgotten.
        state: waiting, working, done or failed.
        answer: what the child has said, the last of each key.
        result: the restored picture, PNG.
        touched: seconds, when somebody last asked for it.
    """

    wants: dict[str, Any]
    data: bytes
    touched: float
    state: State = "waiting"
    answer: dict[str, Any] = field(default_factory=dict)
    result: bytes = b""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    ended: threading.Event = field(default_factory=threading.Event)


class Bench:
    """Does orders, one after the other.

    Args:
        storage: of runs and registry.
        most: orders that may be done or wait at a time.
        limit: seconds that an order may take.
        kept: seconds after which an order that nobody asks for is forgotten.
        idle: seconds after which a child that has nothing to do is ended.
        clock: seconds.
    """

    def __init__(
        self,
        storage: str,
        most: int = 2,
        limit: float = 300,
        kept: float = 1800,
        idle: float = 600,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.storage, self.most, self.limit, self.kept, self.idle, self.clock = storage, most, limit, kept, idle, clock
        self._orders: dict[str, Order] = {}
        self._lock = threading.Lock()
        self._queue: queue.Queue[Order | None] = queue.Queue()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def place(self, wants: dict[str, Any], data: bytes = b"") -> Order | None:
        """Take an order; None: as many as may are done or wait already."""
        with self._lock:
            self._forget()
            if sum(order.state in ("waiting", "working") for order in self._orders.values()) >= self.most:
                return None
            order = Order(wants, data, self.clock())
            self._orders[order.id] = order
            if not self._thread:
                self._thread = threading.Thread(target=self._work, name="ipt-bench", daemon=True)
                self._thread.start()
        self._queue.put(order)
        return order

    def find(self, name: str) -> Order:
        """An order by its id.

        Raises:
            NotFoundError: there is none, or it was forgotten.
        """
        with self._lock:
            self._forget()
            order = self._orders.get(name)
            if not order:
                raise NotFoundError("this picture was forgotten, as all that nobody looks at any more; try it again")
            order.touched = self.clock()
            return order

    def forget(self, name: str) -> None:
        """Forget an order and its pictures; one that is being done is given up."""
        with self._lock:
            order = self._orders.pop(name, None)
            if order and order.state == "working" and self._child:
                self._child.kill()
            if order:
                _give_up(order)

    def close(self) -> None:
        """Forget everything and end the child."""
        with self._lock:
            for order in self._orders.values():
                _give_up(order)
            self._orders.clear()
            if self._child:
                self._child.kill()
            thread, self._thread = self._thread, None
        if thread:
            self._queue.put(None)
            thread.join()

    def _forget(self) -> None:
        oldest = self.clock() - self.kept
        ended = [order for order in self._orders.values() if order.state in ("done", "failed")]
        ended.sort(key=lambda order: order.touched, reverse=True)
        for place, order in enumerate(ended):
            if place >= MOST_KEPT or order.touched < oldest:
                del self._orders[order.id]

    def _work(self) -> None:
        """What the thread does: orders, until it is told to stop; between them it forgets what nobody asks for any more."""
        used = self.clock()
        while True:
            try:
                order = self._queue.get(timeout=min(self.idle, _LOOK_SECONDS))
            except queue.Empty:
                if self.clock() - used >= self.idle:
                    self._end_child()
            else:
                if order is None:
                    return self._end_child()
                self._do(order)
                del order  # or its pictures would stay until the next one comes
                used = self.clock()
            with self._lock:
                self._forget()

    def _do(self, order: Order) -> None:
        with self._lock:
            if order.state != "waiting":
                return None  # it was forgotten meanwhile
            order.state = "working"
        late = threading.Event()
        try:
            child = self._ready_child()
        except OSError as error:
            return self._end(order, f"the process that restores could not be started: {error.strerror or error}")

        def too_late() -> None:
            late.set()
            child.kill()

        watch = threading.Timer(self.limit, too_late)
        watch.start()
        done = self._ask(child, order)
        watch.cancel()
        if late.is_set() or not done:
            self._end_child()
        slow = f"it took longer than {self.limit:.0f} s; `ipt-platform restore` has no such limit"
        return self._end(order, "" if done else slow if late.is_set() else LOST)

    def _end(self, order: Order, refused: str = "") -> None:
        if refused:
            order.answer["refused"] = refused
        order.data = b""
        order.state = "failed" if "refused" in order.answer else "done"
        order.ended.set()

    def _ask(self, child: subprocess.Popen[bytes], order: Order) -> bool:
        """Whether the child has answered to the end."""
        assert child.stdin
        assert child.stdout
        try:
            send(child.stdin, order.wants, order.data)
        except OSError:
            return False
        while message := receive(child.stdout):
            answer, data = message
            more = answer.pop("more", False)
            order.answer |= answer
            if not more:
                order.result = data
                return True
        return False

    def _ready_child(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if not self._child or self._child.poll() is not None:
                # A session of its own: Ctrl-C ends the page, and the child ends with its stdin.
                self._child = subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
                    [sys.executable, "-m", "ipt_platform.restore.bench", self.storage],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,
                )
            return self._child

    def _end_child(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child:
            assert child.stdin
            assert child.stdout
            with suppress(OSError):  # what could not be written to it any more
                child.stdin.close()
            child.kill()
            child.wait()
            child.stdout.close()


def _give_up(order: Order) -> None:
    """Let go of the picture of an order that has not ended: the queue holds on to the order itself until its turn comes."""
    if not order.ended.is_set():
        order.state, order.data = "failed", b""
        order.ended.set()
