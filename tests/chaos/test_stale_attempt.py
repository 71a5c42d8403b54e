"""An attempt that was thought dead comes back: frozen while it writes a checkpoint, and thawed after another took over.

This file is also the program of an attempt: `python test_stale_attempt.py FOLDER` trains the job there to its end.
"""

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ipt_platform.checkpoint.files import list_checkpoints
from ipt_platform.data.carrier import local_stream
from ipt_platform.errors import ExitCode, IptError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import load_job
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

pytestmark = pytest.mark.slow

RUN = "stale"


def main(base: Path) -> None:
    """Train `base`/job.yaml as a new attempt of the run `RUN`."""
    torch.set_num_threads(1)
    job = load_job(base / "job.yaml", ["checkpoint.every=1"], base).job
    assert isinstance(job, TrainJob)
    run = create(base / "runs", RUN)
    try:
        Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), local_stream).train()
    except IptError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def attempt(base: Path) -> psutil.Popen:
    return psutil.Popen([sys.executable, __file__, str(base)], stderr=subprocess.PIPE, text=True)


def freeze_while_it_writes(process: psutil.Popen, run: RunDir, after: int) -> None:
    """Stop the process in the middle of a commit, outside the moment in which it holds the lock."""
    while process.poll() is None:
        if len(list(run.checkpoints.glob("step-*"))) >= after and list(run.checkpoints.glob(".tmp-step-*")):
            process.send_signal(signal.SIGSTOP)
            while process.status() != psutil.STATUS_STOPPED:
                time.sleep(0.001)
            if list(run.checkpoints.glob(".tmp-step-*")) and is_free(run.lock):
                return
            process.send_signal(signal.SIGCONT)
    pytest.fail(f"it was never seen writing a checkpoint: {process.stderr.read()}")


def is_free(path: Path) -> bool:
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_stale_attempt_commits_nothing(workplace):
    run = workplace.run(RUN)
    stale = attempt(workplace.folder)
    try:
        freeze_while_it_writes(stale, run, after=2)
        newest = list_checkpoints(run.path)[0].step
        with attempt(workplace.folder) as second:
            assert second.wait(120) == ExitCode.OK, second.stderr.read()
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}

        stale.send_signal(signal.SIGCONT)

        assert stale.wait(60) == 1
        refused = f"RefusedError: attempt 1 no longer owns run {RUN}: attempt 2 was started by process "
        assert stale.stderr.read().startswith(refused)
    finally:
        if stale.poll() is None:
            stale.kill()
        stale.stderr.close()
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.rglob("*") if path.is_file()}
    assert after == before
    assert [event["step"] for event in read_events(run) if event["type"] == "resumed"] == [newest]
    assert read_events(run)[-1]["type"] == "finished"
    assert {line["attempt"] for line in read_metrics(run) if line["step"] > newest + 1} == {2}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
