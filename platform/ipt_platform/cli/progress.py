"""A progress bar for commands that go through many pictures."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ipt_platform.cli.output import console


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[float, float], None]]:
    """Yield what takes (done, total) and shows a bar on stderr; nothing at all where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
