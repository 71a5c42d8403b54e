"""Which checkpoints of a run can be used: manifest, digests, the newest usable one, and clearing old ones away.

    checkpoints/step-N/          a checkpoint; it counts only if all of this holds:
        MANIFEST.json            {"step", "attempt", "files": {name: {"sha256", "bytes"}}}: exactly the files there
        COMMIT                   {"manifest": sha256 of MANIFEST.json}, written last
    checkpoints/.tmp-step-N-*    being written, or left by a writer that was killed
    checkpoints/.old-step-N-*    moved aside: replaced, or on the way to be deleted

Standard library only, so that listing runs needs no torch.
"""

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ipt_platform.checkpoint.durable import sync_folder
from ipt_platform.errors import CheckpointError

MANIFEST = "MANIFEST.json"
COMMIT = "COMMIT"
NEVER_COMMITTED = "never committed"
"""In the reason why a checkpoint without a COMMIT is not usable."""
TEMPORARY = ".tmp-"
ASIDE = ".old-"

Fence = Callable[[], AbstractContextManager[None]]
"""Makes what is entered around a change that no newer attempt may see half-done; raises RefusedError if there is a newer one
(`RunDir.fence`)."""

_STEP = re.compile(r"step-(0|[1-9][0-9]*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CheckpointInfo:
    """One folder `step-N` of a run; `reason` says in a sentence why it is not usable ("" if it is)."""

    step: int
    path: Path
    usable: bool
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of: step, the attempt that wrote it, and `{name: (sha256, bytes)}` of its files."""

    step: int
    attempt: int
    files: dict[str, tuple[str, int]]

    def to_bytes(self) -> bytes:
        """The content of MANIFEST.json."""
        files = {name: {"sha256": digest, "bytes": size} for name, (digest, size) in sorted(self.files.items())}
        return json.dumps({"step": self.step, "attempt": self.attempt, "files": files}, indent=1).encode() + b"\n"


def commit_bytes(manifest: bytes) -> bytes:
    """The content of the COMMIT that vouches for a MANIFEST.json with this content."""
    return json.dumps({"manifest": hashlib.sha256(manifest).hexdigest()}).encode() + b"\n"


def verify(checkpoint: Path) -> Manifest:
    """Check that a checkpoint was committed and that every file is exactly the one that was committed.

    Returns:
        Its manifest.

    Raises:
        CheckpointError: it is not there, was never committed, or a file is missing, superfluous or changed; the message
            names the file, and for a changed one both digests (or both sizes, in bytes).
    """
    manifest = _read_manifest(checkpoint)
    found = set(_files(checkpoint))
    if missing := sorted(manifest.files.keys() - found):
        raise _damaged(checkpoint, f"{missing[0]} is missing, {MANIFEST} lists it")
    if extra := sorted(found - manifest.files.keys()):
        raise _damaged(checkpoint, f"{extra[0]} stands there, {MANIFEST} does not list it")
    for name, (digest, size) in sorted(manifest.files.items()):
        path = checkpoint / name
        if (actual := path.stat().st_size) != size:
            raise _damaged(checkpoint, f"{name} has {actual} bytes, {MANIFEST} says {size}")
        if (actual := digest_file(path)) != digest:
            raise _damaged(checkpoint, f"{name} has sha256 {actual}, {MANIFEST} says {digest}")
    return manifest


class Verified:
    """Remembers which checkpoints had every digest right, so that their bytes are read once and not at every commit.

    One that was touched since then (a file came, went, or has another inode, size or time) is read again.
    """

    def __init__(self):
        self._marks: dict[Path, frozenset[tuple]] = {}

    def remember(self, path: Path) -> None:
        """Take the word of who has just written a checkpoint, from memory, with the digests of that."""
        self._marks[path] = _mark(path)

    def inspect(self, step: int, path: Path) -> CheckpointInfo:
        """What `list_checkpoints` says of the folder."""
        mark = _mark(path)  # before its bytes are read: what changes meanwhile is read again the next time
        if mark and self._marks.get(path) == mark:
            return CheckpointInfo(step, path, usable=True, reason="")
        info = _inspect(step, path)
        self._marks[path] = mark if info.usable else frozenset()
        return info


def list_checkpoints(run: Path, verified: Verified | None = None) -> list[CheckpointInfo]:
    """Every `step-N` folder of a run, newest first, each with every digest checked.

    Reads all of their bytes, but for those of checkpoints that `verified` knows.
    """
    inspect = verified.inspect if verified else _inspect
    return [inspect(step, path) for step, path in steps(run / "checkpoints")]


def newest(run: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest usable checkpoint of a run, and the newer ones that had to be passed over.

    Returns:
        Its folder (None: the run has none), and `(folder, reason)` of each newer one that is damaged or uncommitted.
    """
    damaged: list[tuple[Path, str]] = []
    for step, path in steps(run / "checkpoints"):
        info = _inspect(step, path)
        if info.usable:
            return path, damaged
        damaged.append((path, info.reason))
    return None, damaged


def prune(
    run: Path, keep: int, best: Collection[int] = (), fence: Fence = nullcontext, verified: Verified | None = None
) -> list[Path]:
    """Remove the checkpoints that nobody needs any more; only the attempt that owns the run may call this.

    What stays: the `keep` newest usable ones, the steps in `best`, and whatever is newer than the newest usable one.
    What goes: all other `step-N` folders and the leavings of killed writers. While nothing is usable, only leavings go.

    Args:
        run: folder of the run.
        keep: how many to keep, at least 1.
        best: steps to keep whatever their age.
        fence: held while something is removed.
        verified: spares reading again what it has seen before.

    Returns:
        The `step-N` folders that were removed.

    Raises:
        RefusedError: from the fence; nothing was removed.
    """
    if keep < 1:
        raise ValueError(f"prune must keep at least the newest usable checkpoint, got keep={keep}")
    folder = run / "checkpoints"
    usable = [info.step for info in list_checkpoints(run, verified) if info.usable]
    kept = set(usable[:keep]) | set(best)
    with fence():
        removed = [path for step, path in steps(folder) if usable and step < usable[0] and step not in kept]
        for path in removed:
            # Deleting takes many calls; a rename takes one. So a killed prune leaves no half of a checkpoint behind.
            move_aside(path)
        if removed:
            sync_folder(folder)
        for leaving in _leavings(folder):
            shutil.rmtree(leaving)
    return removed


def steps(folder: Path) -> list[tuple[int, Path]]:
    """The `(step, path)` of every `step-N` in a run's checkpoints folder, newest first, usable or not."""
    if not folder.is_dir():
        return []
    named = ((_STEP.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(((int(match[1]), path) for match, path in named if match), reverse=True)


def move_aside(path: Path) -> Path:
    """Rename a checkpoint so that it no longer counts; `prune` deletes it later.

    Returns:
        Its new place.
    """
    aside = path.with_name(f"{ASIDE}{path.name}-{secrets.token_hex(4)}")
    path.rename(aside)
    return aside


def safe_name(name: str) -> bool:
    """Whether a name stays inside its checkpoint: relative, plain, and not one of the two names with a meaning."""
    path = PurePosixPath(name)
    plain = name == str(path) and not path.is_absolute() and not {"..", ".", ""} & set(path.parts)
    return plain and "\0" not in name and name not in (MANIFEST, COMMIT)


def digest_file(path: Path) -> str:
    """The sha256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(checkpoint: Path) -> frozenset[tuple]:
    """What changes if somebody touches a file of a checkpoint; empty if that cannot be told."""
    try:
        found = [(path, path.lstat()) for path in checkpoint.rglob("*")]
    except OSError:
        return frozenset()
    return frozenset((path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in found)


def _inspect(step: int, path: Path) -> CheckpointInfo:
    try:
        manifest = verify(path)
    except CheckpointError as error:
        return CheckpointInfo(step, path, usable=False, reason=str(error))
    except OSError as error:
        # A bad disk block or a folder that somebody deletes while we look: it cannot be used either.
        return CheckpointInfo(step, path, usable=False, reason=f"{path}: it cannot be read: {error}")
    if manifest.step != step:
        return CheckpointInfo(step, path, usable=False, reason=f"{path}: it holds step {manifest.step}, renamed by hand")
    return CheckpointInfo(step, path, usable=True, reason="")


def _read_manifest(checkpoint: Path) -> Manifest:
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint}: there is no such checkpoint folder")
    for name in (COMMIT, MANIFEST):
        if not (checkpoint / name).is_file():
            why = f"{NEVER_COMMITTED}, its writer was stopped before the end" if name == COMMIT else "damaged"
            raise CheckpointError(f"{checkpoint}: {why}: {name} is missing")
    data, commit = (checkpoint / MANIFEST).read_bytes(), (checkpoint / COMMIT).read_bytes()
    if commit != commit_bytes(data):
        digest = hashlib.sha256(data).hexdigest()
        raise _damaged(checkpoint, f"{MANIFEST} has sha256 {digest}, {COMMIT} says {commit[:96]!r}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(checkpoint, f"{MANIFEST} is no JSON ({error})") from error
    match value:
        case {"step": int(step), "attempt": int(attempt), "files": dict(files)} if all(map(safe_name, files)):
            return Manifest(step, attempt, {name: _entry(checkpoint, name, value) for name, value in files.items()})
        case _:
            raise _damaged(checkpoint, f"{MANIFEST} does not hold step, attempt and a table of plain file names")


def _entry(checkpoint: Path, name: str, value: Any) -> tuple[str, int]:
    match value:
        case {"sha256": str(digest), "bytes": int(size)} if _SHA256.fullmatch(digest):
            return digest, size
        case _:
            raise _damaged(checkpoint, f"{MANIFEST} says {value!r:.80} of {name}, expected sha256 and bytes")


def _files(checkpoint: Path) -> Iterator[str]:
    for path in checkpoint.rglob("*"):
        name = path.relative_to(checkpoint).as_posix()
        if path.is_symlink():
            raise _damaged(checkpoint, f"{name} is a link, expected a file")
        if not path.is_dir() and name not in (MANIFEST, COMMIT):
            yield name


def _leavings(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.name.startswith((TEMPORARY, ASIDE)) and path.is_dir()]


def _damaged(checkpoint: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{checkpoint}: damaged: {what}")
