"""Let a run go on without anybody who watches: on the cluster that it was submitted to, or led by a process of this machine."""

import os
import subprocess
import sys
from pathlib import Path

from ipt_platform.cluster.remote import submit_run
from ipt_platform.cluster.steer import target_of
from ipt_platform.cluster.submit import resume_run
from ipt_platform.cluster.target import ADDRESS_VARIABLE
from ipt_platform.errors import RefusedError
from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.submitted import submitted


def resume(run: RunDir, who: str, base: Path = Path()) -> None:
    """Go on with a run where it stopped, as its own resolved job says; returns once that has been set going.

    Args:
        run: the run.
        who: asks, for people; the event `resume-requested` says so.
        base: what relative paths in its job are relative to, as when it was submitted.

    Raises:
        RefusedError: it is running, or finished.
        NotFoundError, SpecError, InfrastructureError: as `cluster.submit.resume_run` and `cluster.remote.submit_run`.
    """
    if run_status(run).state == "finished":
        raise RefusedError(f"run {run.id} is finished; there is nothing left to do")
    job = resume_run(run, base)
    place = submitted(run)
    target = target_of(place) if place else None
    append_event(run, "resume-requested", run.current_attempt(), reason=f"resumed by {who}")
    if target:
        submit_run(job, run, target, base)
    else:
        _lead_here(run, base)


def _lead_here(run: RunDir, base: Path) -> None:
    """A process of its own session, which lives on when who started it ends; what it says goes into the run's logs."""
    log = run.logs(run.current_attempt() + 1, "lead")
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS_VARIABLE}
    place = run.place if run.mirror else str(run.path.absolute())
    with log.open("ab") as out:
        subprocess.Popen(  # noqa: S603 - this interpreter, and words of our own
            [sys.executable, "-P", "-m", "ipt_platform.cluster.lead", place],
            cwd=base,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
