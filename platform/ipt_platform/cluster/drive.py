"""The process that drives a run: connects to Ray, trains or restores, says how it ended.

    python -P -m ipt_platform.cluster.drive LINK RUN BASE LEADER FOLDER

Started by `driver.py` in a session of its own, at the other end of the socket LINK. Nobody interrupts it: it is asked to stop
through the run's files, or killed with everything that it has started. It does the same itself once the other end is gone.

What a job needs is imported where it is known what kind of job it is: the user waits for it.
"""

import contextlib
import importlib
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
from ipt_platform.errors import IptError, storage_failed
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import append_event
from ipt_platform.observe.process import Process, children
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import AnalyzeJob, EvaluateJob, RestoreJob, TuneJob
from ipt_platform.spec.load import load_job
from ipt_platform.train.slots import Slots, lacking, needed

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
        run = RunDir(Path(path))
        with courier(run.mirror):
            _drive(link, run, Path(base), Process(**json.loads(leader)), own)
    except Exception as error:
        _tell_failure(link, error)


def _tell_failure(link: Link, error: Exception) -> None:
    """Say what went wrong; only the first of several calls is heard."""
    match error:
        case IptError():
            link.tell(exit_code=error.exit_code, message=str(error))
        case OSError():
            logging.getLogger(__name__).error("storage failed", exc_info=error)
            failure = storage_failed(error)
            link.tell(exit_code=failure.exit_code, message=str(failure))
        case _:
            link.tell(exit_code=1, message="".join(traceback.format_exception(error)))


def _drive(link: Link, run: RunDir, base: Path, leader: Process, folder: Path | None) -> None:
    loaded = load_job(run.job, base=base, tasks=run.tasks)
    job = loaded.job
    if isinstance(job, EvaluateJob):
        from ipt_platform.cluster.measure import measure

        measure(job, run, base, leader)
        link.tell(exit_code=0)
        return
    import ray

    from ipt_platform.cluster.exporter import exported
    from ipt_platform.cluster.local import connected

    log = run.logs(run.current_attempt() + 1, "driver")

    @contextlib.contextmanager
    def ray_of(slots: Slots) -> Iterator[None]:
        with connected(slots, log, folder):
            if folder:
                # Its own children: what a server starts has the server's name for a moment.
                link.tell(servers={name: pid for pid, name in children(os.getpid()).items() if name in SERVERS})
            elif short := lacking(slots, ray.cluster_resources()):
                append_event(run, "warning", run.current_attempt(), reason=f"the cluster is too small for the job: {short}")
            try:
                with exported(run, embedded=folder is not None):
                    yield
                link.tell(exit_code=0)
            except Exception as error:
                # Before Ray is shut down, which may take as long as it likes, and whose end would be taken for the reason.
                _tell_failure(link, error)
                raise

    if isinstance(job, RestoreJob):
        from ipt_platform.cluster.restore import restore_all

        restore_all(job, run, base, leader, ray_of)
        link.tell(exit_code=0)  # where nothing was missing, there was no Ray to tell it
    elif isinstance(job, TuneJob):
        from ipt_platform.tune.search import search

        search(loaded, run, base, leader, ray_of)
    elif isinstance(job, AnalyzeJob):
        from ipt_platform.tune.analyze import analyze

        analyze(loaded, run, base, leader, ray_of)
        link.tell(exit_code=0)  # where nothing was trained, there was no Ray to tell it
    else:
        threading.Thread(target=_import_others, daemon=True).start()
        with ray_of(needed(job)):
            from ipt_platform.train.driver import run_training

            run_training(job, run, base, leader, alone=folder is not None)


def _import_others() -> None:
    """Import what Ray Train imports of others, while Ray starts on another core.

    Nothing of Ray's own: two threads that import its modules in different orders would see them half done. What fails here
    fails there again, and is told.
    """
    with contextlib.suppress(ImportError):
        for name in ("pandas", "pyarrow.fs"):
            importlib.import_module(name)


def _end_with(link: socket.socket, folder: Path | None) -> None:
    """Wait until the other end is gone, then end with all that this process has started."""
    with contextlib.suppress(OSError):  # ECONNRESET: it went without having read all that it was told
        while link.recv(1):
            pass
    end_session(os.getpid())
    if folder:
        remove(folder)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
