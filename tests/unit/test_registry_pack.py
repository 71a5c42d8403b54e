"""Bias packs: what is written comes back to the bit, on its backbone and on no other; what is wrong is named on both sides."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from ipt_platform.errors import NotFoundError, PackError, RefusedError
from ipt_platform.model.bias import DENSE, BiasedModel, TaskBias
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.registry.about import Facts, Lineage, Measured, OnBackbone
from ipt_platform.registry.pack import is_pack, load_bias, read_pack, write_pack

LAYOUT = {"0.weight": 2, "2.weight": 1, "1.weight": DENSE}


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 3, 1))


def trained(backbone: nn.Module, layout: dict[str, int] | None = None) -> TaskBias:
    bias = TaskBias(backbone, layout or LAYOUT)
    with torch.no_grad():
        for factor in bias.parameters():
            factor.normal_()
    return bias


def facts_on(backbone: nn.Module) -> Facts:
    return Facts(
        task="derain",
        backbone=OnBackbone(name="iptv2-tiny", fingerprint=fingerprint(backbone), checkpoint="runs/first/checkpoints/step-7"),
        rank=2,
        allocation="constant",
        targets=("ffn",),
        depthwise=True,
        upscale=1,
        quantize=False,
        metrics=(
            Measured(
                set="val",
                digest="ab" * 32,
                protocol="rgb-uint8",
                params={"density": 0.008, "angle": {"min": -40, "max": 40}},
                psnr=30.25,
                psnr_input=24.5,
                gain=5.75,
                ssim=0.9,
                n=7,
            ),
        ),
        lineage=Lineage(run="rainy", attempt=2, step=300, job={"kind": "finetune", "seed": 0}, version="0.1.0"),
        created="2026-11-26T10:00:00+00:00",
    )


@pytest.fixture
def pack(tmp_path) -> Path:
    backbone = net()
    write_pack(tmp_path / "pack", trained(backbone), facts_on(backbone), {"val-derain-a.png": b"picture"})
    return tmp_path / "pack"


def test_a_bias_comes_back_to_the_bit_and_restores_as_it_did(tmp_path):
    backbone, x = net(), torch.rand(1, 3, 8, 8)
    bias = trained(backbone)
    want = BiasedModel(backbone, {"derain": bias}).run_task("derain", x)

    written = write_pack(tmp_path / "pack", bias, facts_on(backbone), {})
    loaded = load_bias(read_pack(tmp_path / "pack"), net())

    assert torch.equal(BiasedModel(net(), {"derain": loaded}).run_task("derain", x), want)
    assert loaded.layout == bias.layout == written.info.layout
    assert {name: value.numpy().tobytes() for name, value in loaded.tensors().items()} == {
        name: value.numpy().tobytes() for name, value in bias.tensors().items()
    }


def test_a_pack_says_what_it_is(pack):
    info = read_pack(pack).info
    tensors = pack / "bias.safetensors"

    assert Facts(**{name: getattr(info, name) for name in Facts.model_fields}) == facts_on(net())
    assert set(load_file(tensors)) == {"0.weight.B1", "0.weight.B2", "2.weight.B1", "2.weight.B2", "1.weight.dense"}
    assert info.parameters == count_parameters(trained(net())) == 2 * (4 + 27) + (3 + 4) + 36
    assert (info.bytes, info.sha256) == (tensors.stat().st_size, hashlib.sha256(tensors.read_bytes()).hexdigest())
    assert json.loads((pack / "bias.json").read_bytes())["format"] == "ipt-bias/1"
    assert (pack / "triptychs" / "val-derain-a.png").read_bytes() == b"picture"
    assert is_pack(pack)
    assert not is_pack(pack.parent)


def test_the_card_tells_people_the_numbers_the_protocol_and_where_it_came_from(pack):
    text = (pack / "CARD.md").read_text()

    for said in ("# derain", fingerprint(net()), "| val | 7 | 24.50 | 30.25 | +5.75 | 0.9000 | rgb-uint8 |", "'density': 0.008",
                 "run: rainy, attempt 2, step 300", "runs/first/checkpoints/step-7", "(triptychs/val-derain-a.png)",
                 "--run rainy --task derain"):  # fmt: skip
        assert said in text, said


def test_a_pack_never_changes(pack):
    before = {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()}

    with pytest.raises(RefusedError, match="pack is there already, and a pack never changes"):
        write_pack(pack, trained(net()), facts_on(net()), {})

    assert {path: path.read_bytes() for path in pack.rglob("*") if path.is_file()} == before
    assert [path.name for path in pack.parent.iterdir()] == ["pack"]


def test_a_pack_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="too long"):
        write_pack(tmp_path / "packs" / "derain", trained(net()), facts_on(net()), {"x" * 300: b"picture"})

    assert list((tmp_path / "packs").iterdir()) == []


def test_another_backbone_is_refused_and_both_are_named(pack):
    other = net(seed=1)

    with pytest.raises(PackError) as caught:
        load_bias(read_pack(pack), other)

    assert fingerprint(net()) in str(caught.value)
    assert fingerprint(other) in str(caught.value)
    assert "runs/first/checkpoints/step-7" in str(caught.value)


def rewrite(pack: Path, change: Callable[[dict], dict] = lambda tensors: tensors, **about) -> None:
    """Write a pack anew with other tensors or words, its digest right: somebody made it so on purpose."""
    data = save(change(load_file(pack / "bias.safetensors")))
    (pack / "bias.safetensors").write_bytes(data)
    old = json.loads((pack / "bias.json").read_bytes())
    new = old | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | about
    (pack / "bias.json").write_text(json.dumps(new))


def with_nan(tensors: dict) -> dict:
    tensors["2.weight.B2"].flatten()[1:3] = torch.tensor([float("nan"), float("-inf")])
    return tensors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t | {"3.weight.B1": torch.zeros(1)}, r"missing \[\], unexpected \['3\.weight\.B1'\]"),
        (lambda t: {k: v for k, v in t.items() if k != "0.weight.B1"}, r"missing \['0\.weight\.B1'\], unexpected \[\]"),
        (lambda t: t | {"0.weight.B1": torch.zeros(4, 3, 1, 1)}, r"0\.weight\.B1 is \(4, 3, 1, 1\), expected \(4, 2, 1, 1\)"),
        (lambda t: t | {"0.weight.B1": t["0.weight.B1"].double()}, r"0\.weight\.B1 is torch\.float64, expected torch\.float32"),
        (with_nan, r"2\.weight\.B2 holds 2 values that are not finite, of 4"),
    ],
)
def test_wrong_tensors_are_refused_though_their_digest_is_right(pack, change, said):
    rewrite(pack, change)

    with pytest.raises(PackError, match=said):
        load_bias(read_pack(pack), net())


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (LAYOUT | {"9.weight": 1}, r"9\.weight is no weight of Sequential"),
        (LAYOUT | {"0.weight": 5}, r"rank 5 of 0\.weight is not between 1 and its full rank 4"),
        (LAYOUT | {"0.bias": 1}, r"0\.bias has shape \(4,\); a low-rank bias needs a matrix"),
    ],
)
def test_a_layout_that_the_backbone_does_not_have_is_refused(pack, layout, said):
    rewrite(pack, layout=layout)

    with pytest.raises(PackError, match=said):
        load_bias(read_pack(pack), net())


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"format": "ipt-bias/2"}, r"bias\.json: not of format ipt-bias/1: format: .*another version\?"),
        ({"task": "../derain"}, r"not of format ipt-bias/1: task: "),
        ({"rank": 0}, r"not of format ipt-bias/1: rank: "),
        ({"surprise": 1}, r"not of format ipt-bias/1: surprise: "),
        ({"layout": {"0.weight": -1}}, r"not of format ipt-bias/1: layout\.0\.weight: "),
        ({"sha256": "00" * 32}, rf"bias\.safetensors: damaged: it has sha256 \w+, bias\.json says {'00' * 32}"),
        ({"bytes": 1 << 20}, r"bias\.safetensors: damaged: it has \d+ bytes, bias\.json says 1048576"),
        ({"bytes": 3}, r"bias\.safetensors: damaged: bias\.json says 3 bytes"),
    ],
)
def test_a_description_that_is_wrong_is_refused_by_what_is_wrong_with_it(pack, about, said):
    rewrite(pack, **about)

    with pytest.raises(PackError, match=said):
        read_pack(pack)


def test_what_is_missing_is_named(pack, tmp_path):
    with pytest.raises(NotFoundError, match=r"this is no bias pack: bias\.json is missing"):
        read_pack(tmp_path)

    (pack / "bias.safetensors").unlink()
    with pytest.raises(NotFoundError, match=r"bias\.safetensors"):
        read_pack(pack)


def test_a_pack_that_changed_since_it_was_read_is_refused(pack):
    read = read_pack(pack)
    rewrite(pack, lambda tensors: {name: -value for name, value in tensors.items()})

    with pytest.raises(PackError, match="damaged: it has sha256"):
        load_bias(read, net())
