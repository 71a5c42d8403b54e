"""The folder of a run: where each file lies, who owns the run now, and how to ask it to stop.

<storage>/<run-id>/
  job.yaml   events.jsonl   metrics.jsonl   report.json   stop.json
  attempts/<n>               one file per start of the run; the highest number owns the run
  attempts/.lock             held while something is made final, and while an attempt takes the run over
  logs/<attempt>/<rank>.log  samples/step-N/   checkpoints/step-N/
  tasks/<name>/<version>/    of the registered tasks of its job alone
  backbone/  start.safetensors  packs/<task>/   of a finetune alone
  models.json                of a job that restores alone
"""

import contextlib
import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file, sync_folder, write_durable
from ipt_platform.errors import NotFoundError, RefusedError, UsageError
from ipt_platform.observe.lock import locked
from ipt_platform.observe.process import Process, this_process

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


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

    def logs(self, attempt: int, rank: int | str) -> Path:
        """The log of one process of an attempt: a rank, or a word such as "driver"; its folder is created."""
        path = self.path / "logs" / str(attempt) / f"{rank}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log_files(self, attempt: int) -> dict[str, Path]:
        """The logs that an attempt has written, by rank (or word), in the order of the ranks."""
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
        data = json.dumps({"started": started, "process": asdict(leader)}).encode() + b"\n"
        self.attempts.mkdir(parents=True, exist_ok=True)
        with locked(self.lock):
            number = self.current_attempt() + 1
            write_durable(self.attempts / str(number), data)
            sync_folder(self.attempts)
        return number

    def current_attempt(self) -> int:
        """The number of the newest attempt: the one that owns the run (0: never started)."""
        if not self.attempts.is_dir():
            return 0
        return max((int(path.name) for path in self.attempts.iterdir() if path.name.isdecimal()), default=0)

    def attempt(self, number: int) -> Attempt:
        """What is known of an attempt; a file cut short by a kill gives the number alone."""
        try:
            value = json.loads((self.attempts / str(number)).read_bytes())
            return Attempt(number, value["started"], Process(**value["process"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Attempt(number)

    def attempt_of(self, leader: Process, after: int) -> int | None:
        """The newest attempt, if this process leads it and its number is above `after`; else None."""
        number = self.current_attempt()
        return number if number > after and self.attempt(number).process == leader else None

    def fence(self, attempt: int) -> "Fence":
        """What an attempt makes final, it makes final inside `with run.fence(attempt)():`."""
        return Fence(self, attempt)

    def request_stop(self, reason: str) -> int:
        """Ask the attempt that owns the run now to commit a checkpoint and stop.

        Args:
            reason: a sentence; it becomes the reason of the run's state.

        Returns:
            The attempt that was asked (0: none has started yet, nothing will stop).
        """
        attempt = self.current_attempt()
        replace_file(self.stop, json.dumps({"attempt": attempt, "reason": reason}).encode() + b"\n")
        return attempt

    def stop_requested(self, attempt: int) -> str | None:
        """The reason why this attempt is asked to stop, or None; requests to earlier attempts do not count."""
        try:
            value = json.loads(self.stop.read_bytes())
        except FileNotFoundError:
            return None
        return str(value["reason"]) if value["attempt"] == attempt else None


@dataclass(frozen=True)
class Fence:
    """Keeps a run in the hands of one attempt while something is made final."""

    run: RunDir
    attempt: int

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the run: until the block is over, no newer attempt can begin.

        Raises:
            RefusedError: a newer attempt has begun, or the attempt's own file is gone.
            InfrastructureError: as `observe.lock.locked`.
        """
        self._check()
        with locked(self.run.lock):
            self._check()
            yield

    def _check(self) -> None:
        current = self.run.current_attempt()
        if current == self.attempt:
            return
        if current < self.attempt:
            raise RefusedError(f"{self.run.path}: the file of attempt {self.attempt} is gone; was the run's folder removed?")
        newer = self.run.attempt(current)
        by = f" by {newer.process} at {newer.started}" if newer.process else ""
        raise RefusedError(
            f"attempt {self.attempt} no longer owns run {self.run.id}: attempt {current} was started{by}; "
            f"attempt {self.attempt} ends here and commits nothing more"
        )


def create(storage: str | Path, run_id: str) -> RunDir:
    """The folder of a run, made if it is not there yet (then two submissions of one id meet in one folder).

    Raises:
        UsageError: the id is no plain name, or the storage is no local folder.
    """
    if run_id == "registry":
        raise UsageError("'registry' is where the registered tasks are; give the run another id")
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(f"{run_id!r} is no run id: expected small letters, digits, '.', '_' and '-', at most 128 of them")
    run = RunDir(_local(storage) / run_id)
    run.path.mkdir(parents=True, exist_ok=True)
    return run


def find_run(storage: str | Path, name_or_path: str | Path) -> RunDir:
    """The run with this id in the storage, or the run whose folder this is.

    Raises:
        NotFoundError: there is none; the message says which names are near.
    """
    for path in (_local(storage) / name_or_path, Path(name_or_path)):
        if is_run(path):
            return RunDir(path)
    names = [run.id for run in list_runs(storage)]
    near = difflib.get_close_matches(str(name_or_path), names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {' or '.join(near)}?"
    elif names:
        hint = f"`ipt-platform ls` shows the {len(names)} runs there"
    else:
        hint = "there are no runs there; is --storage right?"
    raise NotFoundError(f"no run {str(name_or_path)!r} in {storage}: {hint}")


def list_runs(storage: str | Path) -> list[RunDir]:
    """All runs in a storage by name; [] if the folder does not exist."""
    folder = _local(storage)
    if not folder.is_dir():
        return []
    return [RunDir(path) for path in sorted(folder.iterdir()) if is_run(path)]


def is_run(path: Path) -> bool:
    """Whether a folder is one of a run: it holds a job, events or attempts."""
    return any((path / name).exists() for name in ("job.yaml", "events.jsonl", "attempts"))


def _local(storage: str | Path) -> Path:
    if "://" in str(storage):
        raise UsageError(f"storage {str(storage)!r} is not a local folder; only local folders can hold runs so far")
    return Path(storage)
