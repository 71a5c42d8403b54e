"""The folder of a run: where each file lies, who owns the run now, and how to ask something of it.

<storage>/<run-id>/
  job.yaml   events.jsonl   metrics.jsonl   report.json   heartbeat.json
  stop.json  checkpoint.json   what is asked of the attempt that owns it
  submission.json            of a run that was submitted to a cluster
  attempts/<n>               one file per start of the run; the highest number owns the run
  attempts/.lock             held while something is made final, and while an attempt takes the run over
  logs/<attempt>/<rank>.log  samples/step-N/   checkpoints/step-N/
  tasks/<name>/<version>/    of the registered tasks of its job alone
  backbone/  start.safetensors  packs/<task>/   of a finetune alone
  beginning/                 of a training that begins with the weights of another
  runs/<run-id>/             of a search or an analysis: the runs of its jobs
  models.json                of a job that restores alone
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file, sync_folder, write_durable
from ipt_platform.observe.fence import Fence
from ipt_platform.observe.gather import fetch_logs, gather
from ipt_platform.observe.kept import fetch_kept, keep_given, keep_results
from ipt_platform.observe.lock import locked
from ipt_platform.observe.mirror import Mirror, mirror_of
from ipt_platform.observe.process import Process, this_process
from ipt_platform.observe.working import another_job, create_job


@dataclass(frozen=True)
class Attempt:
    """One start of a run: its number, when (UTC, ISO 8601), and the process that leads it (None: not recorded)."""

    number: int
    started: str = ""
    process: Process | None = None


@dataclass(frozen=True)
class RunDir:
    """Paths and ownership of one run; holds nothing but the path, so it can be sent to any process."""

    path: Path

    @property
    def id(self) -> str:
        """The run id: the name of the folder."""
        return self.path.name

    @property
    def job(self) -> Path:
        """The resolved job file."""
        return self.path / "job.yaml"

    @property
    def events(self) -> Path:
        """State changes, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def metrics(self) -> Path:
        """Reports of training and evaluation, one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        """The final numbers."""
        return self.path / "report.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints `step-N`."""
        return self.path / "checkpoints"

    @property
    def backbone(self) -> Path:
        """The backbone pack that a finetune trains on."""
        return self.path / "backbone"

    @property
    def tasks(self) -> Path:
        """The records of the registered tasks that its job was given with (`spec.registered`)."""
        return self.path / "tasks"

    @property
    def start(self) -> Path:
        """The bias from which those of a finetune begin, if it is not zero."""
        return self.path / "start.safetensors"

    @property
    def beginning(self) -> Path:
        """The backbone pack whose weights a training begins with, if they are not random."""
        return self.path / "beginning"

    @property
    def members(self) -> Path:
        """Folder of the runs of the jobs that a compound job is made of."""
        return self.path / "runs"

    @property
    def models(self) -> Path:
        """What a job that restores was submitted with (`restore.models`)."""
        return self.path / "models.json"

    def pack(self, task: str) -> Path:
        """The bias pack that a finetune leaves of a task."""
        return self.path / "packs" / task

    @property
    def attempts(self) -> Path:
        """Folder with one file per attempt."""
        return self.path / "attempts"

    @property
    def lock(self) -> Path:
        """What is locked while something is made final."""
        return self.attempts / ".lock"

    @property
    def stop(self) -> Path:
        """The request to stop, if there is one."""
        return self.path / "stop.json"

    @property
    def checkpoint_now(self) -> Path:
        """The request for a checkpoint, if there is one."""
        return self.path / "checkpoint.json"

    @property
    def submission(self) -> Path:
        """Where it was submitted to last, if that was a cluster (`cluster.remote`)."""
        return self.path / "submission.json"

    @property
    def heartbeat(self) -> Path:
        """The sign of life of the attempt that owns the run (`observe.heartbeat`)."""
        return self.path / "heartbeat.json"

    def logs(self, attempt: int, rank: int | str) -> Path:
        """The log of one process of an attempt: a rank, or a word such as "driver"; its folder is created."""
        path = self.path / "logs" / str(attempt) / f"{rank}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log_files(self, attempt: int) -> dict[str, Path]:
        """The logs that an attempt has written, by rank (or word), in the order of the ranks."""
        if self.mirror:
            fetch_logs(self.mirror, attempt)
        found = {path.stem: path for path in (self.path / "logs" / str(attempt)).glob("*.log")}
        return dict(sorted(found.items(), key=lambda item: (not item[0].isdigit(), item[0].zfill(9))))

    def samples(self, step: int) -> Path:
        """Folder of the pictures restored after `step` steps."""
        return self.path / "samples" / f"step-{step}"

    def new_attempt(self, process: Process | Mapping[str, Any] | None = None) -> int:
        """Take the run over: every older attempt is fenced off, and a request to stop it no longer counts.

        Two processes that ask at the same time get different numbers. An older attempt that is making something final at
        this moment is waited for.

        Args:
            process: who leads the attempt (`observe.process.this_process`, or its dictionary); this process by default.

        Returns:
            The number of the attempt, 1 for the first.

        Raises:
            InfrastructureError: as `observe.lock.locked`.
        """
        leader = process if isinstance(process, Process) else Process(**process) if process else this_process()
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        # Two that claim a number on S3 at once must not claim it in the same words.
        claim = {"claim": secrets.token_hex(8)} if self.mirror else {}
        data = json.dumps({"started": started, "process": asdict(leader), **claim}).encode() + b"\n"
        self.attempts.mkdir(parents=True, exist_ok=True)
        with locked(self.lock):
            if self.mirror:
                number = self.mirror.begin_attempt(data)
                replace_file(self.attempts / str(number), data)
                return number
            number = self.current_attempt() + 1
            write_durable(self.attempts / str(number), data)
            sync_folder(self.attempts)
        return number

    def current_attempt(self, fresh: bool = True) -> int:
        """The number of the newest attempt: the one that owns the run (0: never started).

        Args:
            fresh: of a run on S3: as it is now; else the answer may be some seconds old.
        """
        if self.mirror:
            return self.mirror.insist(partial(self.mirror.newest_attempt, fresh))
        if not self.attempts.is_dir():
            return 0
        return max((int(path.name) for path in self.attempts.iterdir() if path.name.isdecimal()), default=0)

    def attempt(self, number: int) -> Attempt:
        """What is known of an attempt; a file cut short by a kill gives the number alone."""
        file = self.attempts / str(number)
        if number and self.mirror and not file.is_file() and (data := self.mirror.attempt_file(number)):
            self.attempts.mkdir(parents=True, exist_ok=True)
            replace_file(file, data)
        try:
            value = json.loads(file.read_bytes())
            return Attempt(number, value["started"], Process(**value["process"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Attempt(number)

    def attempt_of(self, leader: Process, after: int, fresh: bool = True) -> int | None:
        """The newest attempt (see `current_attempt`), if this process leads it and its number is above `after`; else None."""
        number = self.current_attempt(fresh)
        return number if number > after and self.attempt(number).process == leader else None

    def fence(self, attempt: int, fresh: bool = True) -> Fence:
        """What an attempt makes final, it makes final inside `with run.fence(attempt)():`; see `Fence`."""
        return Fence(self, attempt, fresh)

    def request_stop(self, reason: str) -> int:
        """Ask the attempt that owns the run now to commit a checkpoint and stop.

        Args:
            reason: a sentence; it becomes the reason of the run's state.

        Returns:
            The attempt that was asked (0: none has started yet, nothing will stop).
        """
        return self._ask(self.stop, reason=reason)

    def stop_requested(self, attempt: int) -> str | None:
        """The reason why this attempt is asked to stop, or None; requests to earlier attempts do not count."""
        return self._asked(self.stop, attempt, "reason")

    def request_checkpoint(self) -> int:
        """Ask the attempt that owns the run now to commit a checkpoint and go on.

        Returns:
            The attempt that was asked (0: none has started yet).
        """
        return self._ask(self.checkpoint_now, request=secrets.token_hex(8))

    def checkpoint_requested(self, attempt: int) -> str | None:
        """What this attempt is asked for a checkpoint with, other words each time; None: it is not."""
        return self._asked(self.checkpoint_now, attempt, "request")

    def _ask(self, file: Path, **what: str) -> int:
        attempt = self.current_attempt()
        data = json.dumps({"attempt": attempt, **what}).encode() + b"\n"
        if self.mirror:
            self.mirror.ask(file.name, data)
        else:
            replace_file(file, data)
        return attempt

    def _asked(self, file: Path, attempt: int, what: str) -> str | None:
        try:
            data = self.mirror.asked(file.name) if self.mirror else file.read_bytes()
        except FileNotFoundError:
            return None
        if data is None:
            return None
        value = json.loads(data)
        return str(value[what]) if value["attempt"] == attempt else None

    # A run on S3 (`observe.mirror`); of any other run these do nothing.

    @property
    def mirror(self) -> Mirror | None:
        """The run on S3, if this is the working folder of one."""
        return mirror_of(self.path)

    @property
    def place(self) -> str:
        """Where people find the run: its URL or its folder."""
        return str(self.mirror.remote.root) if self.mirror else str(self.path)

    def refresh(self, now: bool = False) -> None:
        """Bring what others wrote into `events` and `metrics`; unless `now`, not if that was done a moment ago."""
        if mirror := self.mirror:
            gather(mirror, now)

    def keep(self, path: Path) -> None:
        """Send a file of the run that was just written."""
        if mirror := self.mirror:
            mirror.keep(path)

    def keep_given(self) -> None:
        """Send what the run was submitted with."""
        if mirror := self.mirror:
            keep_given(mirror.remote, self.path)

    def keep_results(self) -> None:
        """Send report and packs."""
        if mirror := self.mirror:
            mirror.insist(lambda: keep_results(mirror.remote, self.path))

    def fetch(self) -> None:
        """Bring what the run was given and what it left."""
        if mirror := self.mirror:
            fetch_kept(mirror.remote, self.path)

    def write_job(self, data: bytes) -> None:
        """Write the job of a new run; of two submissions of one id with different jobs, one comes first.

        Raises:
            RefusedError: there is another job already.
            InfrastructureError: as `observe.lock.locked`.
        """
        if mirror := self.mirror:
            create_job(mirror.about.storage, self.path, data)
            return
        self.attempts.mkdir(exist_ok=True)
        with locked(self.lock):
            if not self.job.exists():
                replace_file(self.job, data)
            elif self.job.read_bytes() != data:
                raise another_job(self.id, self.path.parent)
