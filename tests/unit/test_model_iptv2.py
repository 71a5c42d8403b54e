"""The whole backbone: any size, its parameters and multiply-adds by closed form, its layer groups, gradients everywhere."""

import numpy as np
import pytest
import torch
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.model.build import BACKBONES, build_backbone
from ipt_platform.model.counts import count_macs, count_parameters
from ipt_platform.model.groups import layer_groups, matrices_of
from ipt_platform.model.iptv2 import IPTV2, reflect_pad
from ipt_platform.spec.words import BACKBONES as NAMES
from ipt_platform.spec.words import LAYER_GROUPS

SMALL = {
    "dim": 8, "blocks": (1, 2), "decoder": (1,), "refinement": 1, "heads": (1, 2),
    "window": 4, "grid": 4, "extent": 16, "ffn_ratio": 2,
}  # fmt: skip


def alive(net: IPTV2) -> IPTV2:
    """With torch's usual weights where a fresh backbone has zeros: as the identity it would pass too much."""
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    return net


def small(**changes) -> IPTV2:
    torch.manual_seed(0)
    return alive(IPTV2(**(SMALL | changes)))


def stages(c: dict) -> list[tuple[int, int, list[int]]]:
    """(level, channels, shift of each block) of every stage, written down from the description of the U-shape."""
    dims = [c["dim"] * 2**level for level in range(len(c["blocks"]))]
    top = c["dim"] * (1 if c.get("reduce_first") else 2)
    widths = [top, *dims[1:-1]]
    encoder = [(level, dims[level], 0, n) for level, n in enumerate(c["blocks"])]
    decoder = [(level, widths[level], c["blocks"][level], n) for level, n in enumerate(c["decoder"])]
    refinement = [(0, top, c["blocks"][0] + c["decoder"][0], c["refinement"])]
    shift = [0, c["window"] // 2]
    return [(level, C, [shift[(first + i) % 2] for i in range(n)]) for level, C, first, n in encoder + decoder + refinement]


def parameters_by_formula(c: dict) -> int:
    """Weights counted from the sizes alone."""
    r, dims, inputs = c["ffn_ratio"], [c["dim"] * 2**i for i in range(len(c["blocks"]))], 3 * c.get("stem", 1) ** 2
    first, top = bool(c.get("reduce_first")), c["dim"] * (1 if c.get("reduce_first") else 2)
    total = 9 * inputs * c["dim"] + 9 * top * inputs
    for level, C, shifts in stages(c):
        norms, channel = 4 * 2 * C, 3 * C * C + 9 * 3 * C + c["heads"][level] + C * C
        ffn = (r * C * C + r * C) + 9 * r * C + r * C + (r * C * C + C)
        total += len(shifts) * (norms + channel + 2 * ffn + 3 * C * C + C * C)
    downs, ups = sum(9 * C * (C // 2) for C in dims[:-1]), sum(9 * C * 2 * C for C in dims[1:])
    return total + downs + ups + sum(2 * C * C for C in dims[not first : -1])


def macs_by_formula(c: dict, size: int) -> int:
    """Multiply-adds counted from the sizes alone; `size` is a multiple of the extent."""
    r, w, g, stem = c["ffn_ratio"], c["window"], c["grid"], c.get("stem", 1)
    dims = [c["dim"] * 2**i for i in range(len(c["blocks"]))]
    sides = [size // stem // 2**i for i in range(len(c["blocks"]))]
    first, top = bool(c.get("reduce_first")), c["dim"] * (1 if c.get("reduce_first") else 2)
    total = sides[0] ** 2 * 9 * (3 * stem**2 * c["dim"] + top * 3 * stem**2)
    for level, C, shifts in stages(c):
        pixels, heads = sides[level] ** 2, c["heads"][level]
        for shift in shifts:
            windowed = (sides[level] + (w if shift else 0)) ** 2
            total += pixels * (3 * C * C + 27 * C + C * C) + 2 * windowed * C * (C // heads)
            total += 2 * pixels * (2 * r * C * C + 9 * r * C)
            total += pixels * 4 * C * C + 2 * pixels * C * g * g
    total += sum(side**2 * 9 * C * (C // 2) for side, C in zip(sides, dims[:-1], strict=False))
    total += sum(side**2 * 9 * C * 2 * C for side, C in zip(sides[1:], dims[1:], strict=True))
    reduced = zip(sides[not first :], dims[not first : -1], strict=False)
    return total + sum(side**2 * 2 * C * C for side, C in reduced)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (2, 3), (15, 16), (16, 17), (33, 5), (48, 32)])
def test_any_size_goes_through(height, width):
    x = torch.rand(2, 3, height, width)

    with torch.no_grad():
        y = small()(x)

    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_named_backbone_restores_an_odd_size(name):
    torch.manual_seed(0)
    with torch.no_grad():
        y = alive(build_backbone(name))(torch.rand(1, 3, 37, 5))

    assert y.shape == (1, 3, 37, 5)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("stem", [1, 2])
def test_padding_shows_in_no_pixel_of_a_picture_padded_by_hand(stem):
    net = small(stem=stem, extent=16 * stem)
    x = torch.rand(1, 3, 21, 30)
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, -21 % 32), (0, -30 % 32)), mode="reflect"))

    with torch.no_grad():
        assert torch.equal(net(padded)[..., :21, :30], net(x)[..., :21, :30])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (2, 2), (3, 5), (8, 8), (9, 8), (15, 17)])
