"""The backbone pack: a backbone alone, as a folder that says which one it is.

model.safetensors   the weights, by name
backbone.json       format `ipt-backbone/1`: name, fingerprint, parameters, lineage, created

A finetune run keeps the backbone that its biases were trained on in one, and a backbone with a task's bias merged is written
as one. The fingerprint is over all weights, so it vouches for `model.safetensors` too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ipt_platform.checkpoint.durable import write_folder
from ipt_platform.checkpoint.files import tensors_in
from ipt_platform.errors import NotFoundError, PackError, RefusedError
from ipt_platform.model.bias import copy_tensors
from ipt_platform.model.build import BACKBONES, build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.storage.files import read_bytes
from ipt_platform.storage.paths import AnyPath

FORMAT = "ipt-backbone/1"
ABOUT = "backbone.json"
WEIGHTS = "model.safetensors"
MAX_ABOUT_BYTES = 4 << 20
MAX_WEIGHTS_BYTES = 1 << 34


@dataclass(frozen=True)
class BackboneInfo:
    """What backbone.json says.

    Attributes:
        name: of the kind of backbone (`model.build.BACKBONES`).
        fingerprint: of its weights (`model.fingerprint`).
        parameters: their number.
        lineage: where it came from, as JSON.
        created: when the pack was written (UTC, ISO 8601).
    """

    name: str
    fingerprint: str
    parameters: int
    lineage: Mapping[str, Any]
    created: str


def write_backbone(folder: Path, backbone: nn.Module, name: str, lineage: Mapping[str, Any], created: str) -> BackboneInfo:
    """Write a backbone pack, whole or not at all.

    Args:
        folder: the pack; nothing may be there.
        backbone: the weights, with branches that are not fused.
        name: of the kind of backbone.
        lineage: where it came from, JSON.
        created: the present moment (UTC, ISO 8601).

    Raises:
        RefusedError: there is something already.
        OSError: the disk is full or refuses.
    """
    info = BackboneInfo(name, fingerprint(backbone), count_parameters(backbone), lineage, created)
    about = {"format": FORMAT, **vars(info)}
    files = {
        WEIGHTS: safetensors.torch.save({key: value.cpu().contiguous() for key, value in backbone.state_dict().items()}),
        ABOUT: json.dumps(about, indent=1, allow_nan=False).encode() + b"\n",
    }
    try:
        write_folder(folder, files)
    except FileExistsError as error:
        raise RefusedError(f"{folder} is there already, and a pack never changes: name a new folder") from error
    return info


def backbone_beside(checkpoint: Path) -> Path:
    """Where the run of a checkpoint keeps the backbone that it does not train."""
    return checkpoint.absolute().parent.parent / "backbone"


def is_backbone(folder: AnyPath) -> bool:
    """Whether a folder on a disk is a backbone pack."""
    return isinstance(folder, Path) and (folder / ABOUT).is_file()


def read_backbone(folder: AnyPath) -> BackboneInfo:
    """What a backbone pack says of itself; its weights are not looked at.

    Raises:
        NotFoundError: there is no such pack.
        PackError: its backbone.json is damaged or of another format.
    """
    path = folder / ABOUT
    try:
        data = read_bytes(path, MAX_ABOUT_BYTES)
    except NotFoundError as error:
        raise NotFoundError(f"{folder}: this is no backbone pack: {ABOUT} is missing") from error
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path}: it cannot be read as JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise PackError(f"{path}: expected format {FORMAT}, found {found!r:.80}; was it written by another version?")
    match value:
        case {"name": str(name)} if name not in BACKBONES:
            raise PackError(f"{path}: its backbone is {name!r:.80}, expected one of {', '.join(BACKBONES)}")
        case {
            "name": str(name),
            "fingerprint": str(found),
            "parameters": int(parameters),
            "lineage": dict(lineage),
            "created": str(created),
        }:
            return BackboneInfo(name, found, parameters, lineage, created)
        case _:
            raise PackError(f"{path}: expected name, fingerprint, parameters, lineage and created, found {sorted(value)}")


def load_backbone(folder: AnyPath) -> tuple[IPTV2, BackboneInfo]:
    """The backbone of a pack, without gradients, and what the pack says of it.

    Raises:
        NotFoundError: there is no such pack, or its weights are missing.
        PackError: it is damaged: the weights are not those of its fingerprint.
    """
    info = read_backbone(folder)
    backbone = build_backbone(info.name).requires_grad_(False)
    weights = tensors_in(read_bytes(folder / WEIGHTS, MAX_WEIGHTS_BYTES), folder / WEIGHTS, PackError)
    try:
        with torch.no_grad():
            copy_tensors(backbone.state_dict(), weights, "backbone")
    except ValueError as error:
        raise PackError(f"{folder}: its weights are not those of {info.name}: {error}") from error
    if (found := fingerprint(backbone)) != info.fingerprint:
        raise PackError(f"{folder}: damaged: its weights have fingerprint {found}, {ABOUT} says {info.fingerprint}")
    return backbone, info
