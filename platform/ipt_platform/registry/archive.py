"""A version of a task as one plain tar, to carry it to another registry.

    MANIFEST.json               format `ipt-export/1`: task, version, and the sha256 and size of every other member; the first
    version/task.json, ...      the files of the version
    backbone/model.safetensors, backbone/backbone.json    the backbone of its pack

An import believes nothing: members are read one by one and never extracted by their names, each must be a regular file that the
manifest lists, with its size and digest; the record must be one, the pack must load on the backbone in a fresh process, and the
gates are asked anew.
"""

import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, BinaryIO, Literal

from pydantic import Field, ValidationError

from ipt_platform.checkpoint import backbone as backbones
from ipt_platform.data.tar import TarMember, walk_tar
from ipt_platform.errors import DataError, NotFoundError, RefusedError, storage_failed
from ipt_platform.registry.backbones import place_of
from ipt_platform.registry.catalogue import COMMIT, PACK, RECORD, SHEET, TASKS, VERDICT, Catalogue, FileEntry, Version
from ipt_platform.registry.files import SMALL
from ipt_platform.registry.gates import RestorerOf
from ipt_platform.registry.record import parse_record
from ipt_platform.registry.store import Registry
from ipt_platform.registry.trained import Trained, add_trained
from ipt_platform.spec.base import Spec

MANIFEST = "MANIFEST.json"
VERSION = "version"
BACKBONE = "backbone"
CHUNK = 1 << 20

_PLAIN = r"[^/.\x00-\x1f][^/\x00-\x1f]*"
_MEMBER = re.compile(
    rf"{VERSION}/({RECORD}|{SHEET}|{VERDICT}|{PACK}/{_PLAIN}(/{_PLAIN})?)|{BACKBONE}/(model\.safetensors|backbone\.json)"
)


class Manifest(Spec):
    """The content of MANIFEST.json."""

    format: Literal["ipt-export/1"] = Field(default="ipt-export/1", description="Version of this format.")
    task: str = Field(description="Name of the task.")
    version: int = Field(ge=1, description="Number of the version where it was exported.")
    files: dict[str, FileEntry] = Field(description="Every other member, by name.")


def export_version(catalogue: Catalogue, version: Version, out: Path) -> Manifest:
    """Write a version, and the backbone of its pack, into a tar that appears whole or not at all.

    Raises:
        RefusedError: there is a file of that name.
        NotFoundError: the backbone is gone.
        DataError: a file is damaged.
        InfrastructureError: the disk refuses.
    """
    if out.exists():
        raise RefusedError(f"{out}: exists, and nothing is written over. Name another file.")
    record = version.record
    backbone = place_of(catalogue.about_pack(version)["backbone"]["fingerprint"]) if version.has_pack else ""
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        with catalogue.files.local(f"{TASKS}/{record.name}/{record.version}") as own, temporary.open("wb") as raw:
            paths = {f"{VERSION}/{name}": own / name for name in version.seal.files}
            entries = {f"{VERSION}/{name}": entry for name, entry in version.seal.files.items()}
            with catalogue.files.local(backbone or BACKBONE) as there:
                if backbone:
                    paths |= {f"{BACKBONE}/{name}": there / name for name in (backbones.WEIGHTS, backbones.ABOUT)}
                    entries |= {name: _entry(path) for name, path in paths.items() if name.startswith(BACKBONE)}
                manifest = Manifest(task=record.name, version=record.version, files=entries)
                _write(raw, manifest, paths)
        temporary.rename(out)
    except OSError as error:
        raise storage_failed(error, out) from error
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def import_version(
    registry: Registry, file: Path, base: Path, restorer_of: RestorerOf, now: datetime
) -> tuple[Trained, Manifest]:
    """Make the version in a tar the next version of its task here, unless it is here already.

    Args:
        registry: where to.
        file: what `export_version` wrote.
        base: what the names of test sets are relative to.
        restorer_of: how models are run.
        now: the time.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no export, or a member is not what the manifest says; the member is named.
        PackError: the pack and the backbone in it do not belong together.
        RefusedError: the pack cannot be used; or somebody else registered a version meanwhile.
        InfrastructureError: the storage or the index failed.
    """
    if not file.is_file():
        raise NotFoundError(f"{file}: there is no such file.")
    with tempfile.TemporaryDirectory(prefix="ipt-import-") as folder:
        manifest = _unpack(file, Path(folder))
        own = Path(folder, VERSION)
        record = parse_record((own / RECORD).read_bytes(), f"{file}: {RECORD}")
        if record.name != manifest.task:
            raise DataError(f"{file}: its {MANIFEST} speaks of {manifest.task}, its {RECORD} of {record.name}")
        view = registry.catalogue.view(record.name)
        for number in view.versions:
            version = registry.catalogue.version(record.name, number)
            if version.record.id == record.id:
                return Trained(version, new=False), manifest
        record = record.model_copy(update={"version": view.next_version})
        sheet = (own / SHEET).read_bytes()
        if not (own / PACK).is_dir():
            return Trained(registry.add_version(record, {SHEET: sheet}), new=True), manifest
        trained = add_trained(registry, record, own / PACK, Path(folder, BACKBONE), sheet, base, restorer_of, now)
        return trained, manifest


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as stream:
        return FileEntry(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), bytes=path.stat().st_size)


