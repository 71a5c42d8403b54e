"""Whatever bytes a pack holds: it is refused in words, or it is the one that was written."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ipt_platform.errors import NotFoundError, PackError
from ipt_platform.model.bias import TaskBias
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.registry.about import Facts, Lineage, OnBackbone
from ipt_platform.registry.pack import load_bias, pack_files, read_pack

FILES = ("bias.safetensors", "bias.json")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))


def files() -> dict[str, bytes]:
    backbone = net()
    facts = Facts(
        task="t", backbone=OnBackbone(name="net", fingerprint=fingerprint(backbone), checkpoint=""), rank=2,
        allocation="constant", targets=("ffn",), depthwise=False, upscale=1, quantize=False, metrics=(),
        lineage=Lineage(run="r", attempt=1, step=1, job={}, version="0"), created="now",
    )  # fmt: skip
    return pack_files(TaskBias(backbone, {"0.weight": 2, "1.weight": 1}), facts, {})


WHOLE = files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pack")


@settings(max_examples=300)
@given(name=st.sampled_from(FILES), at=st.floats(0, 1, exclude_max=True), new=st.binary(max_size=12), cut=st.integers(0, 12))
def test_a_damaged_pack_is_refused_or_gives_the_bias_that_was_written(folder, name, at, new, cut):
    for each in FILES:
        data, place = WHOLE[each], int(at * len(WHOLE[each]))
        (folder / each).write_bytes(data[:place] + new + data[place + cut :] if each == name else data)

    try:
        bias = load_bias(read_pack(folder), net())
    except (PackError, NotFoundError):
        return

    assert {key: value.numpy().tobytes() for key, value in bias.tensors().items()} == {
        key: value.numpy().tobytes() for key, value in TaskBias(net(), {"0.weight": 2, "1.weight": 1}).tensors().items()
    }


@settings(max_examples=100)
@given(about=st.binary(max_size=200) | st.text(max_size=200).map(str.encode), tensors=st.binary(max_size=200))
def test_what_never_was_a_pack_is_refused(folder, about, tensors):
    (folder / "bias.json").write_bytes(about)
    (folder / "bias.safetensors").write_bytes(tensors)

    with pytest.raises(PackError):
        read_pack(folder)
