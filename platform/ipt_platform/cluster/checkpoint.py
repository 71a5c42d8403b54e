"""Ask a run that another process leads to commit a checkpoint and go on."""

from collections.abc import Set
from dataclasses import dataclass

from ipt_platform.cluster.steer import check_running
from ipt_platform.errors import RefusedError, StillRunningError
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.waiting import Patience, ended
from ipt_platform.spec.words import LEARNING

_WITHOUT = {
    "evaluate": "an evaluation, which has no checkpoints",
    "restore": "a job that restores pictures, each of which is kept as soon as it is done",
    "tune": "a search: ask one of its trials, which are runs in {members}",
    "analyze": "an analysis: ask one of its trainings, which are runs in {members}",
}


@dataclass(frozen=True)
class Wanted:
    """A checkpoint that a run was asked for.

    Attributes:
        run: the run.
        attempt: who was asked.
        leader: the process that leads it.
        who: asked, for people.
        before: attempt and step of each checkpoint that was there.
    """

    run: RunDir
    attempt: int
    leader: Process | None
    who: str
    before: Set[tuple[int, int]]


def ask_checkpoint(run: RunDir, who: str) -> Wanted:
    """Ask the attempt that owns a run to commit a checkpoint after its next report (`train.log_every`), and to go on.

    Args:
        run: the run.
        who: asks, for people.

    Raises:
        RefusedError: it is not running, or has no checkpoints.
    """
    status = check_running(run)
    if status.kind not in LEARNING:
        raise RefusedError(
            f"run {run.id} is " + _WITHOUT.get(status.kind, "of a kind without checkpoints").format(members=run.members)
        )
    return _ask(run, who, _committed(run))


def wait_for_checkpoint(wanted: Wanted, patience: Patience) -> int:
    """Wait until a run has committed what it was asked for; whoever takes the place of lost workers is asked too.

    Returns:
        The steps done in the newest checkpoint that has come since.

    Raises:
        RefusedError: the run ended without one, or was submitted again meanwhile.
        StillRunningError: patience came to an end.
    """
    run = wanted.run
    while True:
        found, current = ended(run), run.current_attempt()  # before the events: what they say last came before the end
        if new := _committed(run) - wanted.before:
            return max(new)[1]
        leader = run.attempt(current).process
        if found or (current != wanted.attempt and leader != wanted.leader):
            what = f"is {found.state}: {found.status.reason}" if found else f"was submitted again, as attempt {current}"
            raise RefusedError(f"run {run.id} was asked for a checkpoint and committed none: it {what}")
        if current != wanted.attempt:
            wanted = _ask(run, wanted.who, wanted.before)
        if not patience.pause():
            raise StillRunningError(
                f"run {run.id} has been asked for a checkpoint, and has committed none within {patience.seconds:g} s; "
                "it will after its next report (train.log_every)"
            )


def _ask(run: RunDir, who: str, before: Set[tuple[int, int]]) -> Wanted:
    attempt = run.current_attempt()
    append_event(run, "checkpoint-requested", attempt, reason=f"a checkpoint was asked for by {who}")
    attempt = run.request_checkpoint()
    return Wanted(run, attempt, run.attempt(attempt).process, who, before)


def _committed(run: RunDir) -> set[tuple[int, int]]:
    return {(event["attempt"], event["step"]) for event in read_events(run) if event["type"] == "checkpoint"}
