"""The checkpoints of a run as the page lists them; whether each can be used is found out behind the scenes: it takes long."""

import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ipt_platform.checkpoint.manifest import COMMIT, CheckpointInfo, Verified, steps
from ipt_platform.checkpoint.remote import remote_checkpoints
from ipt_platform.observe.rundir import RunDir

_KEPT = 10_000


@dataclass(frozen=True)
class Shown:
    """A checkpoint of a list.

    Attributes:
        step: steps that were done.
        bytes: of its files.
        state: usable, damaged, committed (its digests have not been looked at here), checking, or uncommitted.
        reason: why it is damaged.
    """

    step: int
    bytes: int
    state: str
    reason: str = ""


class Checkpoints:
    """Lists checkpoints; a thread of its own reads those whose digests nobody has looked at yet, one after the other."""

    def __init__(self) -> None:
        self._verified = Verified()
        self._found: dict[Path, tuple[int, CheckpointInfo]] = {}
        self._asked: set[Path] = set()
        self._queue: queue.SimpleQueue[tuple[int, Path]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, run: RunDir) -> list[Shown]:
        """The checkpoints of a run, newest first.

        Raises:
            InfrastructureError: S3 fails.
        """
        if mirror := run.mirror:
            return [
                Shown(each.step, sum(size for _, size in each.files), "committed" if each.committed else "uncommitted")
                for each in remote_checkpoints(mirror.remote)
            ]
        found = [self._look(step, path) for step, path in steps(run.checkpoints)]
        return list(found)

    def _look(self, step: int, path: Path) -> Shown:
        names = [each for each in path.rglob("*") if each.is_file()]
        shown = Shown(step, sum(_sizes(names)), "checking")
        if not (path / COMMIT).is_file():
            return replace(shown, state="uncommitted", reason="it was never committed, its writer was stopped before the end")
        mark = hash(frozenset(_marks(names)))
        with self._lock:
            known = self._found.get(path)
            if known and known[0] == mark:
                return replace(shown, state="usable" if known[1].usable else "damaged", reason=known[1].reason)
            if path not in self._asked:
                self._asked.add(path)
                self._queue.put((step, path))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._check, name="checkpoints", daemon=True)
                self._thread.start()
        return shown

    def _check(self) -> None:
        """Check what was asked for until nothing is left."""
        while True:
            with self._lock:
                try:
                    step, path = self._queue.get_nowait()
                except queue.Empty:
                    self._thread = None
                    return
            mark = hash(frozenset(_marks(each for each in path.rglob("*") if each.is_file())))
            info = self._verified.inspect(step, path)
            with self._lock:
                self._asked.discard(path)
                while len(self._found) >= _KEPT:
                    del self._found[next(iter(self._found))]
                self._found[path] = mark, info


def _sizes(paths: Iterable[Path]) -> Iterable[int]:
    return (size for _, size, _ in _marks(paths))


def _marks(paths: Iterable[Path]) -> Iterable[tuple[str, int, int]]:
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # it was pruned just now
        yield str(path), stat.st_size, stat.st_mtime_ns
