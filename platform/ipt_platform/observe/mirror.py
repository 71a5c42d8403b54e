"""A run on S3 as one process sees it: who owns it, what is asked of it, and what this process has yet to send.

The truth lies on S3. On each machine a run has a working folder too, an ordinary `RunDir`; its `mirror.json` says where it is:

    {"storage": "s3://bucket/prefix", "folder": "9f3ac1d2b0e4", "began": "ETag and time of job.yaml"}

What a process of that machine writes goes into the working folder and to S3; what others wrote comes from there (`gather.py`).
"""

import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from ipt_platform.errors import InfrastructureError, NotFoundError
from ipt_platform.observe.journal import Journal
from ipt_platform.storage.prefix import Prefix, prefix_at

Result = TypeVar("Result")
log = logging.getLogger(__name__)

FILE = "mirror.json"
REQUESTS = ("stop.json", "checkpoint.json")
"""What somebody asks of the attempt that owns the run (`RunDir.request_stop`, `RunDir.request_checkpoint`)."""

LOOK_SECONDS = 2.0
"""How old an answer of S3 may be where nothing is made final by it."""

PAUSE = 2.0


@dataclass(frozen=True)
class About:
    """What mirror.json says: the storage, a token of the folder, and which run it is a copy of ("": none is there yet)."""

    storage: str
    folder: str
    began: str


class Mirror:
    """A run on S3, seen from its working folder on this machine; one for each process.

    Attributes:
        patience: seconds for which what must reach S3 is tried again and again while the store fails.
        followed: whether a `Courier` of this process looks and sends from time to time.

    Every method raises InfrastructureError where the store fails, and UsageError where it does not let us.
    """

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about
        self.remote = Prefix(prefix_at(about.storage).at(folder.name))
        self.patience = 0.0
        self.followed = False
        self.gathered = float("-inf")
        self._journals: dict[tuple[str, int], Journal] = {}
        self._kept: dict[Path, None] = {}
        self._attempt = _Look(self._newest_attempt)
        self._requests = {name: _Look(partial(self._read, name)) for name in REQUESTS}
        self._lock = threading.Lock()

    def newest_attempt(self, fresh: bool) -> int:
        """The number of the newest attempt on S3; `fresh`: as it is now, else it may be `LOOK_SECONDS` old."""
        return self._attempt.get(fresh, self.followed)

    def begin_attempt(self, data: bytes) -> int:
        """Create the file of the next attempt; two that ask at the same time get different numbers."""
        while True:
            number = self.insist(lambda: self.newest_attempt(fresh=True)) + 1
            if self.insist(lambda number=number: self.remote.create(f"attempts/{number}", data)):
                self._attempt.set(number)
                return number

    def attempt_file(self, number: int) -> bytes | None:
        """What stands in the file of an attempt; None: there is none."""
        try:
            return self.remote.read(f"attempts/{number}")
        except NotFoundError:
            return None

    def ask(self, name: str, data: bytes) -> None:
        """Write a request, one of REQUESTS."""
        self.insist(lambda: self.remote.put(name, data))
        self._requests[name].set(data)

    def asked(self, name: str) -> bytes | None:
        """A request, one of REQUESTS, at most `LOOK_SECONDS` old; None: there is none."""
        return self._requests[name].get(False, self.followed)

    def look(self) -> None:
        """Ask S3 anew who owns the run and what is asked of it."""
        self._attempt.get(fresh=True)
        for request in self._requests.values():
            request.get(fresh=True)

    def journal(self, kind: str, attempt: int) -> Journal:
        """The lines that this process writes of a kind in an attempt."""
        with self._lock:
            if (kind, attempt) not in self._journals:
                self._journals[kind, attempt] = Journal(self.remote, kind, attempt, self.about.folder)
            return self._journals[kind, attempt]

    def keep(self, path: Path) -> None:
        """Send a file of the working folder: soon, where a courier goes, else now."""
        with self._lock:
            self._kept[path] = None
        if not self.followed:
            self.send()

    def send(self, kinds: tuple[str, ...] = ("events", "metrics")) -> bool:
        """Send what has not been sent yet of events and metrics and of the files to keep; whether there was something."""
        for path in self._files():
            self.remote.put(path.relative_to(self.folder).as_posix(), path.read_bytes())
            with self._lock:
                self._kept.pop(path, None)
        with self._lock:
            journals = [journal for (kind, _), journal in self._journals.items() if kind in kinds]
        sent = [journal.flush() for journal in journals]
        return any(sent)

    def insist(self, call: Callable[[], Result], at_most: float | None = None) -> Result:
        """What `call` gives; while the store fails it is called again, until `patience` is over, or so many seconds."""
        end = time.monotonic() + min(self.patience, self.patience if at_most is None else at_most)
        while True:
            try:
                return call()
            except InfrastructureError as error:
                if time.monotonic() >= end:
                    raise
                log.warning("%s; it is tried for %.0f s more", error, end - time.monotonic())
                time.sleep(PAUSE)

    def _files(self) -> Iterator[Path]:
        with self._lock:
            paths = list(self._kept)
        yield from (path for path in paths if path.is_file())

    def _newest_attempt(self) -> int:
        names = self.remote.entries("attempts")
        return max((int(number) for name in names if (number := name.removeprefix("attempts/")).isdecimal()), default=0)

    def _read(self, name: str) -> bytes | None:
        try:
            return self.remote.read(name)
        except NotFoundError:
            return None


class _Look(Generic[Result]):
    """The last answer to a question to S3."""

    def __init__(self, ask: Callable[[], Result]):
        self._ask, self._answers, self._asked = ask, list[Result](), float("-inf")
        self._lock = threading.Lock()

    def get(self, fresh: bool, followed: bool = False) -> Result:
        """The answer; `followed`: somebody else asks from time to time, so that an older one may do."""
        if fresh or not self._answers or (not followed and time.monotonic() - self._asked > LOOK_SECONDS):
            asked = time.monotonic()
            answer = self._ask()
            self.set(answer, asked)
            return answer
        return self._answers[0]

    def set(self, answer: Result, asked: float | None = None) -> None:
        """What the answer is now; one that was asked for before a later one is known says nothing new."""
        asked = time.monotonic() if asked is None else asked
        with self._lock:
            if asked >= self._asked:
                self._answers, self._asked = [answer], asked


def mirror_of(folder: Path) -> Mirror | None:
    """Where the truth about the run of a working folder lies; None: in the folder itself."""
    try:
        data = (folder / FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _mirror(os.getpid(), folder.absolute(), data)


@functools.lru_cache(maxsize=1024)
def _mirror(process: int, folder: Path, data: bytes) -> Mirror:
    """One for each process and run: two would write over each other's journals."""
    return Mirror(folder, About(**json.loads(data)))
