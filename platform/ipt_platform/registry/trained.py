"""A trained pack as a version of its task: what `kind: finetune` ends with, and what an import brings."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ipt_platform.errors import PackError, RefusedError
from ipt_platform.registry.backbones import keep_backbone
from ipt_platform.registry.catalogue import ABOUT_PACK, PACK, SHEET, VERDICT, TaskView, Version
from ipt_platform.registry.gates import Judgement, RestorerOf, judge
from ipt_platform.registry.pack import ABOUT, read_pack
from ipt_platform.registry.record import TaskRecord
from ipt_platform.registry.serve import Candidate
from ipt_platform.registry.store import Registry

VERDICT_FORMAT = "ipt-verdict/1"


@dataclass(frozen=True)
class Trained:
    """A version with a pack.

    Attributes:
        version: the version.
        new: whether it was made now; else the same pack was registered already.
        judgement: what the gates said; None where nothing was made.
    """

    version: Version
    new: bool
    judgement: Judgement | None = None


def register_pack(
    registry: Registry,
    pack: Path,
    backbone: Path,
    base: Path,
    restorer_of: RestorerOf,
    now: datetime,
    trained_as: int | None = None,
) -> Trained | None:
    """Register a pack as the next version of its task, with what the gates say of it; safe to do again.

    Args:
        registry: where to.
        pack: folder of the bias pack.
        backbone: folder of the pack of the backbone that it was trained on, which is kept too.
        base: what the names of test sets are relative to.
        restorer_of: how models are run.
        now: the time.
        trained_as: the version whose record the pack was trained by; None: the newest.

    Returns:
        The version; None where the task is not registered here.

    Raises:
        NotFoundError, PackError: the pack or the backbone is none, damaged, or not the other's.
        RefusedError: the pack cannot be used in a fresh process.
        TrainingError: it gives values that are not finite.
        InfrastructureError: the storage or the index failed.
    """
    task = read_pack(pack).info.task
    view = registry.catalogue.view(task)
    if not view.versions:
        return None
    if there := _same_pack(registry, view, pack):
        return Trained(there, new=False)
    by = registry.catalogue.version(task, trained_as or view.versions[-1])
    own = {"version": view.next_version, "id": secrets.token_hex(16), "created": now.isoformat(timespec="seconds")}
    sheet = registry.catalogue.read(task, by.record.version, by.seal, SHEET)
    return add_trained(registry, by.record.model_copy(update=own), pack, backbone, sheet, base, restorer_of, now)


def add_trained(
    registry: Registry,
    record: TaskRecord,
    pack: Path,
    backbone: Path,
    sheet: bytes,
    base: Path,
    restorer_of: RestorerOf,
    now: datetime,
) -> Trained:
    """Write a version with a pack, after the gates were asked; arguments and errors as of `register_pack`."""
    info = read_pack(pack).info
    if info.task != record.name:
        raise PackError(f"{pack}: this is a bias of {info.task}, and cannot be a version of {record.name}")
    judgement = judge(Candidate(record, pack, backbone), None, base, restorer_of)
    keep_backbone(registry.files, backbone)
    files = {f"{PACK}/{path.relative_to(pack).as_posix()}": path.read_bytes() for path in _files(pack)}
    verdict = {
        "format": VERDICT_FORMAT,
        "passed": judgement.passed,
        "missed": judgement.missed,
        "numbers": judgement.numbers,
        "time": now.isoformat(timespec="seconds"),
    }
    data = json.dumps(verdict, indent=1, allow_nan=False).encode() + b"\n"
    version = _next_version(registry, record, {SHEET: sheet, **files, VERDICT: data})
    return Trained(version, new=True, judgement=judgement)


def _next_version(registry: Registry, record: TaskRecord, contents: Mapping[str, bytes]) -> Version:
    """Write a version under the number that is next by now: a pack follows on nothing that others may register meanwhile."""
    while True:
        number = registry.catalogue.view(record.name).next_version
        try:
            return registry.add_version(record.model_copy(update={"version": number}), contents)
        except RefusedError:
            if registry.catalogue.view(record.name).next_version == number:
                raise


def _same_pack(registry: Registry, view: TaskView, pack: Path) -> Version | None:
    """The version that holds exactly this pack: its bias.json names the tensors, the run and the step."""
    digest = hashlib.sha256((pack / ABOUT).read_bytes()).hexdigest()
    for number in reversed(view.versions):
        version = registry.catalogue.version(view.name, number)
        if version.has_pack and version.seal.files[ABOUT_PACK].sha256 == digest:
            return version
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
