"""Where along the network's flow a weight stands: the order in which a forward pass calls the layers."""

import pytest
import torch
from torch import nn

from ipt_platform.model.build import build_backbone
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.tune.flow import places

SIZES = [
    {"blocks": (1, 2), "decoder": (1,), "refinement": 0, "heads": (1, 2), "reduce_first": True, "stem": 2},
    {"blocks": (1, 2), "decoder": (2,), "refinement": 2, "heads": (1, 2)},
    {"blocks": (2, 1, 1, 2), "decoder": (1, 2, 1), "refinement": 1, "heads": (1, 2, 2, 2)},
    {"blocks": (2, 1, 1, 2), "decoder": (1, 2, 1), "refinement": 1, "heads": (1, 2, 2, 2), "reduce_first": True},
]


def names_of(net: nn.Module) -> list[str]:
    return [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize("sizes", SIZES)
def test_steps_stand_in_the_order_in_which_a_picture_meets_them(sizes):
    net = IPTV2(**sizes, dim=4, window=2, grid=2, extent=16, ffn_ratio=1)
    steps = list(dict.fromkeys(place.name for place in places(names_of(net)).values()))
    called = []
    for step in steps:
        net.get_submodule(step).register_forward_pre_hook(lambda *_, step=step: called.append(step))
    net(torch.rand(1, 3, 16, 16))

    assert called == steps


@pytest.mark.parametrize("sizes", SIZES)
def test_every_weight_has_one_place_inside_its_step(sizes):
    net = IPTV2(**sizes, dim=4, window=2, grid=2, extent=16, ffn_ratio=1)

    found = places(names_of(net))

    assert sorted(found) == sorted(names_of(net))
    assert all(name.startswith(f"{place.name}.") for name, place in found.items())


def test_depth_goes_evenly_from_0_to_1():
    found = places(names_of(build_backbone("iptv2-tiny")))

    depths = list(dict.fromkeys(place.depth for place in found.values()))
    assert depths == [step / 7 for step in range(8)]
    assert [found["embed.weight"].depth, found["output.weight"].depth] == [0.0, 1.0]
    assert list(found.values()) == sorted(found.values(), key=lambda place: place.depth)


def test_levels_that_have_ten_blocks_or_more_stay_in_order():
    found = places([f"encoder.0.{block}.qkv.weight" for block in (10, 2, 0)] + ["embed.weight"])

    assert [place.name for place in found.values()] == ["embed", "encoder.0.0", "encoder.0.2", "encoder.0.10"]


def test_any_other_network_flows_as_its_parameters_are_listed():
    found = places(["stem.embed.weight", "stem.embed.bias", "output.weight", "scale"])

    assert [(name, place.name, place.depth) for name, place in found.items()] == [
        ("stem.embed.weight", "stem.embed", 0.0),
        ("stem.embed.bias", "stem.embed", 0.0),
        ("output.weight", "output", 0.5),
        ("scale", "scale", 1.0),
    ]


def test_a_network_of_one_layer_begins_and_ends_there():
    assert [place.depth for place in places(["embed.weight"]).values()] == [0.0]
