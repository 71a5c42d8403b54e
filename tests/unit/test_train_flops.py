"""What a step computes, against torch's own counter."""

import pytest
import torch

from ipt_platform.model.build import BACKBONES, build_backbone
from ipt_platform.model.counts import count_macs
from ipt_platform.train.flops import crop_flops, peak_flops


@pytest.mark.parametrize(("name", "size"), [("iptv2-nano", 32), ("iptv2-tiny", 100), ("iptv2-small", 64)])
def test_what_is_computed_forward_is_what_torch_counts(name, size):
    backbone = build_backbone(name)
    macs = count_macs(backbone, size)
    everything = {each for each, _ in backbone.named_parameters()}
    embed = crop_flops(backbone, {"embed.weight"}, size) - crop_flops(backbone, (), size)

    # as many operations forward, for the gradients of the inputs, and for those of the weights; the first input needs none
    assert crop_flops(backbone, everything, size) == 3 * 2 * macs - embed


def test_what_does_not_learn_is_not_computed_backward():
    backbone = build_backbone("iptv2-nano")
    name = "encoder.0.0.ffn1.fc1.weight"
    pixels = (64 // backbone.stem) ** 2

    more = crop_flops(backbone, {name}, 64) - crop_flops(backbone, (), 64)

    assert more == 2 * backbone.get_parameter(name).numel() * pixels


def test_every_backbone_can_be_counted_without_memory():
    for name in BACKBONES:
        with torch.device("meta"):
            assert crop_flops(build_backbone(name), (), 128) > 0


def test_only_gpus_have_a_known_peak():
    assert peak_flops(torch.device("cpu"), "bf16") is None


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40S-48Q", None),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H200 NVL", 835e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
    ],
)
def test_a_gpu_whose_name_only_begins_alike_has_another_peak(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)

    assert peak_flops(torch.device("cuda"), "bf16") == peak
    assert peak_flops(torch.device("cuda"), "fp32") is None
