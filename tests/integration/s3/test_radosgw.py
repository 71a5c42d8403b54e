"""The same against a real store, which checks signatures and knows none of boto3's trailing checksums: Ceph's radosgw.

Runs where Debian's packages ceph-mon, ceph-osd, ceph-common and radosgw are installed: one of each, in memory, on loopback.
"""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipt_platform.data.index import index_path
from ipt_platform.data.pack import pack
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.shards import expand_shards, verify
from ipt_platform.errors import DataError, RefusedError, UsageError
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import find_run
from ipt_platform.storage.multipart import upload
from tests.conftest import HANG

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

KEY_ID, SECRET = "ACCESSKEYOFATEST", "the-secret-key-of-a-test-that-signs"
PART = 5 << 20
STARTS = 5  # of each process: a disk whose first words the monitor does not yet understand gives up
CONF = """
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{monitor}]
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 1000
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 1073741824
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = {folder}
log file = {folder}/$name.log
keyring = {folder}/keyring
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ceph:
    """One monitor, one disk in memory, one gateway; they end with `close`."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.processes: dict[str, list[subprocess.Popen]] = {}
        self._conf = folder / "ceph.conf"

    def start(self) -> None:
        fsid, disk, monitor = str(uuid.uuid4()), str(uuid.uuid4()), free_port()
        self._conf.write_text(CONF.format(fsid=fsid, monitor=monitor, folder=self.folder, port=self.port))
        (self.folder / "keyring").touch()
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir()
        monmap = str(self.folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{monitor}]", monmap, conf=False)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._begin("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "--connect-timeout", str(HANG), "osd", "new", disk)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._begin("ceph-osd", "-i", "0", "-f")
        self._begin("radosgw", "-n", "client.rgw", "-f")
        self._wait()
        self._run(
            *("radosgw-admin", "user", "create", "--uid=test", "--display-name=test"),
            *(f"--access-key={KEY_ID}", f"--secret-key={SECRET}"),
        )

    def close(self) -> None:
        for starts in reversed(self.processes.values()):
            starts[-1].kill()
            starts[-1].wait()

    def _run(self, program: str, *arguments: str, conf: bool = True) -> None:
        command = [program, *(["-c", str(self._conf)] if conf else []), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def _begin(self, program: str, *arguments: str) -> None:
        quiet, command = subprocess.DEVNULL, [program, "-c", str(self._conf), *arguments]
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        self.processes.setdefault(program, []).append(process)

    def _wait(self) -> None:
        end = time.monotonic() + HANG
        while not self._answers():
            for program, starts in self.processes.items():
                if starts[-1].poll() is not None:
                    assert len(starts) < STARTS, f"{program} ends whenever it is started"
                    self._begin(program, *starts[-1].args[3:])
            assert time.monotonic() < end, "radosgw does not answer"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}", timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[str, int]]:
    folder = Path(tempfile.mkdtemp(prefix="rgw"))  # short: sockets lie in it
    ceph = Ceph(folder)
    try:
        ceph.start()
        yield "127.0.0.1", ceph.port
    finally:
        ceph.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(gateway, new_store):
    return new_store(gateway, KEY_ID, SECRET)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, (70, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{seed}.png")
    return folder


def command(store, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ipt-platform"), *map(str, arguments)],
        env={**os.environ, **store.environment, **changes},
        capture_output=True,
        text=True,
    )


def test_packed_checked_and_read_is_what_was_photographed(store, photos, tmp_path):
    local = pack(photos, tmp_path / "out", shard_size=40_000).shards
    done = command(store, "data", "pack", photos, store.url("set"), "--shard-size", "40000")

    assert done.returncode == 0, done.stderr
    assert store.objects() == {f"set/{path.name}": path.read_bytes() for path in (tmp_path / "out").iterdir()}
    remote = expand_shards(store.url("set/*.tar"))
    assert [path.name for path in remote] == [path.name for path in local]
    assert verify(remote).problems == []
    store.proxy.fail_once("break", lambda request: request.method == "GET")
    far, near = ShardSet.open(remote), ShardSet.open(local)
    far.prefetch(range(far.images))
    assert [far.read(i) for i in range(far.images)] == [near.read(i) for i in range(near.images)]
    assert expand_shards(store.url(f"set/{{000000..{len(remote) - 1:06d}}}.tar")) == remote


@pytest.mark.parametrize("size", [1000, 2 * PART + 12345])
def test_uploads_are_exact_proved_by_the_store_and_never_over_something_else(store, tmp_path, size):
    data = np.random.default_rng(2).bytes(size)
    (tmp_path / "x").write_bytes(data)
    # but not the answer that names the upload: the store would keep one without parts, of which nobody knows
    store.proxy.fail_once("lose", lambda each: each.method in ("PUT", "POST") and not each.path.endswith("?uploads"))
    path = store.path("x.tar")

    upload(store.s3, tmp_path / "x", path, PART)

    assert store.objects() == {"x.tar": data}
    assert upload(store.s3, tmp_path / "x", path, PART) is False
    assert store.proxy.count("GET", "/x.tar") == 0  # nothing had to be read back
    (tmp_path / "x").write_bytes(data[::-1])
    with pytest.raises(RefusedError, match="is there already, with other bytes"):
        upload(store.s3, tmp_path / "x", path, PART)
    assert store.direct().list_multipart_uploads(Bucket=store.bucket).get("Uploads", []) == []


def test_bytes_that_change_on_the_way_are_refused_by_their_signature(store, tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 1000)
    store.proxy.fault = lambda request: "corrupt" if request.method == "PUT" else ""

    with pytest.raises(Exception, match=r"x\.tar: writing it"):
        upload(store.s3, tmp_path / "x", store.path("x.tar"))
    assert store.objects() == {}


def test_a_shard_that_changed_is_noticed(store, photos, tmp_path):
    (shard,) = pack(photos, tmp_path / "out").shards
    for path in (shard, index_path(shard)):
        store.direct().put_object(Bucket=store.bucket, Key=path.name, Body=path.read_bytes())
    opened = ShardSet.open([store.path(shard.name)])
    opened.read(0)
    store.direct().put_object(Bucket=store.bucket, Key=shard.name, Body=shard.read_bytes()[:-1] + b"x")

    with pytest.raises(DataError, match="changed while it was in use"):
        opened.read(1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "another"}, r"SignatureDoesNotMatch \(HTTP 403\): the secret key is not that of"),
        ({"AWS_ACCESS_KEY_ID": "NOBODY"}, r"InvalidAccessKeyId \(HTTP 403\): it does not know the access key"),
    ],
)
def test_wrong_credentials_are_told_apart_and_not_tried_again(store, monkeypatch, changes, said):
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    for ask in (lambda: store.s3.find(store.path("x")), lambda: store.s3.read(store.path("x"), 0, 10)):
        store.proxy.requests.clear()
        with pytest.raises(UsageError, match=said):
            ask()
        assert len(store.proxy.requests) <= 2

    done = command(store, "data", "verify", store.url("*.tar"), **changes)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not any(value in done.stderr for value in changes.values())


