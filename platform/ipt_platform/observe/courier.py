"""A thread that goes to S3 and back for a process that works on a run: it looks who owns the run and what is asked of it,
brings what others wrote, and sends what the process has written. So the process itself waits for the store only where it must
be sure of something.
"""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import IptError
from ipt_platform.observe.gather import gather
from ipt_platform.observe.mirror import LOOK_SECONDS, Mirror

log = logging.getLogger(__name__)

SEND_SECONDS = 6.0
"""Between two sendings of metrics, and of what is known of the state."""

SELDOM = 15
"""Of so many turns, each of `LOOK_SECONDS`, a process that does not lead looks in one."""

LOG_SECONDS = 10.0
LOG_RATE = 256 << 10
"""Bytes a second. A log is sent whole each time, so a long one is sent less often."""


@contextlib.contextmanager
def courier(
    mirror: Mirror | None, logs: tuple[Path, ...] = (), state: Callable[[], object] = lambda: None, leads: bool = True
) -> Iterator[None]:
    """Let a courier go for this process; at the end, everything that is left is sent. Does nothing for a run on a disk.

    Args:
        mirror: the run.
        logs: files of its working folder that this process writes.
        state: publishes what is known of the run; called after something was sent.
        leads: whether others hear from this process who owns the run and what is asked of it. If not, it asks less often and
            brings nothing: several hundred workers would ask several hundred times a second.

    Raises:
        InfrastructureError: at the end the store failed for longer than `mirror.patience`; an error of the block goes first.
    """
    if mirror is None or mirror.followed:
        yield
        return
    own = _Courier(mirror, [_Log(path) for path in logs], state, leads)
    mirror.followed = True
    own.thread.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        own.over.set()
        own.thread.join()
        mirror.followed = False
        if failed:
            with contextlib.suppress(IptError, OSError):
                own.turn(everything=True)
        else:
            mirror.insist(lambda: own.turn(everything=True))


class _Courier:
    def __init__(self, mirror: Mirror, logs: list["_Log"], state: Callable[[], object], leads: bool):
        self.mirror, self.logs, self.state, self.leads = mirror, logs, state, leads
        self.over = threading.Event()
        self.sent = float("-inf")
        self.thread = threading.Thread(target=self._go, name="ipt-courier", daemon=True)

    def _go(self) -> None:
        for number in itertools.count():
            if self.over.wait(LOOK_SECONDS):
                return
            try:
                if self.leads or number % SELDOM == 0:
                    self.mirror.look()
                self.turn()
            except (IptError, OSError) as error:  # it goes again soon; who must be sure of something hears of it there
                log.warning("%s", error)

    def turn(self, everything: bool = False) -> None:
        """Send what is due."""
        now = time.monotonic()
        due = everything or now - self.sent >= SEND_SECONDS
        news = self.mirror.send(("events", "metrics") if due else ("events",))
        for each in self.logs:
            each.send(self.mirror, now, everything)
        if due and self.leads and not everything:
            gather(self.mirror, now=True)
        if news or everything:
            self.state()
        if due:
            self.sent = now


@dataclass
class _Log:
    path: Path
    size: int = 0
    sent: float = float("-inf")

    def send(self, mirror: Mirror, now: float, everything: bool) -> None:
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size == self.size or not (everything or now - self.sent >= max(LOG_SECONDS, size / LOG_RATE)):
            return
        data = self.path.read_bytes()
        mirror.remote.put(self.path.relative_to(mirror.folder).as_posix(), data)
        self.size, self.sent = len(data), now
