"""The bias pack: the trained bias of one task, as a folder that says what it is and which backbone it belongs to.

bias.safetensors   `<weight name>.<B1|B2|dense>`, as `TaskBias.tensors` gives them
bias.json          format `ipt-bias/1`, see `about.py`
CARD.md            the same for people, see `card.py`
triptychs/*.png    degraded | restored | clean

A pack is written once and never changed. It is read from a disk or from S3; nothing that is read can execute code.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ipt_platform.checkpoint.durable import write_folder
from ipt_platform.checkpoint.files import tensors_in
from ipt_platform.errors import DataError, NotFoundError, PackError, RefusedError
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.registry.about import FACTORIZATION, FORMAT, BiasInfo, Facts
from ipt_platform.registry.card import card
from ipt_platform.storage.files import read_bytes
from ipt_platform.storage.paths import AnyPath

ABOUT = "bias.json"
TENSORS = "bias.safetensors"
CARD = "CARD.md"
TRIPTYCHS = "triptychs"
MAX_ABOUT_BYTES = 16 << 20


@dataclass(frozen=True)
class Pack:
    """A bias pack: where it is, and what its bias.json says."""

    folder: AnyPath
    info: BiasInfo


def pack_files(bias: TaskBias, facts: Facts, triptychs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a pack, by name.

    Args:
        bias: the trained bias.
        facts: what is known of it.
        triptychs: PNGs by name (`set-task-key.png`).
    """
    tensors = safetensors.torch.save({name: value.cpu().contiguous() for name, value in bias.tensors().items()})
    info = BiasInfo(
        **dict(facts),
        format=FORMAT,
        layout=bias.layout,
        factorization=FACTORIZATION,
        parameters=count_parameters(bias),
        bytes=len(tensors),
        sha256=hashlib.sha256(tensors).hexdigest(),
    )
    pictures = {f"{TRIPTYCHS}/{name}": data for name, data in triptychs.items()}
    return {
        TENSORS: tensors,
        ABOUT: info.model_dump_json(indent=1).encode() + b"\n",
        CARD: card(info, list(pictures)).encode(),
        **pictures,
    }


def write_pack(folder: Path, bias: TaskBias, facts: Facts, triptychs: Mapping[str, bytes]) -> Pack:
    """Write a pack, whole or not at all; arguments as `pack_files`.

    Raises:
        RefusedError: there is something already.
        OSError: the disk is full or refuses.
    """
    try:
        write_folder(folder, pack_files(bias, facts, triptychs))
    except FileExistsError as error:
        raise RefusedError(f"{folder} is there already, and a pack never changes: name a new folder") from error
    return read_pack(folder)


def is_pack(folder: AnyPath) -> bool:
    """Whether a folder on a disk is a bias pack."""
    return isinstance(folder, Path) and (folder / ABOUT).is_file()


def read_pack(folder: AnyPath) -> Pack:
    """Read what a pack says of itself, and check that its tensors are the ones that it speaks of.

    Raises:
        NotFoundError: there is no such pack.
        PackError: it is damaged or of another format.
    """
    path = folder / ABOUT
    try:
        data = read_bytes(path, MAX_ABOUT_BYTES)
    except NotFoundError as error:
        raise NotFoundError(f"{folder}: this is no bias pack: {ABOUT} is missing") from error
    except DataError as error:
        raise PackError(str(error)) from error
    try:
        pack = Pack(folder, BiasInfo.model_validate_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise PackError(
            f"{path}: not of format {FORMAT}: {where}: {first['msg']}; was it written by another version?"
        ) from error
    _tensor_bytes(pack)
    return pack


def load_bias(pack: Pack, backbone: nn.Module) -> TaskBias:
    """The bias of a pack on the backbone that it was trained on.

    Args:
        pack: as `read_pack` gave it.
        backbone: not fused.

    Raises:
        PackError: it belongs to another backbone, its tensors are not those of its layout, or a value is not finite; both
            sides are named.
    """
    own, found = pack.info.backbone, fingerprint(backbone)
    if found != own.fingerprint:
        raise PackError(
            f"{pack.folder}: this bias of {pack.info.task} belongs to the backbone {own.fingerprint} ({own.name}, from "
            f"{own.checkpoint or 'an unknown place'}); the backbone here is {found}. Use the one that it belongs to, or train "
            "the task on this one."
        )
    try:
        bias = TaskBias(backbone, pack.info.layout)
        tensors = tensors_in(_tensor_bytes(pack), pack.folder / TENSORS, PackError)
        _check(bias.tensors(), tensors)
        bias.load_tensors(tensors)
    except ValueError as error:
        raise PackError(f"{pack.folder}: {error}") from error
    return bias


def _check(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """What `load_tensors` would pass over; names and shapes are left to it."""
    for name in sorted(own.keys() & given.keys()):
        if given[name].dtype != own[name].dtype:
            raise ValueError(f"{name} is {given[name].dtype}, expected {own[name].dtype} as the backbone's weight")
        if broken := int((~torch.isfinite(given[name])).sum()):
            raise ValueError(f"{name} holds {broken} values that are not finite, of {given[name].numel()}")


def _tensor_bytes(pack: Pack) -> bytes:
    """The content of bias.safetensors, which is the one that bias.json speaks of."""
    path, info = pack.folder / TENSORS, pack.info
    try:
        data = read_bytes(path, info.bytes)
    except DataError as error:
        raise PackError(f"{path}: damaged: {ABOUT} says {info.bytes} bytes: {error}") from error
    if len(data) != info.bytes:
        raise PackError(f"{path}: damaged: it has {len(data)} bytes, {ABOUT} says {info.bytes}")
    if (found := hashlib.sha256(data).hexdigest()) != info.sha256:
        raise PackError(f"{path}: damaged: it has sha256 {found}, {ABOUT} says {info.sha256}")
    return data
