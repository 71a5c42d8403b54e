"""The fingerprint of a backbone: changes with every part of it and with nothing else."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from ipt_platform.model.build import build_backbone
from ipt_platform.model.fingerprint import fingerprint


class Small(nn.Module):
    def __init__(self, backwards: bool = False):
        super().__init__()
        parts = {"a": nn.Linear(2, 3), "b": nn.BatchNorm1d(3)}
        for name in sorted(parts, reverse=backwards):
            self.add_module(name, parts[name])


def small(backwards: bool = False) -> Small:
    torch.manual_seed(0)
    return Small(backwards)


def test_it_is_the_digest_that_its_description_says():
    module = nn.Linear(2, 1)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.5, -2.0]]))
        module.bias.copy_(torch.tensor([3.0]))

    bias = b'["bias", "torch.float32", [1]]\n' + np.array([3.0], "<f4").tobytes()
    weight = b'["weight", "torch.float32", [1, 2]]\n' + np.array([1.5, -2.0], "<f4").tobytes()
    assert fingerprint(module) == f"sha256:{hashlib.sha256(bias + weight).hexdigest()}"


def test_equal_backbones_have_one_whatever_the_order_of_their_parts_and_the_layout_in_memory():
    module, other = small(), small(backwards=True)
    other.load_state_dict(module.state_dict())
    turned = copy.deepcopy(module)
    turned.a.weight = nn.Parameter(module.a.weight.detach().t().contiguous().t())

    assert list(module.state_dict()) != list(other.state_dict())
    assert not turned.a.weight.is_contiguous()
    assert fingerprint(module) == fingerprint(other) == fingerprint(turned)
    assert fingerprint(module) == fingerprint(module.requires_grad_(False).eval())


def test_every_parameter_and_buffer_counts_to_the_last_bit():
    want = fingerprint(small())
    names = list(small().state_dict())

    assert "b.running_var" in names
    for name in names:
        for byte in (0, -1):
            module = small()
            module.state_dict()[name].reshape(-1).view(torch.uint8)[byte] ^= 1
            assert fingerprint(module) != want, name


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda m: m.double(), id="dtype"),
        pytest.param(lambda m: m.register_buffer("c", torch.zeros(0)), id="a part without values"),
        pytest.param(lambda m: setattr(m.a, "weight", nn.Parameter(m.a.weight.detach().reshape(2, 3))), id="shape"),
        pytest.param(lambda m: m.add_module("c", m._modules.pop("a")), id="name"),
    ],
)
def test_names_shapes_and_dtypes_count(changed):
    module = small()
    changed(module)

    assert fingerprint(module) != fingerprint(small())


def test_a_fused_backbone_is_another_one():
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-tiny")
    before = fingerprint(backbone)

    assert before == fingerprint(copy.deepcopy(backbone))
    assert fingerprint(backbone.fuse()) != before


def test_halves_of_sixteen_bits_have_one_too():
    assert fingerprint(small().bfloat16()) != fingerprint(small().half())
