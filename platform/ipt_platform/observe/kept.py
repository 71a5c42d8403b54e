"""What a run is given and what it leaves, on S3: lists of files by digest, each written after the files that it names.

`given.json`, `{name: sha256}`, lists what a run was submitted with; the bytes lie in `given/<sha256>`, so two submissions of
one id never mix theirs: whoever creates the list first decides. `results.json` lists `report.json`, `report.md` and `packs/`,
which lie under their names; the attempt that finished writes it.
"""

import json
import secrets
import shutil
from pathlib import Path

from ipt_platform.checkpoint.durable import sync_folder
from ipt_platform.checkpoint.manifest import digest_file
from ipt_platform.errors import InfrastructureError, NotFoundError
from ipt_platform.storage.prefix import Prefix

GIVEN, RESULTS = "given.json", "results.json"
_GIVEN = ("tasks", "start.safetensors", "backbone", "beginning", "models.json")
_RESULTS = ("report.json", "report.md", "packs")


def keep_given(remote: Prefix, folder: Path) -> None:
    """Send what a run was submitted with, unless that is there; where another submission was faster, take its files.

    Raises:
        InfrastructureError: the store fails.
    """
    files = _files(folder, _GIVEN)
    table = _table(files)
    if not remote.find(GIVEN):
        for name, digest in json.loads(table).items():
            remote.send(f"given/{digest}", files[name])
    if not remote.create(GIVEN, table):
        _clear(folder, _GIVEN)
        fetch_kept(remote, folder)


def keep_results(remote: Prefix, folder: Path) -> None:
    """Send what a run leaves; called by the attempt that owns it.

    Raises:
        InfrastructureError: the store fails.
    """
    files = _files(folder, _RESULTS)
    for name, path in files.items():
        remote.put(name, path.read_bytes())
    remote.put(RESULTS, _table(files))


def fetch_kept(remote: Prefix, folder: Path) -> None:
    """Bring to a working folder what a run was given and what it left, where that is not there.

    Raises:
        InfrastructureError: the store fails, or has other bytes than were sent.
    """
    for table in (GIVEN, RESULTS):
        try:
            wanted = json.loads(remote.read(table))
        except NotFoundError:
            continue
        given = table == GIVEN
        missing = {
            name: f"given/{digest}" if given else name
            for name, digest in wanted.items()
            if not _there(folder / name, "" if given else digest)
        }
        temporary = folder / f".fetched-{secrets.token_hex(4)}"
        try:
            for name, source in missing.items():
                digest, _ = remote.fetch(source, temporary / name)
                if digest != wanted[name]:
                    raise InfrastructureError(
                        f"{remote.at(source)}: damaged: it has sha256 {digest}, {remote.at(table)} says {wanted[name]}; "
                        "submit the job as a new run"
                    )
            _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path) -> None:
    """Move what has come to its place: whole folders, so that what is there is whole."""
    if not temporary.is_dir():
        return
    for path in temporary.iterdir():
        target = folder / path.name
        if path.is_dir() and not target.exists():
            path.rename(target)
            continue
        for file in [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file()):
            place = folder / file.relative_to(temporary)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.rename(place)
    sync_folder(folder)


def _files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    found = [path for name in names for path in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))]
    return {path.relative_to(folder).as_posix(): path for path in sorted(found) if path.is_file()}


def _table(files: dict[str, Path]) -> bytes:
    return json.dumps({name: digest_file(path) for name, path in files.items()}, indent=1).encode() + b"\n"


def _there(path: Path, digest: str) -> bool:
    """Whether a file is there; what a run was given never changes, so its digest need not be looked at again."""
    return path.is_file() and (not digest or digest_file(path) == digest)


def _clear(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
