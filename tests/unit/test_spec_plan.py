"""`resolve_plan`: its numbers against the real model, real shards and plain arithmetic."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ipt_platform.data.index import write_index
from ipt_platform.data.scan import index_tar
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.job import JOB
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.train.plan import resolve_plan
from ipt_platform.train.setup import bias_layout


def make_shard(path: Path, images: int) -> None:
    with tarfile.open(path, "w") as tar:
        for number in range(images):
            data = cv2.imencode(".png", np.full((8, 8, 3), number, np.uint8))[1].tobytes()
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_index(path, index_tar(path))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    make_shard(tmp_path / "a.tar", 3)
    make_shard(tmp_path / "b.tar", 2)
    return tmp_path


def plan(base: Path, mode: str = "synchronous", **bias: object) -> dict:
    raw = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "p",
        "model": {"backbone": "iptv2-tiny", "bias": bias},
        "tasks": {"denoise": 2, "deblur": 1},
        "data": {"shards": "*.tar"},
        "train": {
            "mode": mode,
            "stages": [{"steps": 10, "patch": 64, "images": 4}, {"steps": 5, "patch": 96, "images": 2}],
        },
        "evaluate": {"sets": ["a.tar"]},
        "cluster": {"workers": 2},
    }
    return resolve_plan(JOB.validate_python(raw), base)


def test_steps_samples_and_crops_add_up(base):
    found = plan(base)

    assert (found["steps"], found["samples"], found["crops"]) == (15, 10 * 4 + 5 * 2, 3 * 50)
    assert found["epochs"] == 50 / 5
    assert found["images"] == 5
    assert found["shards"] == [{"path": str(base / "a.tar"), "images": 3}, {"path": str(base / "b.tar"), "images": 2}]
    tasks = ["denoise", "deblur"]
    assert found["sets"] == [{"name": "a.tar", "paths": [str(base / "a.tar")], "pairs": False, "tasks": tasks}]
    assert [stage["first_step"] for stage in found["stages"]] == [0, 10]
    assert found["stages"][1] == {
        "first_step": 10,
        "steps": 5,
        "patch": 96,
        "images": 2,
        "images_per_worker": 1,
        "crops": 6,
        "crops_by_task": {"denoise": 4, "deblur": 2},
    }
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "bias",
    [{}, {"rank": 4}, {"allocation": "proportional"}, {"targets": ["qkv"], "depthwise": True}],
    ids=lambda bias: "-".join(bias) or "default",
)
def test_parameters_are_those_of_the_model_that_is_built(base, bias):
    found = plan(base, **bias)["parameters"]

    backbone = build_backbone("iptv2-tiny")
    built = TaskBias(backbone, bias_layout(backbone, BiasSpec.model_validate(bias)))
    assert found["backbone"] == sum(weight.numel() for weight in backbone.parameters())
    assert found["bias"] == dict.fromkeys(("denoise", "deblur"), sum(factor.numel() for factor in built.parameters()))


def test_a_plan_leaves_the_random_generator_alone(base):
    before = torch.random.get_rng_state()

    plan(base)

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_plain_backbone_has_no_biases(base):
    found = plan(base, mode="mixed", rank=4)

    assert found["parameters"]["bias"] == {}
    assert found["warnings"] == ["model.bias is ignored: train.mode mixed trains a plain backbone without task biases"]


def test_shards_that_cannot_be_used_are_named(base):
    (base / "c.tar").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"c\.tar"):
        plan(base)

    (base / "c.tar").unlink()
    with (base / "a.tar").open("ab") as tar:
        tar.write(b"more")
    with pytest.raises(DataError, match=r"a\.tar.*no longer matches"):
        plan(base)


def test_an_evaluation_says_what_it_measures(base):
    raw = {"apiVersion": "ipt/v1", "kind": "evaluate", "name": "e", "checkpoint": "r", "tasks": ["deblur"], "sets": ["b.tar"]}

    assert resolve_plan(JOB.validate_python(raw), base) == {
        "kind": "evaluate",
        "name": "e",
        "warnings": [],
        "checkpoint": "r",
        "tasks": ["deblur"],
        "protocol": "rgb-uint8",
        "sets": [{"name": "b.tar", "paths": [str(base / "b.tar")], "pairs": False, "tasks": ["deblur"]}],
    }
