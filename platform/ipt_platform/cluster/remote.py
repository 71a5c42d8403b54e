"""A run on a cluster: submitted through Ray's Jobs API, followed through its files, and going on when nobody follows.

The cluster runs `lead.py` on the run, which both sides must see: on S3, or in a shared folder of the same name. That does what
`submit` does here, so nothing of a run depends on where it is led from.
"""

import secrets
import shlex
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipt_platform.cluster.driver import ERRORS
from ipt_platform.cluster.jobs import Jobs, Submission
from ipt_platform.cluster.stop import Stop, listening, name_of
from ipt_platform.cluster.target import Target
from ipt_platform.errors import CancelledRunError, ExitCode, InfrastructureError, NotFoundError, RefusedError
from ipt_platform.evaluate.report import read_report
from ipt_platform.observe.machine import user_name
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import ending_of, run_status
from ipt_platform.observe.submitted import Submitted, keep_submitted, submitted
from ipt_platform.spec.job import AnyJob, EvaluateJob, RestoreJob

Watch = Callable[[Callable[[float], bool]], None]

LOOK_SECONDS = 2.0
"""Between two questions to the cluster; the run's files are looked at more often, for they cost it nothing."""
SILENT_SECONDS = 120.0
"""For which a cluster that does not answer is waited for; a laptop may sleep, and a head may be started anew."""


def submit_run(job: AnyJob, run: RunDir, target: Target, base: Path) -> Submitted:
    """Let a cluster bring a run to its end.

    Args:
        job: the resolved job.
        run: its run, as `cluster.submit.prepare_run` left it.
        target: the cluster.
        base: what relative paths of the job are relative to, there as here.

    Raises:
        RefusedError: the run is submitted to a cluster already, and not over there; or the job would write elsewhere.
        InfrastructureError: as `Jobs`.
    """
    check_written(job, base)
    jobs = Jobs(target)
    before = submitted(run)
    if before and before.address == target.address and (known := _find(jobs, before.id)) and not known.over:
        raise RefusedError(
            f"run {run.id} is submitted to cluster {target.name} already, as {before.id} ({known.state.lower()}); "
            f"`ipt-platform logs {run.place} -f` follows it, `ipt-platform cancel {run.place}` ends it"
        )
    owner = f"{user_name()}@{socket.gethostname()}"
    own = Submitted(target.name, target.address, _identity(run), owner)
    place = run.place if run.mirror else str(run.path.absolute())
    words = ["python", "-P", "-m", "ipt_platform.cluster.lead", place]
    elsewhere = (
        " 2>/dev/null || cd" if run.mirror else ""
    )  # a job whose files are all on S3 needs no folder that both sides see
    jobs.submit(
        own.id,
        f"cd {shlex.quote(str(base.absolute()))}{elsewhere} && exec {shlex.join(words)}",
        {"run": run.id, "path": place, "owner": owner, "project": target.entry.project or ""},
        # What measures does so in the command itself; everything else asks Ray for what it takes.
        cpus=1 if isinstance(job, EvaluateJob) else 0,
    )
    keep_submitted(run, own)
    return own


def check_written(job: AnyJob, base: Path) -> None:
    """On a cluster, which is everybody's, a job writes to its storage, below the folder that it came from, and to S3 alone.

    Raises:
        RefusedError: it would write elsewhere.
    """
    if not isinstance(job, RestoreJob) or "://" in job.output:
        return
    folders = [each for each in (job.storage, "") if "://" not in each]
    place, allowed = (base / job.output).resolve(), [(base / each).resolve() for each in folders]
    if not any(place.is_relative_to(each) for each in allowed):
        raise RefusedError(
            f"output: {place} is not below {' nor below '.join(map(str, allowed))}; on a cluster a job writes to its storage, "
            "below the folder where it is submitted, and to S3 alone"
        )


def follow(run: RunDir, target: Target, own: Submitted, watch: Watch) -> dict[str, Any]:
    """Follow a run on a cluster to its end.

    Returns:
        The content of report.json.

    Raises:
        CancelledRunError: it was cancelled; or a signal ended the following, and the run goes on.
        InfrastructureError: the cluster does not answer any more, or does not see the run's folder.
        IptError: as the run ended.
    """
    follower = _Follower(Jobs(target), own)
    stop = Stop(run, lambda: None, gently=False)
    with listening(stop):
        watch(lambda seconds: follower.over(seconds) or bool(stop.heard))
    if not follower.last.over:
        raise CancelledRunError(
            f"{name_of(stop.heard[-1])} ended the following; run {run.id} goes on on cluster {target.name}: "
            f"`ipt-platform logs {run.place} -f` follows it, `ipt-platform cancel {run.place}` ends it"
        )
    check_over(run, target, follower.last, follower.jobs)
    run.fetch()
    return read_report(run.report)


class _Follower:
    """Asks the cluster from time to time how a submission gets on."""

    def __init__(self, jobs: Jobs, own: Submitted, clock: Callable[[], float] = time.monotonic):
        self.jobs, self.own, self.clock = jobs, own, clock
        self.last = Submission(own.id, "PENDING")
        self.asked = self.answered = clock()

    def over(self, seconds: float) -> bool:
        """Wait so many seconds; whether the submission is over."""
        time.sleep(seconds)
        if self.clock() - self.asked < LOOK_SECONDS:
            return False
        self.asked = self.clock()
        try:
            self.last = self.jobs.find(self.own.id)
        except InfrastructureError:
            if self.clock() - self.answered > SILENT_SECONDS:
                raise
        else:
            self.answered = self.clock()
        return self.last.over


def check_over(run: RunDir, target: Target, over: Submission, jobs: Jobs) -> None:
    """Raise what a submission that is over ended with, unless it was done.

    Raises:
        IptError: as the run ended.
        InfrastructureError: it began no attempt: the cluster does not see the run's folder, or cannot run the platform.
    """
    now = run_status(run)
    if over.state == "SUCCEEDED" and now.state == "finished":
        return
    began = now.attempt >= _first_attempt(over.id)
    error = ERRORS.get(over.exit_code) if over.exit_code is not None else None
    if error and began and ending_of(run, now.attempt):
        raise error(now.reason)
    if over.state == "STOPPED":
        reason = now.reason if began else "it had not begun"
        raise CancelledRunError(f"run {run.id} was ended at once on cluster {target.name}; {reason}")
    if over.exit_code in (ExitCode.USAGE, ExitCode.NOT_FOUND):  # of a shell that finds no folder, and of `lead` without a run
        error = None
    last = " / ".join(line.strip() for line in jobs.log(over.id).splitlines()[-6:] if line.strip())
    shared = f"; does it see {run.path.absolute()}? A run's folder must be shared with its cluster"
    hint = "" if began or error or run.mirror else shared
    raise (error or InfrastructureError)(f"cluster {target.name}: {over.id} {over.state.lower()}: {last or over.message}{hint}")


def _identity(run: RunDir) -> str:
    """Ray's name of a submission of a run."""
    return f"{run.id}-{run.current_attempt() + 1}-{secrets.token_hex(3)}"


def _first_attempt(identity: str) -> int:
    """The first attempt that this submission can have begun."""
    return int(identity.rsplit("-", 2)[1])


def _find(jobs: Jobs, identity: str) -> Submission | None:
    try:
        return jobs.find(identity)
    except NotFoundError:
        return None
