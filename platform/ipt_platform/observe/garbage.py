"""What no run needs any more: what was never committed, what writers that were killed have left, uploads that nobody ended.

Only what nothing has touched for a day is taken for garbage, and nothing of an attempt that owns its run and has spoken since.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ipt_platform.checkpoint.manifest import ASIDE, COMMIT, TEMPORARY
from ipt_platform.errors import storage_failed
from ipt_platform.observe.events import utc_now
from ipt_platform.observe.kept import GIVEN
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import is_remote, list_runs
from ipt_platform.observe.summary import FOLDER
from ipt_platform.storage.files import s3
from ipt_platform.storage.paths import S3Path
from ipt_platform.storage.prefix import Entry, Prefix, prefix_at

AGE = timedelta(days=1)

_STEP = re.compile(r"step-\d+")
_SENT = re.compile(r"(checkpoints/step-\d+/(\d+))/.+")


@dataclass(frozen=True)
class Garbage:
    """Something that can go.

    Attributes:
        kind: `uncommitted` checkpoint, `leavings` of a writer that was killed, `upload` that was never ended, or `superseded`.
        name: where it lies, for people.
        bytes: how much it takes.
        remove: removes it.
    """

    kind: str
    name: str
    bytes: int
    remove: Callable[[], None]


def find_garbage(storage: str, age: timedelta = AGE, clock: Callable[[], datetime] = utc_now) -> list[Garbage]:
    """What can go from a storage, by name; nothing is removed.

    Args:
        storage: folder of runs, or `s3://bucket/prefix`.
        age: for how long nothing may have touched it.
        clock: the present moment.

    Raises:
        UsageError: the storage is none, or S3 does not let us.
        InfrastructureError: the storage fails.
    """
    before = clock() - age
    found = _on_s3(prefix_at(storage), before) if is_remote(storage) else _on_disk(storage, before)
    try:
        return sorted(found, key=lambda each: each.name)
    except OSError as error:
        raise storage_failed(error, storage) from error


def _on_disk(storage: str, before: datetime) -> Iterator[Garbage]:
    for whole in list_runs(storage):
        for run in (whole, *list_runs(whole.members)):
            yield from _of_run(run, before)


def _of_run(run: RunDir, before: datetime) -> Iterator[Garbage]:
    if not run.checkpoints.is_dir():
        return
    running = run_status(run).state == "running"
    for path in run.checkpoints.iterdir():
        left = path.name.startswith((TEMPORARY, ASIDE))
        uncommitted = bool(_STEP.fullmatch(path.name)) and not (path / COMMIT).is_file() and not running
        with contextlib.suppress(FileNotFoundError):  # another `gc` removes it
            if path.is_dir() and (left or uncommitted) and _touched(path) < before:
                size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                yield Garbage("leavings" if left else "uncommitted", str(path), size, lambda path=path: _remove(path))


def _remove(path: Path) -> None:
    """Remove a folder; what another `gc` removes at this moment is none of our business.

    Raises:
        InfrastructureError: the disk refuses.
    """

    def failed(call: object, name: str, error: tuple[type[BaseException], BaseException, object]) -> None:
        if isinstance(error[1], OSError) and not isinstance(error[1], FileNotFoundError):
            raise storage_failed(error[1], name) from error[1]

    shutil.rmtree(path, onerror=failed)


def _touched(path: Path) -> datetime:
    return datetime.fromtimestamp(max(each.stat().st_mtime for each in (path, *path.rglob("*"))), UTC)


def _on_s3(storage: Prefix, before: datetime) -> Iterator[Garbage]:
    ids = set(storage.folders())
    for run_id in sorted(ids - {"registry", FOLDER}):
        run = Prefix(storage.at(run_id))
        objects = run.entries()
        yield from _uncommitted(run, objects, before)
        yield from _not_given(run, objects, before)
    yield from _superseded(storage, ids, before)
    for path, upload_id, begun in s3().unfinished(storage.root):
        if begun < before:
            yield _upload(path, upload_id)


def _uncommitted(run: Prefix, objects: dict[str, Entry], before: datetime) -> Iterator[Garbage]:
    owner = max((int(name.removeprefix("attempts/")) for name in objects if re.fullmatch(r"attempts/\d+", name)), default=0)
    spoken = [entry.modified for name, entry in objects.items() if name.startswith(("attempts/", "events/", "metrics/"))]
    lives = bool(spoken) and max(spoken) >= before
    sent: dict[tuple[str, int], list[str]] = {}
    for name in objects:
        if match := _SENT.fullmatch(name):
            sent.setdefault((match[1], int(match[2])), []).append(name)
    for (folder, attempt), names in sent.items():
        old = max(objects[name].modified for name in names) < before
        if old and f"{folder}/{COMMIT}" not in objects and not (lives and attempt == owner):
            yield _objects("uncommitted", run, f"{folder}/", names, objects)


def _not_given(run: Prefix, objects: dict[str, Entry], before: datetime) -> Iterator[Garbage]:
    """Bytes that a submission sent which was killed, or came second."""
    named = set(json.loads(run.read(GIVEN)).values()) if GIVEN in objects else set()
    for name, entry in objects.items():
        if name.startswith("given/") and name.removeprefix("given/") not in named and entry.modified < before:
            yield _objects("leavings", run, name, [name], objects)


def _superseded(storage: Prefix, ids: set[str], before: datetime) -> Iterator[Garbage]:
    """States that were told before the last one, or of runs that are gone."""
    told = storage.entries(FOLDER)
    newest = {name.split("/")[1]: name for name in told}
    for name, entry in told.items():
        run_id = name.split("/")[1]
        if entry.modified < before and (name != newest[run_id] or run_id not in ids):
            yield _objects("superseded", storage, name, [name], told)


def _objects(kind: str, prefix: Prefix, name: str, names: Iterable[str], objects: dict[str, Entry]) -> Garbage:
    names = list(names)
    return Garbage(kind, f"{prefix.root}/{name}", sum(objects[each].size for each in names), lambda: prefix.remove(names))


def _upload(path: S3Path, upload_id: str) -> Garbage:
    store = s3()
    size = store.unfinished_bytes(path, upload_id)
    return Garbage("upload", str(path), size, lambda: store.abort(path, upload_id))
