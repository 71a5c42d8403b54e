"""The live line of a running job: one refreshing line on a terminal, only state changes elsewhere."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ipt_platform.cli.output import console, duration, printable, say
from ipt_platform.errors import IptError
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.rundir import RunDir


class LiveLine:
    """Shows how a run gets on, on stderr, so that stdout holds results only.

    with LiveLine(total_steps=2000) as live:
        live.show(metrics_line)
        live.event(event)
    """

    def __init__(self, total_steps: int, to: Console | None = None):
        self.total_steps = total_steps
        self.console = to or console(stderr=True)
        self._live = Live("", console=self.console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, line: dict[str, Any]) -> None:
        """Show a line of metrics.jsonl that says how far a run is; does nothing if this is no terminal."""
        if self.console.is_terminal and "steps" in line:
            self._live.update(Text(progress(line, self.total_steps), no_wrap=True, overflow="ellipsis"), refresh=True)

    def event(self, event: dict[str, Any]) -> None:
        """Print a state change; the live line stays below it."""
        say(self.console, change(event))


class RunWatch:
    """Feeds a live line with what a run writes into its files from now on."""

    def __init__(self, run: RunDir, live: LiveLine):
        self.run, self.live = run, live
        self._events = Follower(run.events, from_end=True)
        self._metrics = Follower(run.metrics, from_end=True)

    def poll(self) -> None:
        """Show what is new; call it about twice a second."""
        # S3 may be gone for a while; the next look shows what was missed. Where it lets us in no more, whoever leads says so.
        with contextlib.suppress(IptError):
            self.run.refresh()
        for event in self._events.poll_objects():
            self.live.event(event)
        if lines := [line for line in self._metrics.poll_objects() if "steps" in line]:
            self.live.show(revive(lines[-1]))

    def until(self, done: Callable[[float], bool], period: float = 0.5) -> None:
        """Poll until `done(period)` is true, which also waits (`threading.Event.wait` fits), and once more."""
        while not done(period):
            self.poll()
        self.poll()


def progress(line: dict[str, Any], total_steps: int) -> str:
    """How far a run is, in words: step, time left, images per second, loss per task, share of waiting for data."""
    total = line.get("steps", total_steps)
    step = line.get("step", 0)
    parts = [f"step {step}/{total} {step / total:4.0%}" if total else f"step {step}"]
    if line.get("eta_seconds") is not None:
        parts.append(f"ETA {duration(line['eta_seconds'])}")
    if line.get("images_per_second") is not None:
        parts.append(f"{line['images_per_second']:.1f} images/s")
    if "loss" in line:
        parts.append(" ".join(["loss", *(f"{task} {loss:.4f}" for task, loss in line["loss"].items())]))
    if line.get("data_wait_share") is not None:
        parts.append(f"data wait {line['data_wait_share']:.1%}")
    return printable("  ".join(parts))


def change(event: dict[str, Any]) -> str:
    """A state change in one line: what, at which step, why, and the numbers it carries."""
    words = [str(event.get("type", "event"))]
    if "step" in event:
        words.append(f"step {event['step']}")
    if event.get("attempt", 0) > 1:
        words.append(f"(attempt {event['attempt']})")
    hidden = {"time", "type", "attempt", "step", "reason"}
    details = [f"{key}={_value(value)}" for key, value in event.items() if key not in hidden and _plain(value)]
    text = " ".join([*words, *details])
    return f"{text}: {event['reason']}" if event.get("reason") else text


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _value(value: str | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
