"""A training whose photographs and test sets lie on S3 learns, bit for bit, what it learns from a disk."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ipt_platform.checkpoint.files import read_json
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.errors import InfrastructureError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.dataset import resolve_set
from ipt_platform.spec.job import JOB
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")

FAULTS = ("", "error", "busy", "reset", "cut")
CARD = """
{{apiVersion: ipt/v1, kind: dataset, name: far, description: d, source: s, licence: l, shards: "{shards}"}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for part, seeds in (("train", range(5)), ("test", range(9, 11))):
        (folder / part).mkdir()
        for seed in seeds:
            pixels = np.random.default_rng(seed).integers(0, 256, (40, 44, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{part}/p{seed}.png")
        pack(folder / part, folder / f"{part}-set", shard_size=8000)
    return folder


def train(runs: Path, base: Path, shards: str, test: str) -> RunDir:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "far",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
        "tasks": {"denoise": {"params": {"sigma": 25}}},
        "data": {"shards": shards, "carrier": "local"},
        "train": {"stages": [{"steps": 4, "patch": 32, "images": 2}], "samples": 1},
        "evaluate": {"sets": [test]},
    }
    run = create(runs, "far")
    place = Place(run, run.new_attempt(), base, ALONE, torch.device("cpu"))
    session = Session(JOB.validate_python(job), place, lambda *asked: local_stream(*asked, processes=1))
    session.train()
    return run


def weights(run: RunDir) -> dict[str, bytes]:
    return {str(path.relative_to(run.checkpoints)): path.read_bytes() for path in run.checkpoints.rglob("*.safetensors")}


def put(store, base: Path) -> None:
    for path in base.glob("*-set/*"):
        store.direct().put_object(Bucket=store.bucket, Key=f"{path.parent.name}/{path.name}", Body=path.read_bytes())


def test_training_from_s3_learns_what_training_from_a_disk_learns(store, base, tmp_path):
    put(store, base)
    (base / "datasets").mkdir()
    (base / "datasets/far.yaml").write_text(CARD.format(shards=store.url("test-set/*.tar")))
    near = train(tmp_path / "near", base, "train-set/*.tar", "test-set/*.tar")
    kinds = itertools.cycle(FAULTS)
    seen = set()

    def every_other(request) -> str:
        if request in seen:
            return ""
        seen.add(request)
        return next(kinds)

    store.proxy.fault = every_other
    far = train(tmp_path / "far", base, store.url("train-set/{000000..000002}.tar"), "far")

    assert len(weights(far)) > 2
    assert weights(far) == weights(near)
    assert read_json(far.report)["sets"]["far"] == read_json(near.report)["sets"]["test-set/*.tar"]
    assert [str(path) for path in resolve_set("far", base)] == [store.url("test-set/000000.tar")]
    kept = b"".join(path.read_bytes() for path in far.path.rglob("*") if path.is_file())
    assert kept
    assert not any(store.environment[name].encode() in kept for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


def test_a_store_that_goes_down_in_a_training_ends_it_with_an_error_that_says_so(store, base, tmp_path):
    put(store, base)
    store.proxy.fault = lambda request: "busy" if request.range else ""

    with pytest.raises(InfrastructureError, match=r"picture p\d: .*SlowDown") as caught:
        train(tmp_path / "far", base, store.url("train-set/*.tar"), "test-set/*.tar")
    assert caught.value.exit_code == 6
