"""Who is told of a run while this process leads it: the trackers that its job names, and the hooks of the configuration."""

import contextlib
from collections.abc import Iterator
from typing import Any

from ipt_platform.cluster.target import read_config
from ipt_platform.notify.hooks import Hook, hook_of
from ipt_platform.notify.notifier import Notifier
from ipt_platform.observe.feed import Feed, feeding
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status, run_status
from ipt_platform.spec.job import AnyJob
from ipt_platform.track.trackers import check_trackers, trackers_of


def check_told(job: AnyJob) -> None:
    """That whoever is to be told of a job can be, before it begins.

    Raises:
        UsageError: a tracker's package or address is missing; the secret of a hook is no key, or others can read it.
        NotFoundError: the secret of a hook is not where it should be.
        SpecError: the configuration file is wrong.
    """
    check_trackers(job)
    hooks()


def hooks() -> list[Hook]:
    """The hooks of the configuration file.

    Raises:
        NotFoundError, SpecError, UsageError: as `check_told`.
    """
    return [hook_of(name, entry) for name, entry in read_config().notify.items()]


@contextlib.contextmanager
def told(job: AnyJob, run: RunDir) -> Iterator[None]:
    """Tell of a run from now until its end is told.

    Args:
        job: what it does.
        run: the run, before its next attempt.

    Raises:
        NotFoundError, SpecError, UsageError: as `check_told`, before anything was begun.
    """
    with feeding(run, [*trackers_of(run, job), *notifiers(run)]):
        yield


def notifiers(run: RunDir, since: int | None = None) -> list[Feed]:
    """What tells the hooks of a run.

    Args:
        run: the run.
        since: the first attempt that a hook is told of which knows nothing of the run; by default the next one.
    """
    found = hooks()
    if not found:
        return []
    status = run_status(run)
    return [Notifier(run, hook, status.attempt + 1 if since is None else since, _cut_off(status)) for hook in found]


def _cut_off(status: Status) -> dict[str, Any] | None:
    """That the newest attempt was cut off, which no file says."""
    if status.state != "interrupted":
        return None
    return {"type": "interrupted", "attempt": status.attempt, "time": status.updated, "reason": status.reason}
