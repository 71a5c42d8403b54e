"""The line to the exporter of metrics: a named actor of the cluster, which is told by calls that nobody waits for."""

import contextlib
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from ipt_platform.observe.teller import LostError, Report, Teller, Voice

NAME, NAMESPACE = "ipt-exporter", "ipt-platform"
"""Of the actor."""

WAIT_SECONDS = 1.0
"""How long an earlier message is waited for, by the thread that tells, before another one is sent."""


class ActorLine:
    """A line to an exporter (`observe.teller.Line`); one message is on its way at a time."""

    def __init__(self, exporter: Any):
        self.exporter = exporter
        self.sent: list[ray.ObjectRef] = []

    def send(self, reports: list[Report]) -> bool:
        """Send a message, unless the one before is not taken yet (`observe.teller.Line`)."""
        self.settle(WAIT_SECONDS)
        if self.sent:
            return False
        try:
            self.sent = [self.exporter.tell.remote(reports)]
        except RayError as error:
            raise _lost(error) from error
        return True

    def settle(self, seconds: float) -> None:
        """Wait for the message that is on its way (`observe.teller.Line`)."""
        if not self.sent:
            return
        taken, self.sent = ray.wait(self.sent, timeout=seconds)
        try:
            ray.get(taken)
        except RayError as error:
            raise _lost(error) from error


def find_exporter() -> ActorLine | None:
    """A line to the exporter of the cluster; None: it has none, or this process is not connected (any more)."""
    if not ray.is_initialized():  # else Ray would start one
        return None
    try:
        return ActorLine(ray.get_actor(NAME, NAMESPACE))
    except (ValueError, RayError):
        return None


def new_teller() -> Teller:
    """What tells the exporter of the cluster that this process is connected to."""
    return Teller(find_exporter)


@contextlib.contextmanager
def led(job: str, part: bool = False) -> Iterator[Voice]:
    """Tell that a run is led while the block runs, and that it is not any more; arguments and value as `Voice`."""
    voice = Voice(new_teller(), job, part)
    voice.set("ipt_train_running", 1)
    try:
        yield voice
    finally:
        voice.set("ipt_train_running", 0)
        voice.close()


def _lost(error: RayError) -> LostError:
    first = next(iter(str(error).splitlines()), type(error).__name__)
    return LostError(f"the exporter of metrics is gone, another one is looked for: {first}")
