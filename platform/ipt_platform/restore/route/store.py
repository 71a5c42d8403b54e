"""Routers as files: `model.safetensors` and `router.json`, which says what it is for and holds the other one's digest.

A folder is written under another name, renamed when it is whole, and never changed. What is read can run no code.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ipt_platform.checkpoint.durable import sync_folder, write_durable
from ipt_platform.checkpoint.files import tensors_in
from ipt_platform.errors import DataError

MODEL, ABOUT = "model.safetensors", "router.json"
FOLDER = "routers"


def routers_folder(storage: str, new: bool = False) -> Path:
    """Where routers are kept: below the storage of the runs; in the user's cache where that is on S3, or not there.

    Args:
        storage: folder of the runs, or a prefix on S3.
        new: whether a folder of runs that is not there will be made.
    """
    if "://" not in storage and (new or Path(storage).is_dir()):
        return Path(storage, FOLDER)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "ipt-platform", FOLDER)


def write_router(folder: Path, form: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a router; one that is there already is replaced.

    Args:
        folder: where to.
        form: the format, as in "ipt-text-router/1".
        tensors: of its model.
        about: what else it needs, as JSON.

    Raises:
        OSError: the disk is full or refuses; nothing was written.
    """
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    temporary.mkdir(parents=True)
    try:
        model = safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
        document = {"format": form, "sha256": hashlib.sha256(model).hexdigest(), **about}
        write_durable(temporary / MODEL, model)
        write_durable(temporary / ABOUT, json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")
        sync_folder(temporary)
        if folder.exists():
            folder.rename(temporary.with_name(f"{temporary.name}-old"))
        temporary.rename(folder)
        sync_folder(folder.parent)
    finally:
        for left in (temporary, temporary.with_name(f"{temporary.name}-old")):
            shutil.rmtree(left, ignore_errors=True)


def read_router(folder: Path, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a router's JSON says, and its tensors.

    Raises:
        FileNotFoundError: there is none.
        DataError: it is damaged, or of another format.
    """
    try:
        about = json.loads((folder / ABOUT).read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder / ABOUT}: it is no JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format") != form:
        found = about.get("format") if isinstance(about, dict) else type(about).__name__
        raise DataError(f"{folder / ABOUT}: expected format {form}, found {found}")
    model = (folder / MODEL).read_bytes()
    if hashlib.sha256(model).hexdigest() != about.get("sha256"):
        raise DataError(f"{folder / MODEL}: it is not what {ABOUT} says; train the router again")
    return about, tensors_in(model, folder / MODEL, DataError)
