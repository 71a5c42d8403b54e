"""`data pack DIR s3://...` and what follows from it: the same bytes as on a disk, all or nothing, never over something else."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.cli.main import app
from ipt_platform.data.pack import pack
from ipt_platform.data.shards import expand_shards
from ipt_platform.data.upload import staged, upload_shards
from ipt_platform.errors import InfrastructureError, IptError, NotFoundError, RefusedError, UsageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(9):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"p{seed}.png")
    return folder


@pytest.fixture(scope="module")
def local(photos, tmp_path_factory) -> dict[str, bytes]:
    """What packing them on a disk gives: shards of three pictures."""
    shards = pack(photos, tmp_path_factory.mktemp("local") / "out", 5000).shards
    return {path.name: path.read_bytes() for path in shards[0].parent.iterdir()}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where packing may leave something, but does not."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def run(*arguments) -> dict:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def in_set(local) -> dict[str, bytes]:
    return {f"set/{name}": data for name, data in local.items()}


def writes(store) -> list[str]:
    return [each.path.rpartition("/")[2] for each in store.proxy.requests if each.method == "PUT"]


def test_what_is_packed_to_s3_is_what_is_packed_to_a_disk(store, photos, local):
    said = run("data", "pack", photos, store.url("set"), "--shard-size", "5000")

    names = sorted(name for name in local if name.endswith(".tar"))
    assert len(names) == 3
    assert store.objects() == in_set(local)
    assert said["shards"] == [store.url(f"set/{name}") for name in names]
    assert writes(store) == [*names, *(f"{name}.index.json" for name in names)]  # no index before the last tar
    assert run("data", "verify", store.url("set/*.tar"))["problems"] == []
    assert run("data", "index", store.url("set"))["found"] == said["shards"]


def test_packing_again_sends_nothing_and_what_was_lost_is_sent_alone(store, photos, local):
    arguments = ("data", "pack", photos, store.url("set"), "--shard-size", "5000")
    first = run(*arguments)
    store.proxy.requests.clear()
    assert run(*arguments) == first
    assert writes(store) == []

    store.direct().delete_object(Bucket=store.bucket, Key="set/000001.tar")
    run(*arguments)
    assert writes(store) == ["000001.tar"]
    assert store.objects() == in_set(local)


@pytest.mark.parametrize("broken", ["000001.tar", "000002.tar.index.json"])
def test_an_upload_that_failed_shows_no_set_and_goes_on_when_it_is_started_again(store, photos, local, broken):
    arguments = ("data", "pack", photos, store.url("set"), "--shard-size", "5000")
    store.proxy.fault = lambda request: "error" if request.method == "PUT" and request.path.endswith(broken) else ""
    with pytest.raises(InfrastructureError, match=rf"set/{broken}: writing it failed 4 times"):
        run(*arguments)
    store.proxy.fault = lambda request: ""
    sent = store.objects()
    assert all(sent[key] == in_set(local)[key] for key in sent)
    with pytest.raises((NotFoundError, UsageError, IptError), match=r"has no index|1 indexes were made|No shards"):
        run("plan", write_job(photos.parent, store.url("set/{000000..000002}.tar")))

    store.proxy.requests.clear()
    run(*arguments)
    assert sorted(writes(store)) == sorted(name for name in local if f"set/{name}" not in sent)
    assert store.objects() == in_set(local)


def write_job(folder: Path, shards: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(
        "{apiVersion: ipt/v1, kind: train, name: s3, model: {backbone: iptv2-tiny}, tasks: [denoise], "
        f"data: {{shards: '{shards}'}}, train: {{stages: [{{steps: 2, patch: 16, images: 1}}], schedule: {{warmup: 0}}}}}}\n"
    )
    return path


def test_a_plan_counts_the_pictures(store, photos, local):
    run("data", "pack", photos, store.url("set"), "--shard-size", "5000")

    planned = run("plan", write_job(photos.parent, store.url("set/*.tar")))

    assert planned["images"] == 9
    assert [shard["images"] for shard in planned["shards"]] == [3, 3, 3]
    assert planned["shards"][0]["path"] == store.url("set/000000.tar")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("set/readme.txt", "holds something else already, such as .*readme.txt"),
        ("set/deep/000000.tar", "holds something else already, such as .*deep/000000.tar"),
        ("set/000007.tar", r"holds 1 other files, such as 000007\.tar; these shards would mix with them"),
        ("set/000001.tar", r"000001\.tar: is there already, with other bytes"),
    ],
)
def test_nothing_is_mixed_with_or_written_over_what_is_there(store, photos, local, key, said):
    store.direct().put_object(Bucket=store.bucket, Key=key, Body=b"theirs")

    with pytest.raises(RefusedError, match=said):
        run("data", "pack", photos, store.url("set"), "--shard-size", "5000")
    assert store.objects()[key] == b"theirs"
    assert not any(name.endswith(".json") for name in store.objects())


def test_bad_pictures_are_refused_before_anything_is_sent(store, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"no picture")

    with pytest.raises(IptError, match=r"x\.png: Not a PNG"):
        run("data", "pack", tmp_path / "bad", store.url("set"))
    assert store.objects() == {}
    with pytest.raises(NotFoundError, match="there is no bucket 'nowhere-at-all'"):
        run("data", "pack", tmp_path / "bad", "s3://nowhere-at-all/set")


def test_a_large_tar_goes_up_in_parts(store, tmp_path, monkeypatch):
    monkeypatch.setattr("ipt_platform.storage.multipart.upload.__defaults__", (5 << 20, True))
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (1100, 1000, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{seed}.png")
    target = store.path("set")
    with staged(target) as folder:
        uploaded = upload_shards(pack(tmp_path / "photos", folder).shards, target)

    assert store.proxy.count("PUT", "partNumber") == 2
    assert expand_shards(str(target)) == uploaded
    assert run("data", "verify", target)["problems"] == []


@pytest.mark.slow
def test_ctrl_c_in_an_upload_leaves_no_parts(store, tmp_path):
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (1500, 1400, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{seed}.png")
    program = Path(sys.executable).with_name("ipt-platform")
    process = subprocess.Popen(
        [program, "data", "pack", str(tmp_path / "photos"), store.url("set")],
        env={**os.environ, **store.environment, "TMPDIR": tempfile.gettempdir()},
        stderr=subprocess.PIPE,
        text=True,
    )

    asked = threading.Lock()

    def interrupt(request) -> str:
        if "partNumber" not in request.path:
            return ""
        if asked.acquire(blocking=False):  # once: parts are sent side by side
            process.send_signal(signal.SIGINT)
        return "busy"

    store.proxy.fault = interrupt
    _, said = process.communicate(timeout=120)

    assert process.returncode == 7, said
    assert "stopped by Ctrl-C" in said
    assert store.objects() == {}
    assert store.direct().list_multipart_uploads(Bucket=store.bucket).get("Uploads", []) == []


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, 2, "no credentials were found"),
        ({"AWS_ENDPOINT_URL_S3": "not-a-url"}, 2, "Invalid endpoint: not-a-url"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "AWS_MAX_ATTEMPTS": "1"}, 6, "because it could not be reached"),
        ({"TEST_BUCKET": "nowhere-at-all"}, 3, "there is no bucket 'nowhere-at-all'"),
        ({"TEST_BUCKET": "me:secret@bucket"}, 2, "credentials and parameters do not belong in a path"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_an_exit_code(store, changes, code, said):
    environment = {**os.environ, **store.environment, **changes}
    bucket = environment.pop("TEST_BUCKET", store.bucket)
    result = subprocess.run(
        [Path(sys.executable).with_name("ipt-platform"), "data", "verify", f"s3://{bucket}/set/*.tar"],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
    )

    assert result.returncode == code
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert "secret@" not in result.stderr
