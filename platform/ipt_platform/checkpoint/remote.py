"""The checkpoints of a run on S3.

    checkpoints/step-N/<attempt>/<file>     the files of a committed checkpoint; COMMIT comes last

Each attempt has a place of its own for each step, and one process writes there: files of two attempts never mix, and nothing is
written over. A checkpoint counts with its COMMIT and every digest right, as on a disk.
"""

import re
import secrets
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.checkpoint.durable import sync_folder
from ipt_platform.checkpoint.manifest import COMMIT, MANIFEST, TEMPORARY, move_aside, newest, steps, verify
from ipt_platform.errors import CheckpointError, NotFoundError
from ipt_platform.storage.prefix import Prefix

_NAME = re.compile(r"checkpoints/step-(0|[1-9][0-9]*)/([1-9][0-9]*|0)/(.+)")

Check = Callable[[], None]
"""Raises RefusedError if a newer attempt owns the run by now."""


@dataclass(frozen=True, order=True)
class Remote:
    """The files of a step that an attempt has sent: their names and bytes."""

    step: int
    attempt: int
    files: tuple[tuple[str, int], ...] = ()

    @property
    def folder(self) -> str:
        """What their names begin with."""
        return f"checkpoints/step-{self.step}/{self.attempt}"

    @property
    def committed(self) -> bool:
        """Whether all of it was sent."""
        return COMMIT in dict(self.files)


def remote_checkpoints(remote: Prefix) -> list[Remote]:
    """What lies on S3 of the checkpoints of a run, newest first, committed or not."""
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name, entry in remote.entries("checkpoints").items():
        if match := _NAME.fullmatch(name):
            found.setdefault((int(match[1]), int(match[2])), []).append((match[3], entry.size))
    return sorted((Remote(*key, tuple(files)) for key, files in found.items()), reverse=True)


def newest_commit(remote: Prefix) -> int | None:
    """The newest step with a COMMIT on S3, digests not looked at."""
    return next((each.step for each in remote_checkpoints(remote) if each.committed), None)


def send_checkpoint(remote: Prefix, checkpoint: Path, check: Check) -> None:
    """Send a committed checkpoint; what of it is there already is not sent again, nor one that is there whole.

    Raises:
        RefusedError: from `check`, before COMMIT was written; or other bytes are where its own should go.
        CheckpointError: the checkpoint was damaged meanwhile.
        InfrastructureError, UsageError: as the store says; it may be done again.
    """
    manifest = verify(checkpoint)
    folder = f"checkpoints/{checkpoint.name}/{manifest.attempt}"
    there = remote.entries(folder)
    if f"{folder}/{COMMIT}" in there:
        return
    check()
    for name in (*manifest.files, MANIFEST):
        remote.send(f"{folder}/{name}", checkpoint / name, there=f"{folder}/{name}" in there)
    check()
    remote.create(f"{folder}/{COMMIT}", (checkpoint / COMMIT).read_bytes())


def fetch_newest(remote: Prefix, run: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Bring the newest usable checkpoint of a run to its working folder, unless it is there; `manifest.newest` for S3.

    What is in the folder beyond that is moved aside: what S3 says wins. One thing is known here alone, a newer step that was
    being sent when its writer was killed; it counts as long as no later attempt has sent anything.

    Returns:
        Its folder (None: there is none), and `(folder, reason)` of each newer one that is damaged or was never committed.
    """
    there = remote_checkpoints(remote)
    own, damaged = newest(run)
    if own and _is_ahead(own, [each for each in there if each.committed]):
        return own, damaged
    damaged = []
    for each in there:
        place = run / "checkpoints" / f"step-{each.step}"
        try:
            found = _fetch(remote, each, place)
        except CheckpointError as error:
            damaged.append((place, str(error)))
            continue
        _forget_newer(run, each.step)
        return found, damaged
    _forget_newer(run, -1)
    return None, damaged


def prune_remote(remote: Prefix, keep: int, best: Collection[int], check: Check) -> None:
    """Remove the checkpoints that nobody needs any more, as `manifest.prune` does on a disk; COMMIT goes first.

    What stays: the `keep` newest committed steps, the steps in `best`, and whatever is newer than the newest committed one.
    """
    there = remote_checkpoints(remote)
    committed = sorted({each.step for each in there if each.committed}, reverse=True)
    kept = {*committed[:keep], *best}
    old = [each for each in there if committed and each.step < committed[0] and each.step not in kept]
    if old:
        check()
    for each in old:
        names = sorted((name for name, _ in each.files), key=lambda name: (name != COMMIT, name != MANIFEST, name))
        remote.remove(f"{each.folder}/{name}" for name in names)


def _is_ahead(own: Path, committed: list[Remote]) -> bool:
    step, attempt = int(own.name.removeprefix("step-")), verify(own).attempt
    return not committed or (step > committed[0].step and attempt >= max(each.attempt for each in committed))


def _fetch(remote: Prefix, wanted: Remote, place: Path) -> Path:
    """Bring a checkpoint to its place, unless this very one is there.

    Raises:
        CheckpointError: it is not usable.
    """
    url = remote.at(wanted.folder)
    if not wanted.committed:
        raise CheckpointError(f"{url}: never committed, its writer was stopped before the end: {COMMIT} is missing")
    try:
        seal = remote.read(f"{wanted.folder}/{COMMIT}")
    except NotFoundError as error:
        raise CheckpointError(f"{url}: was removed just now") from error
    if _holds(place, seal):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{TEMPORARY}{place.name}-{secrets.token_hex(4)}")
    try:
        for name, _ in wanted.files:
            # COMMIT comes with the others: what is in a folder of this name is no checkpoint yet.
            remote.fetch(f"{wanted.folder}/{name}", temporary / name)
        try:
            found = verify(temporary)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(temporary), str(url))) from error
        if found.step != wanted.step:
            raise CheckpointError(f"{url}: it holds step {found.step}, renamed by hand")
        if place.exists():
            move_aside(place)
        temporary.rename(place)
        sync_folder(place.parent)
    except NotFoundError as error:
        raise CheckpointError(f"{url}: a file of it was removed just now: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return place


def _holds(place: Path, seal: bytes) -> bool:
    try:
        verify(place)
        return (place / COMMIT).read_bytes() == seal
    except (CheckpointError, OSError):
        return False


def _forget_newer(run: Path, step: int) -> None:
    for number, path in steps(run / "checkpoints"):
        if number > step:
            move_aside(path)