def test_what_another_owns_is_refused_in_words(store):
    theirs = dataclasses.replace(store, bucket="nowhere-at-all")
    done = command(theirs, "data", "verify", theirs.url("*.tar"))

    assert done.returncode == 3
    assert "there is no bucket 'nowhere-at-all'" in done.stderr


def test_a_job_trains_through_ray_from_s3_to_s3_as_from_a_disk_to_a_disk(store, workplace, weights, monkeypatch):
    done = command(store, "data", "pack", workplace.folder / "photos", store.url("set"))
    assert done.returncode == 0, done.stderr
    settings = ("data.carrier=ray", "train.stages.1.steps=2", "checkpoint.every=100")
    near = workplace.submit("on-a-disk", *settings)
    cache = workplace.folder / "cache-radosgw"
    workplace.environment |= store.environment | {"XDG_CACHE_HOME": str(cache)}
    store.proxy.fail_once("reset", lambda request: request.method == "GET")
    places = (f"data.shards={store.url('set/*.tar')}", f"storage={store.url('runs')}")
    far = workplace.submit("on-radosgw", *settings, *places)

    assert (near.wait(), far.wait()) == (0, 0), far.stderr
    assert store.proxy.count("GET", "/set/000000.tar") > 2
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
    shutil.rmtree(cache)  # another machine
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    run = find_run(store.url("runs"), "on-radosgw")
    assert run_status(run).state == "finished"
    newest, damaged = newest_usable(run)
    assert (newest, damaged) == (run.checkpoints / "step-8", [])
    assert weights(run, 8) == weights(workplace.run("on-a-disk"), 8)
