"""An import believes nothing: whatever tar comes, it is refused in words, and leaves nothing behind."""

import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from ipt_platform.errors import DataError, IptError, PackError, RefusedError
from ipt_platform.registry.archive import export_version, import_version
from ipt_platform.registry.catalogue import SHEET
from ipt_platform.registry.record import Signature, TaskRecord
from ipt_platform.registry.store import open_registry
from ipt_platform.registry.trained import register_pack
from ipt_platform.restore.model import restorers
from ipt_platform.spec.task import parse_task
from tests.integration.registry.conftest import Place

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TASK = "apiVersion: ipt/v1\nkind: task\nname: mine\ndescription: Mine.\nstage: downstream\ndegradation: {name: rain}\n"
RESTORER_OF = restorers(torch.device("cpu"))
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory) -> Path:
    """A folder with a registry, in `runs`: mine@1, a record, and mine@2, which has a pack; and both as `1.tar` and `2.tar`."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(made.folder / "backbone", folder / "backbone")
    torch.set_num_threads(1)
    place = Place(folder, made.info)
    registry = open_registry(folder / "runs", None)
    record = TaskRecord(
        id="1" * 32,
        name="mine",
        version=1,
        owner="anna",
        created=NOW.isoformat(),
        signature=Signature(scale=1),
        task=parse_task(TASK, "mine.yaml"),
        sets=(),
        pairs=None,
    )
    plain = registry.add_version(record, {SHEET: b"sheet" * 300})
    trained = register_pack(registry, place.pack(0, "one"), place.backbone, folder, RESTORER_OF, NOW)
    assert trained
    export_version(registry.catalogue, plain, folder / "1.tar")
    export_version(registry.catalogue, trained.version, folder / "2.tar")
    return folder


def members(tar: Path) -> Members:
    with tarfile.open(tar) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened}  # pyright: ignore[reportOptionalMemberAccess]


def write(path: Path, items: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in items:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def sealed(found: Members, **changes: bytes) -> Members:
    """An export with other members, whose manifest speaks the truth about them."""
    others = {**{name: data for name, data in found.items() if name != "MANIFEST.json"}, **changes}
    manifest = json.loads(found["MANIFEST.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in others.items()
    }
    return {"MANIFEST.json": json.dumps(manifest).encode(), **others}


FORGERIES: dict[str, tuple[Callable[[Members], Iterable], type[IptError], str]] = {
    "no manifest": (lambda found: list(found.items())[1:], DataError, "MANIFEST.json is not its first member"),
    "empty": (lambda found: [], DataError, "not its first member"),
    "a member more": (
        lambda found: [*found.items(), ("version/more", b"")],
        DataError,
        "'version/more' stands there twice, is not",
    ),
    "a member twice": (lambda found: [*found.items(), *list(found.items())[1:2]], DataError, "stands there twice"),
    "a member less": (lambda found: list(found.items())[:-1], DataError, "is missing"),
    "a path": (lambda found: sealed(found, **{"version/../../x": b""}).items(), DataError, "no part of an export"),
    "a hidden file": (lambda found: sealed(found, **{"version/pack/.x": b""}).items(), DataError, "no part of an export"),
    "an absolute path": (lambda found: sealed(found, **{"/version/task.json": b""}).items(), DataError, "no part of an export"),
    "a link": (lambda found: [*found.items(), (link("version/x", tarfile.SYMTYPE), b"")], DataError, "is no regular file"),
    "a device": (lambda found: [(link("MANIFEST.json", tarfile.CHRTYPE), b"")], DataError, "is no regular file"),
    "another record": (
        lambda found: sealed(found, **{"version/task.json": b'{"format": "ipt-task/9"}'}).items(),
        DataError,
        "expected format ipt-task/1",
    ),
    "another task's": (
        lambda found: sealed(
            found, **{"version/task.json": found["version/task.json"].replace(b'"name": "mine"', b'"name": "other"')}
        ).items(),
        DataError,
        "speaks of mine",
    ),
    "a manifest of another version": (
        lambda found: {**found, "MANIFEST.json": found["MANIFEST.json"].replace(b"export/1", b"export/2")}.items(),
        DataError,
        "not of format ipt-export/1",
    ),
    "a bias that is none": (
        lambda found: sealed(found, **{"version/pack/bias.safetensors": b"x" * 99}).items(),
        (PackError, RefusedError),  # pyright: ignore[reportAssignmentType]
        "bias.safetensors",
    ),
    "another backbone": (
        lambda found: sealed(
            found, **{"backbone/model.safetensors": found["backbone/model.safetensors"][:-1] + b"\x01"}
        ).items(),
        (PackError, RefusedError),  # pyright: ignore[reportAssignmentType]
        "fingerprint",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_tar_is_refused_by_name_and_leaves_nothing(exported, tmp_path, forgery):
    forge, error, told = FORGERIES[forgery]
    tar = write(tmp_path / "forged.tar", forge(members(exported / "2.tar")))
    there = open_registry(tmp_path / "other", None)

    with pytest.raises(error, match=told) as caught:
        import_version(there, tar, tmp_path, RESTORER_OF, NOW)

    assert "Traceback" not in str(caught.value)
    assert there.catalogue.tasks() == []
    assert [path.name for path in (tmp_path / "other/registry").iterdir()] == ["registry.json"]


def test_every_cut_and_many_a_flipped_bit_is_refused_or_changes_nothing(exported, tmp_path):
    data = (exported / "1.tar").read_bytes()
    rng = random.Random(0)
    damaged = [data[:size] for size in {*range(0, len(data), 512), *rng.sample(range(len(data)), 20)}]
    for _ in range(80):
        copy = bytearray(data)
        copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(copy))
    own = open_registry(exported / "runs", None).catalogue.version("mine", 1).record
    refused = 0
    for number, content in enumerate(damaged):
        (tmp_path / "damaged.tar").write_bytes(content)
        there = open_registry(tmp_path / str(number), None)
        try:
            import_version(there, tmp_path / "damaged.tar", tmp_path, RESTORER_OF, NOW)
        except IptError:
            refused += 1
            assert there.catalogue.tasks() == []
        else:  # what changed was padding, or a field of a header that nobody reads
            version = there.catalogue.version("mine", 1)
            assert version.record == own
            assert there.catalogue.read("mine", 1, version.seal, SHEET) == b"sheet" * 300

    assert refused > len(damaged) / 3


def test_of_a_damaged_version_nothing_is_exported(exported, tmp_path):
    shutil.copytree(exported / "runs", tmp_path / "runs")
    catalogue = open_registry(tmp_path / "runs", None).catalogue
    path = tmp_path / "runs/registry/tasks/mine/2/pack/CARD.md"
    for content in (path.read_bytes() + b"x", b"x", path.read_bytes()[:-1] + b"x"):
        path.write_bytes(content)

        with pytest.raises(DataError, match=r"CARD\.md"):
            export_version(catalogue, catalogue.version("mine", 2), tmp_path / "again.tar")
        assert not list(tmp_path.glob("*again*"))
