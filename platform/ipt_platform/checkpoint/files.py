"""State <-> committed files: a checkpoint is there whole, with every digest right, or it does not count.

The order of `commit`, each step on the disk before the next one begins:

    1. write every file into .tmp-step-N-<random>/, then MANIFEST.json with the sha256 of each
    2. enter the fence: does a newer attempt own the run by now? then stop here; from now on, none can begin
    3. rename the folder to step-N
    4. write COMMIT, which holds the sha256 of MANIFEST.json; leave the fence

A writer that is killed anywhere before the end of 4 leaves a folder that nobody takes for a checkpoint.
Tensors are stored as safetensors, everything else as JSON; nothing that is read here can execute code.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ipt_platform.checkpoint.durable import sync_folder, write_durable
from ipt_platform.checkpoint.manifest import (
    COMMIT,
    MANIFEST,
    TEMPORARY,
    CheckpointInfo,
    Fence,
    Manifest,
    Verified,
    commit_bytes,
    list_checkpoints,
    move_aside,
    newest,
    prune,
    safe_name,
    verify,
)
from ipt_platform.errors import CheckpointError, IptError
from ipt_platform.storage.paths import AnyPath

__all__ = [
    "CheckpointInfo",
    "Fence",
    "Verified",
    "commit",
    "list_checkpoints",
    "newest",
    "prune",
    "read_json",
    "read_tensors",
    "verify",
]

Content = bytes | Mapping[str, Tensor] | Mapping[str, Any]


def commit(checkpoints: Path, step: int, files: Mapping[str, Content], fence: Fence, attempt: int = 0) -> Path:
    """Write the checkpoint `step-N` so that it is either usable as a whole or not there.

    A usable `step-N` of the same attempt is returned as it is. Any other `step-N` (uncommitted, damaged, or of an
    attempt whose road this one did not continue) is moved aside by one rename and written anew.

    Args:
        checkpoints: folder `checkpoints` of the run; created if missing.
        step: steps done, 0 or more.
        files: content by relative name (`"biases/denoise.safetensors"`): bytes as they are, else by suffix a mapping of
            tensors for `.safetensors` and any JSON value without NaN for `.json`. Encoded and written one by one.
        fence: held from before anything moves until COMMIT is on the disk.
        attempt: the attempt that writes; recorded in MANIFEST.json.

    Returns:
        The committed folder.

    Raises:
        RefusedError: from the fence; nothing was committed.
        OSError: the disk is full or refuses; what was half-written is removed, earlier checkpoints stand.
        ValueError: a name leaves the folder, has an unknown suffix, or its content cannot be stored.
    """
    target = checkpoints / f"step-{step}"
    if _committed_by(target, attempt):
        return target
    if not checkpoints.is_dir():
        checkpoints.mkdir(parents=True, exist_ok=True)
        sync_folder(checkpoints.parent)
    temporary = checkpoints / f"{TEMPORARY}step-{step}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        manifest = Manifest(step, attempt, _write_files(temporary, files)).to_bytes()
        write_durable(temporary / MANIFEST, manifest)
        sync_folder(temporary)
        _publish(temporary, target, commit_bytes(manifest), fence)
    except OSError:
        with fence():  # an outdated attempt may have had its folder cleared away: then that is the reason to give
            raise
    finally:
        # After a success the name is gone; the error that got us here matters more than one from clearing up.
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, on the CPU.

    Raises:
        CheckpointError: the file is missing or is no safetensors file.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: its tensors cannot be read: {error}") from error


def tensors_in(data: bytes, place: AnyPath, kind: type[IptError]) -> dict[str, Tensor]:
    """The tensors of a safetensors file that has been read, by name, on the CPU.

    Raises:
        kind: it is no such file; the message names its place.
    """
    try:
        return safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise kind(f"{place}: its tensors cannot be read: {error}") from error


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        CheckpointError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: it cannot be read as JSON: {error}") from error


def _committed_by(target: Path, attempt: int) -> bool:
    try:
        return verify(target).attempt == attempt
    except (CheckpointError, OSError):
        return False  # not there, or not usable: both mean that it has to be written


def _write_files(folder: Path, files: Mapping[str, Content]) -> dict[str, tuple[str, int]]:
    """Write all files; returns `{name: (sha256, bytes)}`."""
    table: dict[str, tuple[str, int]] = {}
    folders: set[Path] = set()
    for name, content in files.items():
        data = _encode(name, content)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durable(path, data)
        table[name] = (hashlib.sha256(data).hexdigest(), len(data))
        folders.update(parent for parent in path.parents if parent.is_relative_to(folder))
    for each in folders:
        sync_folder(each)
    return table


def _publish(temporary: Path, target: Path, seal: bytes, fence: Fence) -> None:
    with fence():
        aside = move_aside(target) if target.exists() else None
        temporary.rename(target)
        try:
            sync_folder(target.parent)
            # Its own rename, because a COMMIT that is cut short is no COMMIT.
            write_durable(target / f".{COMMIT}", seal)
            (target / f".{COMMIT}").rename(target / COMMIT)
            sync_folder(target)
        except BaseException:
            target.rename(temporary)
            if aside:
                aside.rename(target)
            raise


def _encode(name: str, content: Content) -> bytes:
    if not safe_name(name):
        raise ValueError(f"{name!r} is no name for a file of a checkpoint: relative, without '..', not {MANIFEST} or {COMMIT}")
    if isinstance(content, bytes):
        return content
    match Path(name).suffix:
        case ".safetensors":
            return safetensors.torch.save({key: _plain(key, value) for key, value in content.items()})
        case ".json":
            return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"
        case suffix:
            raise ValueError(f"{name!r}: content for {suffix!r} must be bytes; mappings are stored as .safetensors or .json")


def _plain(name: str, tensor: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name!r} is a {type(tensor).__name__}, expected a tensor")
    return tensor.detach().cpu().contiguous()
