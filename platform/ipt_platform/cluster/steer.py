"""Stop a run that another process leads: after a checkpoint, or at once."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ipt_platform.cluster.jobs import Jobs
from ipt_platform.cluster.remote import check_over
from ipt_platform.cluster.target import ADDRESS_VARIABLE, Target, at_address, find_target
from ipt_platform.errors import (
    ExitCode,
    InfrastructureError,
    NotFoundError,
    RefusedError,
    SpecError,
    StillRunningError,
    UsageError,
)
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status, ending_of, newest_commit, run_status
from ipt_platform.observe.storage import list_runs
from ipt_platform.observe.submitted import Submitted, submitted
from ipt_platform.observe.waiting import Ended, Patience, ended, settled

NOW_SECONDS = 60.0
"""How long a process may take to end when it is told to end at once; most of it goes into ending Ray."""

_ASK_SECONDS = 10.0  # between two questions to a cluster about a run that it has not begun
_HEARD_SECONDS = 5.0  # after which another signal follows although nothing says that the one before was heard


@dataclass(frozen=True)
class Asked:
    """A run that was asked to stop: the attempt, the process that leads it, and the reason that it was given."""

    run: RunDir
    attempt: int
    leader: Process | None
    reason: str


def target_of(place: Submitted) -> Target:
    """The cluster that a run was submitted to.

    Raises:
        NotFoundError, SpecError, UsageError: as `find_target`.
    """
    target = at_address(place.address) if place.cluster == ADDRESS_VARIABLE else find_target(place.cluster)
    assert target is not None  # it was named
    return target


def check_running(run: RunDir) -> Status:
    """The status of a run that is running.

    Raises:
        RefusedError: it is not; the message says what it is.
    """
    status = settled(run)
    if status.state == "created" and (place := submitted(run)):
        raise RefusedError(
            f"run {run.id} has not begun: cluster {place.cluster} has it as {place.id}; "
            f"`ipt-platform cancel {run.place} --now` takes it back"
        )
    if status.state != "running":
        raise RefusedError(f"run {run.id} is not running, it is {status.state}: {status.reason}")
    return status


def cancel(run: RunDir, who: str) -> Asked:
    """Ask the attempt that owns a run to commit a checkpoint and stop; who asks twice asks once.

    Args:
        run: the run.
        who: asks, for people.

    Raises:
        RefusedError: it is not running; or it is an evaluation, which cannot stop by itself.
    """
    status = check_running(run)
    if status.kind == "evaluate":
        raise RefusedError(
            f"run {run.id} is an evaluation, which has no checkpoints: `ipt-platform cancel {run.place} --now` ends it"
        )
    return _ask(run, f"cancelled by {who}")


def wait_for_stop(asked: Asked, patience: Patience) -> Ended:
    """Wait until a run that was asked to stop has ended; whoever takes the place of lost workers is asked too.

    Returns:
        How it ended: it may also have finished or failed before it heard, or its leader may have died.

    Raises:
        RefusedError: it was submitted again meanwhile.
        StillRunningError: patience came to an end.
    """
    run = asked.run
    while True:
        found, current = ended(run), run.current_attempt()
        leader = run.attempt(current).process
        if current != asked.attempt and leader != asked.leader:
            raise RefusedError(
                f"run {run.id} was submitted again meanwhile: {leader or 'another process'} leads attempt {current}; "
                "cancel it again to stop that one"
            )
        if found:
            return found
        if current != asked.attempt:
            asked = _ask(run, asked.reason)
        if not patience.pause():
            raise StillRunningError(
                f"run {run.id} has been asked to stop, and has not done so within {patience.seconds:g} s; "
                f"`ipt-platform wait {run.place}` waits on, "
                f"`ipt-platform cancel {run.place} --now` ends it without a checkpoint"
            )


def end_now(run: RunDir, who: str, patience: Patience) -> Ended:
    """End a run at once, without a checkpoint; what was committed stands.

    Args:
        run: the run.
        who: asks, for people.
        patience: how long its leading process may take to end; NOW_SECONDS suits.

    Raises:
        RefusedError: it is not running; or it is led from another machine that is no cluster's, by another user, or by a search
            or an analysis.
        InfrastructureError: its leading process does not end, or its cluster does not answer.
    """
    waiting = settled(run).state == "created" and submitted(run)
    if waiting:
        return _end_there(run, who, waiting, patience)
    status = check_running(run)
    leader = run.attempt(status.attempt).process
    if leader is None or leader.alive() is None:
        if place := submitted(run):
            return _end_there(run, who, place, patience)
        where = f"led by {leader}, which is not to be seen from here" if leader else "led by a process that was not recorded"
        raise RefusedError(
            f"run {run.id} is {where}: give the command there, or `ipt-platform cancel {run.place}`, which works from anywhere"
        )
    if whole := _whole(run, leader):
        raise RefusedError(
            f"run {run.id} is one of the jobs of {whole.id}, which would end too: "
            f"`ipt-platform cancel {whole.path} --now` does so"
        )
    append_event(run, "warning", status.attempt, reason=f"{who} has it ended at once")
    _end_process(run, status.attempt, leader, patience)
    found = ended(run)
    if not found:  # it was led by several, or somebody submitted it again at this moment
        now = settled(run)
        raise RefusedError(f"{leader} has ended, but run {run.id} is {now.state}: {now.reason}")
    return found


class Unbegun:
    """Asks the cluster from time to time about a run that it has not begun: what ends before leaves no word in the run's files.

    Args:
        run: the run.
        clock: seconds.
    """

    def __init__(self, run: RunDir, clock: Callable[[], float] = time.monotonic):
        self.run, self.clock, self.due = run, clock, float("-inf")

    def __call__(self) -> None:
        """Ask, if it is time to.

        Raises:
            NotFoundError: the cluster was started anew and knows nothing of it.
            IptError: as `cluster.remote.check_over`, where the cluster is done with it.
        """
        if self.clock() < self.due or settled(self.run).state != "created" or not (place := submitted(self.run)):
            return
        self.due = self.clock() + _ASK_SECONDS
        # Who cannot ask the cluster, or not now, goes by the files.
        try:
            target = target_of(place)
        except (NotFoundError, SpecError, UsageError):
            return
        jobs = Jobs(target)
        try:
            found = jobs.find(place.id)
        except (RefusedError, InfrastructureError):
            return
        if found.over and settled(self.run).state == "created":
            check_over(self.run, target, found, jobs)


def _end_there(run: RunDir, who: str, place: Submitted, patience: Patience) -> Ended:
    """End at once what a cluster does for a run, also what it has not begun, and write down that it was ended."""
    jobs = Jobs(target_of(place))
    jobs.stop(place.id)
    attempt = run.current_attempt()
    told = f"cluster {place.cluster} was told to drop {place.id}"
    append_event(run, "warning", attempt, reason=f"{told} by {who}")
    if not attempt:  # Ray drops what it has not begun when its turn comes, and not before
        return Ended(replace(settled(run), reason=told), ExitCode.OK)
    while not jobs.find(place.id).over:
        if not patience.pause():
            raise InfrastructureError(f"cluster {place.cluster} does not end {place.id}; see `ipt-platform cluster status`")
    with contextlib.suppress(RefusedError), run.fence(attempt)():
        if ending_of(run, attempt) is None:
            reason = f"ended at once on cluster {place.cluster}"
            append_event(run, "cancelled", attempt, reason=reason, exit_code=ExitCode.CANCELLED)
    found = ended(run)
    assert found is not None  # it has an ending now, its own or this one
    return found


def committed(run: RunDir) -> dict[str, int]:
    """The newest committed step of a run by its id; of a search or an analysis those of its jobs that were cut off."""
    members = [each for each in list_runs(run.members) if run_status(each, quick=True).state == "cancelled"]
    return {each.id: step for each in (run, *members) if (step := newest_commit(each)) is not None}


def _ask(run: RunDir, reason: str) -> Asked:
    attempt = run.current_attempt()
    before = run.stop_requested(attempt)
    if before is None:
        append_event(run, "stop-requested", attempt, reason=reason)  # before the run hears and writes how it ended
        attempt = run.request_stop(reason)
    return Asked(run, attempt, run.attempt(attempt).process, before or reason)


def _whole(run: RunDir, leader: Process) -> RunDir | None:
    """The search or analysis that this process leads and whose job the run is; None if the run is its own."""
    whole = RunDir(run.path.absolute().parent.parent)
    if whole.members != run.path.absolute().parent:
        return None
    return whole if whole.attempt(whole.current_attempt()).process == leader else None


def _end_process(run: RunDir, attempt: int, leader: Process, patience: Patience) -> None:
    """Send SIGTERM, and a second one once it was heard: `cluster.stop` asks for a checkpoint at the first, then ends all.

    Signals that come before the one ahead of them was heard count as one, so more follow while the process lives.
    """
    told, heard, due = _requests(run, attempt), False, 0.0
    with _handle_of(leader) as handle:
        while leader.alive():
            news = not heard and _requests(run, attempt) > told
            heard = heard or news
            if news or time.monotonic() >= due:
                _tell(handle, leader)
                due = time.monotonic() + _HEARD_SECONDS
            if not patience.pause():
                raise InfrastructureError(
                    f"{leader}, which leads run {run.id}, does not end; `kill -9 {leader.pid}` ends it, "
                    "and what was committed stands"
                )


def _requests(run: RunDir, attempt: int) -> int:
    """How often an attempt was asked to stop."""
    return sum(event["type"] == "stop-requested" and event["attempt"] == attempt for event in read_events(run))


@contextlib.contextmanager
def _handle_of(process: Process) -> Iterator[int | None]:
    """What stands for a process, and for no later one with its number; None: it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if process.alive() else None
    finally:
        os.close(handle)


def _tell(handle: int | None, process: Process) -> None:
    """Send SIGTERM to a process unless it has ended.

    Raises:
        RefusedError: it is somebody else's.
    """
    if handle is None:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise RefusedError(f"{process} belongs to another user: ask them, or leave --now out") from error