def _write(raw: IO[bytes], manifest: Manifest, paths: dict[str, Path]) -> None:
    """The same version gives the same bytes: no times, no owners."""
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        data = manifest.model_dump_json(indent=1).encode() + b"\n"
        tar.addfile(_info(MANIFEST, len(data)), io.BytesIO(data))
        for name, path in paths.items():
            entry, digest, size = manifest.files[name], hashlib.sha256(), path.stat().st_size
            if size == entry.bytes:
                with path.open("rb") as stream:
                    tar.addfile(_info(name, size), _Digesting(stream, digest))
            if size != entry.bytes or digest.hexdigest() != entry.sha256:
                raise DataError(
                    f"{path}: damaged: {COMMIT} says {entry.bytes} bytes with sha256 {entry.sha256}, these are others"
                )


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


class _Digesting(io.RawIOBase):
    """A file that is digested as it is read."""

    def __init__(self, stream: BinaryIO, digest: "hashlib._Hash"):
        self._stream, self._digest = stream, digest

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data


def _unpack(tar: Path, folder: Path) -> Manifest:
    """Copy the members of an export into a folder, each under a name of ours, checked against the manifest."""
    with tar.open("rb") as stream:
        members = _members(tar, stream)
        first = next(members, None)
        if not first or first.name != MANIFEST or first.size > SMALL:
            raise DataError(f"{tar}: not an export of a task: {MANIFEST} is not its first member")
        try:
            manifest = Manifest.model_validate_json(b"".join(_pieces(stream, first)))
        except ValidationError as error:
            told = error.errors(include_url=False)[0]
            where = ".".join(map(str, told["loc"]))
            raise DataError(f"{tar}: its {MANIFEST} is not of format ipt-export/1: {where}: {told['msg']}") from error
        missing = dict(manifest.files)
        for member in members:
            entry = missing.pop(member.name, None)
            if entry is None or not _MEMBER.fullmatch(member.name):
                raise DataError(
                    f"{tar}: member {member.name!r:.80} stands there twice, is not listed in {MANIFEST}, "
                    "or is no part of an export"
                )
            if member.size != entry.bytes or not _copied(stream, member, entry, folder / member.name):
                raise DataError(
                    f"{tar}: {member.name} is damaged: {MANIFEST} lists {entry.bytes} bytes with sha256 {entry.sha256}, "
                    "and these are others"
                )
    required = {f"{VERSION}/{RECORD}", f"{VERSION}/{SHEET}"}
    if missing or not required <= manifest.files.keys():
        gone = sorted({*missing, *(required - manifest.files.keys())})
        raise DataError(f"{tar}: cut off or damaged: {gone[0]} is missing")
    return manifest


def _members(tar: Path, stream: BinaryIO) -> Iterator[TarMember]:
    for member in walk_tar(tar, stream):
        if not member.regular:
            raise DataError(f"{tar}: member {member.name!r:.80} is no regular file")
        yield member


def _pieces(stream: BinaryIO, member: TarMember) -> Iterator[bytes]:
    start, size = member.offset, member.size
    while size > 0:
        stream.seek(start)  # the walk goes on elsewhere
        data = stream.read(min(CHUNK, size))
        if not data:
            return
        start, size = start + len(data), size - len(data)
        yield data


def _copied(stream: BinaryIO, member: TarMember, entry: FileEntry, to: Path) -> bool:
    """Copy a member, and say whether it is the file of the manifest."""
    digest = hashlib.sha256()
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("xb") as out:
        for piece in _pieces(stream, member):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest() == entry.sha256
