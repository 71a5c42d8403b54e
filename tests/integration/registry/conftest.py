"""A place where people register tasks: pictures, a backbone, packs; and a PostgreSQL server of our own, on loopback."""

import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
import yaml
from PIL import Image

from ipt_platform.checkpoint.backbone import BackboneInfo, load_backbone, write_backbone
from ipt_platform.cli.main import main
from ipt_platform.data.pack import pack
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.registry.about import Facts, Lineage, OnBackbone
from ipt_platform.registry.pack import write_pack
from tests.conftest import HANG

PASSWORD = "the-password-of-a-test"
NUMBERS = itertools.count()


def program(name: str) -> str | None:
    """A program of PostgreSQL's; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server, without the name of a database."""
    initdb, postgres = program("initdb"), program("postgres")
    if not initdb or not postgres:
        pytest.skip("not installed: PostgreSQL (Debian's package postgresql)")
    # initdb refuses root, and a folder of somebody else
    owner = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    own = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    secret = folder / "password"
    secret.write_text(PASSWORD)
    for path in (folder, secret):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    data = folder / "data"
    make = [initdb, "-D", data, "-U", "ipt", "-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd=folder, **own)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([postgres, "-D", data, *words], stdout=log, stderr=log, cwd=folder, **own)
    try:
        end = time.monotonic() + HANG
        while "ready to accept connections" not in (said := (folder / "log").read_text()):
            assert server.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)
        yield f"postgresql://ipt:{PASSWORD}@127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGINT)  # whoever is still connected is not waited for
        server.wait(HANG)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.sqlite"
    import psycopg

    server, name = request.getfixturevalue("postgresql"), f"registry{next(NUMBERS)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{server}/{name}"


TASK = {
    "apiVersion": "ipt/v1",
    "kind": "task",
    "name": "mine",
    "description": "Take my noise away.",
    "stage": "downstream",
    "degradation": {"name": "gaussian-noise", "sigma": {"min": 5, "max": 15}},
    "evaluate": {"sigma": 10},
    "instructions": ["take my noise away"],
    "owner": "anna",
    "sets": ["test"],
    "gates": ["psnr >= 20", "gain >= -1"],
}
LAYOUT = {"output.weight": 2, "embed.weight": 1}


@dataclass
class Place:
    """A folder in which people work: photographs in shards, test pictures, and packs on one backbone."""

    folder: Path
    info: BackboneInfo

    @property
    def backbone(self) -> Path:
        return self.folder / "backbone"

    def task(self, file: str = "mine.yaml", **changes: Any) -> str:
        """Write a task file; what is None is left out."""
        said = {key: value for key, value in {**TASK, **changes}.items() if value is not None}
        (self.folder / file).write_text(yaml.safe_dump(said, sort_keys=False))
        return file

    def pack(self, strength: float, run: str, task: str = "mine") -> Path:
        """A pack whose bias changes the output so much; at 0 it does what the backbone does, which is next to nothing."""
        backbone, _ = load_backbone(self.backbone)
        torch.manual_seed(1)
        bias = TaskBias(backbone, LAYOUT)
        bias.factor("output.weight", "B1").data.normal_(0, strength) if strength else None
        facts = Facts(
            task=task,
            backbone=OnBackbone(name=self.info.name, fingerprint=self.info.fingerprint, checkpoint="runs/first"),
            rank=2,
            allocation="constant",
            targets=("output", "embed"),
            depthwise=False,
            upscale=1,
            quantize=False,
            metrics=(),
            lineage=Lineage(run=run, attempt=1, step=7, job={"kind": "finetune"}, version="0.1.0"),
            created="2026-01-02T03:04:05+00:00",
        )
        folder = self.folder / f"pack-{run}"
        write_pack(folder, bias, facts, {"test-mine-cat.png": b"picture"})
        return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    for name in ("test", "photos"):
        (folder / name).mkdir()
    for number, picture in enumerate((skimage.data.chelsea(), skimage.data.coffee())):
        Image.fromarray(picture[40:80, 60:108]).save(folder / f"test/{number}.png")
        Image.fromarray(picture[:180, :200]).save(folder / f"photos/{number}.png")
    pack(folder / "photos", folder / "shards")
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    backbone.output.weight.data *= 0.02
    info = write_backbone(folder / "backbone", backbone, "iptv2-nano", {"run": "first"}, "2026-01-02T03:04:05+00:00")
    return Place(folder, info)


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Place:
    """A place of one's own, in which commands run."""
    folder = tmp_path / "place"
    shutil.copytree(made.folder, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("IPT_REGISTRY_DATABASE", raising=False)
    return Place(folder, made.info)


@pytest.fixture
def do(capsys) -> Callable[..., tuple[int, Any, str]]:
    """Run a command with --json: its exit code, its document (None without one), and what it says beside."""

    def call(*words: object) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--json"])
        printed = capsys.readouterr()
        return int(end.value.code or 0), json.loads(printed.out) if printed.out else None, printed.err

    return call


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """Every test here computes with one."""