def test_reflect_pad_is_numpys(height, width):
    x = torch.rand(2, 3, height, width, dtype=torch.float64)
    want = np.pad(x.numpy(), ((0, 0), (0, 0), (0, -height % 8), (0, -width % 8)), mode="reflect")

    np.testing.assert_array_equal(reflect_pad(x, 8).numpy(), want)


def test_base_has_the_size_that_was_published():
    with torch.device("meta"):
        base = build_backbone("iptv2-base")

    assert count_parameters(base) == parameters_by_formula(BACKBONES["iptv2-base"])
    assert count_parameters(base) == pytest.approx(26.0e6, rel=0.01)


def test_base_computes_what_was_published():
    base = BACKBONES["iptv2-base"]

    counted = count_macs(build_backbone("iptv2-base"), 128)

    assert counted == macs_by_formula(base, 128)
    assert 38e9 <= counted <= 42.5e9


@pytest.mark.parametrize(("name", "low", "high"), [("iptv2-tiny", 0.40e6, 0.60e6), ("iptv2-small", 3.2e6, 4.8e6)])
def test_the_smaller_sizes_are_what_their_names_promise(name, low, high):
    backbone = build_backbone(name)

    assert count_parameters(backbone) == parameters_by_formula(BACKBONES[name])
    assert count_macs(backbone, 128) == macs_by_formula(BACKBONES[name], 128)
    assert low <= count_parameters(backbone) <= high


@pytest.mark.parametrize("reduce_first", [False, True])
def test_levels_reduce_what_they_join_the_first_only_if_told_to(reduce_first):
    sizes = SMALL | {"blocks": (1, 2, 1), "decoder": (2, 1), "heads": (1, 2, 4), "reduce_first": reduce_first}

    net = alive(IPTV2(**sizes))

    assert [layer.in_features for layer in net.reduce] == ([16, 32] if reduce_first else [32])
    assert count_parameters(net) == parameters_by_formula(sizes)
    assert count_macs(net, 32) == macs_by_formula(sizes, 32)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_in_one_layer_group_and_no_group_is_empty(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
    groups = layer_groups(backbone)

    assert list(groups) == [weight for weight, _ in backbone.named_parameters()]
    assert set(groups.values()) == set(LAYER_GROUPS)


def test_weights_are_in_the_group_of_what_they_do():
    groups = layer_groups(small(blocks=(1, 1, 1), decoder=(1, 1), heads=(1, 2, 4)))

    expected = {
        "embed.weight": "embed",
        "output.weight": "output",
        "down.0.conv.weight": "sampling",
        "up.1.conv.weight": "sampling",
        "reduce.0.weight": "reduction",
        "encoder.0.0.channel_attention.qkv.weight": "qkv",
        "encoder.0.0.channel_attention.qkv_depthwise": "depthwise",
        "encoder.0.0.channel_attention.proj.weight": "proj",
        "decoder.0.0.grid_attention.qkv.weight": "qkv",
        "refinement.0.grid_attention.proj.weight": "proj",
        "refinement.0.ffn2.fc1.weight": "ffn",
        "encoder.1.0.ffn1.fc2.bias": "ffn",
        "encoder.1.0.ffn1.depthwise3": "depthwise",
        "encoder.1.0.ffn1.depthwise1": "depthwise",
        "encoder.2.0.norm4.bias": "norm",
    }
    assert {name: groups[name] for name in expected} == expected


def test_matrices_of_a_group_leave_its_vectors_out():
    net = small()

    assert matrices_of(net, {"norm"}) == []
    assert all(name.endswith("weight") for name in matrices_of(net, {"ffn"}))
    assert len(matrices_of(net, {"ffn"})) == 4 * 5  # fc1 and fc2 of two FFNs in five blocks


def test_a_weight_of_no_group_is_named():
    with pytest.raises(ValueError, match=r"0\.weight"):
        layer_groups(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_every_weight_gets_a_gradient():
    net = small().double()

    net(torch.rand(1, 3, 32, 32, dtype=torch.float64)).square().sum().backward()

    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_fusing_the_backbone_does_not_change_a_bit():
    net = small()
    x = torch.rand(1, 3, 20, 20)

    with torch.no_grad():
        before = net(x)
        assert torch.equal(net.fuse()(x), before)
    assert not any("depthwise1" in name for name, _ in net.named_parameters())


def test_the_output_is_added_to_the_picture():
    net = small()
    torch.nn.init.zeros_(net.output.weight)
    x = torch.rand(2, 3, 17, 19)

    assert torch.equal(net(x), x)


@pytest.mark.parametrize("name", ["iptv2-tiny", "iptv2-small"])
def test_a_fresh_backbone_returns_its_input(name):
    x = torch.rand(1, 3, 20, 30)

    with torch.no_grad():
        assert torch.equal(build_backbone(name)(x), x)


def test_activation_checkpointing_computes_the_same():
    plain, saving = small().double(), small(activation_checkpointing=True).double()
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64)

    for net in (plain, saving):
        net(x).square().sum().backward()

    assert torch.equal(plain(x), saving(x))
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="extent 20 is not a multiple"):
        small(extent=20)


def test_an_unknown_backbone_is_named_with_those_there_are():
    with pytest.raises(UsageError, match=r"iptv9.*iptv2-tiny, iptv2-small, iptv2-base"):
        build_backbone("iptv9")
    assert tuple(BACKBONES) == NAMES
