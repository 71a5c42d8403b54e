"""What a cluster runs to bring a run to its end: `submit` without anybody who watches.

    python -P -m ipt_platform.cluster.lead RUN

in the folder that relative paths of the job are relative to, where RUN is the run's folder or its URL. Ends with a code of
`errors.ExitCode`; on standard output stands what a person would have been told.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ipt_platform.cluster.registered import register_packs
from ipt_platform.cluster.submit import resume_run, submit, tell_unbegun
from ipt_platform.errors import CancelledRunError, IptError, NotFoundError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import is_remote, is_run, run_at


def main() -> None:
    """Lead the run that the command line names."""
    signal.signal(signal.SIGTERM, _stopped)
    run, before = None, 0
    try:
        run = _found(sys.argv[1])
        before = run.current_attempt()
        job = resume_run(run, Path())
        submit(job, run, _until, Path())
        register_packs(job, run, Path())
    except IptError as error:
        sys.stdout.write(f"{error}\n")
        if run:
            tell_unbegun(run, before, error)
        sys.exit(error.exit_code)


def _found(place: str) -> RunDir:
    if is_remote(place):
        storage, _, run_id = place.rpartition("/")
        return run_at(Path(run_id), storage)
    run = RunDir(Path(place))
    if not is_run(run.path):
        raise NotFoundError(f"{run.path} is no folder of a run on this machine; a run's folder must be shared with its cluster")
    return run


def _until(over: Callable[[float], bool]) -> None:
    while not over(0.5):
        pass


def _stopped(number: int, frame: object) -> None:
    raise CancelledRunError("stopped by SIGTERM")


if __name__ == "__main__":
    main()
