"""The registry in a bucket: packs and backbones are read from there, and restore what they restore from a disk."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from ipt_platform.registry.store import open_registry
from ipt_platform.registry.trained import register_pack
from ipt_platform.restore.model import restorers
from ipt_platform.storage.files import s3

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """The URL of an empty bucket of moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    s3().client.create_bucket(Bucket="team")
    yield "s3://team/restoration"
    s3().client.close()  # the server waits for connections that are kept
    server.stop()


def test_register_train_promote_restore_verify_export_in_a_bucket_as_on_a_disk(place, do, bucket):
    pictures = {}
    for storage in (bucket, "runs"):
        assert do("task", "register", place.task(), "--shards", "shards/*.tar", "--storage", storage)[0] == 0
        folder = place.folder / "pack-one"
        pack = folder if folder.exists() else place.pack(0.01, "one")
        trained = register_pack(open_registry(storage, None), pack, place.backbone, Path(), restorers(torch.device("cpu")), NOW)
        assert trained
        assert trained.judgement
        assert trained.judgement.passed
        assert do("task", "promote", "mine@2", "--as", "prod", "--storage", storage)[0] == 0
        out = f"out-{len(pictures)}.png"
        _, said, _ = do("restore", "test/0.png", "-o", out, "--task", "mine", "--storage", storage)
        assert said["restored"][0]["steps"][0]["version"] == "mine@2"
        pictures[storage] = Path(out).read_bytes()
        assert do("task", "verify", "mine", "--storage", storage)[0] == 0
        assert do("task", "export", "mine@2", f"{len(pictures)}.tar", "--storage", storage)[0] == 0
        assert [each["aliases"] for each in do("task", "ls", "--storage", storage)[1]] == [{"prod": 2}]

    assert pictures[bucket] == pictures["runs"]
    assert do("task", "import", "1.tar", "--storage", "third")[0] == do("task", "import", "2.tar", "--storage", bucket)[0] == 0
    assert do("task", "show", "mine", "--storage", bucket)[1]["history"][0]["numbers"][0]["n"] == 2
    assert do("registry", "rebuild", "--storage", bucket)[1]["versions"] == 3
