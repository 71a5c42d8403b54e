"""The process that drives a run: connects to Ray, trains or restores, says how it ended.

    python -P -m ipt_platform.cluster.drive LINK RUN BASE LEADER FOLDER

Started by `driver.py` in a session of its own, at the other end of the socket LINK. Nobody interrupts it: it is asked to stop
through the run's files, or killed with everything that it has started. It does the same itself once the other end is gone.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipt_platform.cluster.driver import end_session
from ipt_platform.cluster.folder import remove
from ipt_platform.cluster.local import Slots, connected
from ipt_platform.cluster.measure import measure
from ipt_platform.cluster.restore import restore_all
from ipt_platform.errors import IptError, storage_failed
from ipt_platform.observe.process import Process, children
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import EvaluateJob, LearningJob, RestoreJob
from ipt_platform.spec.load import load_job
from ipt_platform.train.driver import run_training
from ipt_platform.train.setup import ahead_of

SERVERS = ("gcs_server", "raylet")
"""What of an embedded Ray must live; names of processes."""


@dataclass
class Link:
    """What the other end is told: one JSON object a line."""

    end: socket.socket
    ended: bool = False

    def tell(self, **words: Any) -> None:
        """Send an object; nothing follows one that has an `exit_code`."""
        if not self.ended:
            self.ended = "exit_code" in words
            self.end.sendall(json.dumps(words).encode() + b"\n")


def main() -> None:
    """Drive a run to its end; see the module."""
    number, path, base, leader, folder = sys.argv[1:]
    link = Link(socket.socket(fileno=int(number)))
    link.end.set_inheritable(False)
    own = Path(folder) if folder else None
    threading.Thread(target=_end_with, args=(link.end, own), daemon=True).start()
    try:
        _drive(link, RunDir(Path(path)), Path(base), Process(**json.loads(leader)), own)
    except IptError as error:
        link.tell(exit_code=error.exit_code, message=str(error))
    except OSError as error:
        logging.getLogger(__name__).exception("storage failed")
        failure = storage_failed(error)
        link.tell(exit_code=failure.exit_code, message=str(failure))
    except Exception:
        link.tell(exit_code=1, message=traceback.format_exc())


def _drive(link: Link, run: RunDir, base: Path, leader: Process, folder: Path | None) -> None:
    job = load_job(run.job, base=base).job
    if isinstance(job, EvaluateJob):
        measure(job, run, base, leader)
        link.tell(exit_code=0)
        return
    log = run.logs(run.current_attempt() + 1, "driver")

    @contextlib.contextmanager
    def ray_of(slots: Slots) -> Iterator[None]:
        with connected(slots, log, folder):
            if folder:
                # Its own children: what a server starts has the server's name for a moment.
                link.tell(servers={name: pid for pid, name in children(os.getpid()).items() if name in SERVERS})
            try:
                yield
                link.tell(exit_code=0)
            except IptError as error:
                # Before Ray is shut down, which may take as long as it likes.
                link.tell(exit_code=error.exit_code, message=str(error))
                raise

    if isinstance(job, RestoreJob):
        restore_all(job, run, base, leader, ray_of)
        link.tell(exit_code=0)  # where nothing was missing, there was no Ray to tell it
    else:
        with ray_of(needed(job)):
            run_training(job, run, base, leader)


def needed(job: LearningJob) -> Slots:
    """What a job takes of a Ray."""
    cluster, data = job.cluster, job.data
    cpus, store = (data.cpus, ahead_of(job).store_bytes) if data.carrier == "ray" else (0, 0)
    return Slots(
        cpus=cluster.workers * (cluster.cpus_per_worker + cpus),
        gpus=cluster.workers * cluster.gpus_per_worker,
        store_bytes=cluster.workers * store,
    )


def _end_with(link: socket.socket, folder: Path | None) -> None:
    """Wait until the other end is gone, then end with all that this process has started."""
    while link.recv(1):
        pass
    end_session(os.getpid())
    if folder:
        remove(folder)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
