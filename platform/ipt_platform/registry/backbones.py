"""The backbones of a registry: each kept once, by its fingerprint, so that no pack ever loses the one that it belongs to.

backbones/<sha256>/model.safetensors, backbone.json     a backbone pack; it is whole once backbone.json is there
"""

from pathlib import Path

from ipt_platform.checkpoint.backbone import ABOUT, WEIGHTS, BackboneInfo, load_backbone
from ipt_platform.errors import NotFoundError
from ipt_platform.registry.files import Files
from ipt_platform.storage.paths import AnyPath

BACKBONES = "backbones"


def place_of(fingerprint: str) -> str:
    """Where the backbone of a fingerprint lies, below the registry."""
    return f"{BACKBONES}/{fingerprint.removeprefix('sha256:')}"


def keep_backbone(files: Files, folder: Path) -> BackboneInfo:
    """Keep a backbone pack of this machine, unless it is there already.

    Raises:
        NotFoundError, PackError: it is none, or damaged.
        InfrastructureError: the storage failed.
    """
    _, info = load_backbone(folder)
    place = place_of(info.fingerprint)
    if not files.exists(f"{place}/{ABOUT}"):
        files.add(f"{place}/{WEIGHTS}", folder / WEIGHTS)
        files.create(f"{place}/{ABOUT}", (folder / ABOUT).read_bytes())
    return info


def find_backbone(files: Files, fingerprint: str) -> AnyPath:
    """Where the backbone of a fingerprint lies.

    Raises:
        NotFoundError: the registry has none of it.
    """
    place = place_of(fingerprint)
    if not files.exists(f"{place}/{ABOUT}"):
        raise NotFoundError(
            f"the backbone {fingerprint} is not in {files.at(BACKBONES)}: was it removed by hand? An export of a task that was "
            "trained on it brings it back (`ipt-platform task import`)."
        )
    return files.at(place)
