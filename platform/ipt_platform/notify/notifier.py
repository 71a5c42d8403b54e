"""The feed of a run's state changes to a hook: one message at a time, in the order of the events.

What became of each message stands in `notified.jsonl` of the run; so another process goes on behind the last one, and the file
of the events is all the queue there is.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import NotFoundError
from ipt_platform.notify.hooks import Hook
from ipt_platform.notify.message import Message, message_id, message_of
from ipt_platform.notify.post import post
from ipt_platform.observe.events import append_event, identity_of, utc_now
from ipt_platform.observe.feed import FeedError
from ipt_platform.observe.jsonl import Follower, append_line, read_lines
from ipt_platform.observe.rundir import RunDir

FILE = "notified.jsonl"
REACH = 1 << 18
"""Bytes of events that are read at a time."""

GIVE_UP_SECONDS = 6 * 3600.0
"""After which a message that a hook does not take is passed over, so that it hears of what followed."""


class Notifier:
    """The feed of one run to one hook.

    Args:
        run: the run.
        hook: who is told.
        since: the first attempt that a hook is told of which has never been told of this run.
        cut_off: the event `interrupted` of the attempt before, if that was.
        clock: seconds, for giving up.
    """

    rest = "ipt-platform hooks tell"

    def __init__(
        self,
        run: RunDir,
        hook: Hook,
        since: int = 1,
        cut_off: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.run, self.hook, self.clock = run, hook, clock
        self.since, self.cut_off = since, cut_off
        self._begun = False
        self._events = Follower(run.events)
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._over: set[str] = set()
        self._under_way: tuple[Message, float] | None = None

    @property
    def name(self) -> str:
        """Who is told, for people."""
        return f"hook {self.hook.name}"

    def turn(self, last: bool) -> None:
        """As `Feed.turn`.

        Raises:
            FeedError: the hook does not answer, or not now.
            OSError, IptError: the storage fails.
        """
        self.run.refresh(now=last)
        if not self._begun:
            self._begin()
        while self._waiting or self._more(last):
            event = self._waiting[0]
            if event["type"] in self.hook.on and event["attempt"] >= self.since:
                self._tell(event)
            self._waiting.popleft()

    def _begin(self) -> None:
        """See what the hook has been told."""
        path = self.run.path / FILE
        if mirror := self.run.mirror:
            with contextlib.suppress(NotFoundError):
                replace_file(path, max(mirror.remote.read(FILE), path.read_bytes() if path.is_file() else b"", key=len))
        own = [line for line in read_lines(path) if line.get("hook") == self.hook.name]
        known = [line["since"] for line in own if "since" in line]
        if known:
            self.since = known[0]
        else:
            self._note(since=self.since)
        self._over = {line["id"] for line in own if "id" in line}
        self._begun = True

    def _more(self, last: bool) -> bool:
        """Read the next events; whether there were some."""
        before = self._events.position
        for event in self._events.poll_objects(REACH):
            if event.keys() >= {"type", "attempt", "time"}:
                self._put_cut_off(event["attempt"])
                self._waiting.append(event)
        if last and self._events.position == before:
            self._put_cut_off(None)
        return bool(self._waiting) or self._events.position > before

    def _put_cut_off(self, attempt: int | None) -> None:
        """Put that an attempt was cut off before the first word of a later one; None: there will be none."""
        if self.cut_off and (attempt is None or attempt > self.cut_off["attempt"]):
            self._waiting.append(self.cut_off)
            self.cut_off = None

    def _tell(self, event: Mapping[str, Any]) -> None:
        if self._under_way is None:
            identity = identity_of(self.run)
            if message_id(identity, event) in self._over:
                return
            # Made once: a message says the same whenever it is sent again.
            self._under_way = message_of(self.run, identity, event), self.clock()
        message, began = self._under_way
        try:
            status: int | None = post(self.hook, message)
        except FeedError as error:
            if self.clock() - began < GIVE_UP_SECONDS:
                raise
            status, why = None, str(error)
        else:
            why = f"{self.hook.host} answers {status}"
        self._under_way = None
        taken = status is not None and 200 <= status < 300
        self._over.add(message.id)
        self._note(id=message.id, event=event["type"], attempt=event["attempt"], status=status, taken=taken)
        if not taken:
            reason = f"{self.name} did not take that attempt {event['attempt']} was {event['type']}: {why}"
            append_event(self.run, "warning", self.run.current_attempt(fresh=False), reason=reason)

    def _note(self, **what: Any) -> None:
        line = {"time": utc_now().isoformat(timespec="milliseconds"), "hook": self.hook.name, **what}
        append_line(self.run.path / FILE, line, sync=True)
        self.run.keep(self.run.path / FILE)
