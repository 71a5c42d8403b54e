"""Backbone packs: what is written comes back to the bit; what is damaged or of another kind is refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ipt_platform.checkpoint.backbone import is_backbone, load_backbone, read_backbone, write_backbone
from ipt_platform.errors import NotFoundError, PackError, RefusedError
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint

LINEAGE = {"run": "first", "step": 700}
NOW = "2026-11-26T10:00:00+00:00"


@pytest.fixture
def pack(tmp_path) -> Path:
    torch.manual_seed(3)
    write_backbone(tmp_path / "pack", build_backbone("iptv2-tiny"), "iptv2-tiny", LINEAGE, NOW)
    return tmp_path / "pack"


def test_a_backbone_comes_back_to_the_bit_and_says_where_it_came_from(pack):
    torch.manual_seed(3)
    want = build_backbone("iptv2-tiny")

    backbone, info = load_backbone(pack)

    assert {name: value.numpy().tobytes() for name, value in backbone.state_dict().items()} == {
        name: value.numpy().tobytes() for name, value in want.state_dict().items()
    }
    assert (info.name, info.lineage, info.created) == ("iptv2-tiny", LINEAGE, NOW)
    assert (info.fingerprint, info.parameters) == (fingerprint(want), count_parameters(want))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert is_backbone(pack)
    assert sorted(path.name for path in pack.parent.iterdir()) == ["pack"]  # nothing is left of the writing


def test_a_pack_never_changes(pack):
    before = (pack / "backbone.json").read_bytes()

    with pytest.raises(RefusedError, match=r"pack is there already, and a pack never changes"):
        write_backbone(pack, build_backbone("iptv2-tiny"), "iptv2-tiny", {}, NOW)

    assert (pack / "backbone.json").read_bytes() == before
    assert sorted(path.name for path in pack.parent.iterdir()) == ["pack"]


def test_other_weights_are_told_by_both_fingerprints(pack):
    want = read_backbone(pack).fingerprint
    tensors = load_file(pack / "model.safetensors")
    tensors["embed.weight"].view(torch.int32)[0, 0, 0, 0] ^= 1
    save_file(tensors, pack / "model.safetensors")

    with pytest.raises(PackError, match=rf"damaged: its weights have fingerprint sha256:\w+, backbone\.json says {want}"):
        load_backbone(pack)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "ipt-backbone/2"}, r"expected format ipt-backbone/1, found 'ipt-backbone/2'; was it written by another"),
        ({"name": "unet"}, r"its backbone is 'unet', expected one of iptv2-nano, iptv2-tiny, iptv2-small, iptv2-base"),
        ({"name": "iptv2-small"}, r"its weights are not those of iptv2-small: backbone: missing \["),
        ({"parameters": "many"}, r"expected name, fingerprint, parameters, lineage and created, found \["),
    ],
)
def test_a_wrong_description_is_refused(pack, change, said):
    about = json.loads((pack / "backbone.json").read_bytes())
    (pack / "backbone.json").write_text(json.dumps(about | change))

    with pytest.raises(PackError, match=said):
        load_backbone(pack)


@pytest.mark.parametrize(("text", "said"), [("[]", "found 'list'"), ("{", "cannot be read as JSON")])
def test_what_is_no_description_is_refused(pack, text, said):
    (pack / "backbone.json").write_text(text)

    with pytest.raises(PackError, match=said):
        read_backbone(pack)


def test_what_is_missing_is_named(pack, tmp_path):
    with pytest.raises(NotFoundError, match=r"this is no backbone pack: backbone\.json is missing"):
        load_backbone(tmp_path)
    assert not is_backbone(tmp_path)

    (pack / "model.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"model\.safetensors"):
        load_backbone(pack)


def test_tensors_cut_short_are_refused(pack):
    path = pack / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(PackError, match=r"model\.safetensors: its tensors cannot be read"):
        load_backbone(pack)
