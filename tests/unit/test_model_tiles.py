"""The tiny backbone by tiles and as a whole: one result, to a quarter of a grey level."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from ipt_platform.model.build import build_backbone
from ipt_platform.restore.tiles import restore_tiled


@pytest.mark.parametrize("turned", [False, True])
def test_tiles_and_the_whole_are_one_result(turned):
    # the weights are scaled so that the model changes the picture by as much as noise of sigma 25 would
    torch.manual_seed(0)
    net = build_backbone("iptv2-tiny").eval().requires_grad_(False)
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():  # a fresh backbone is the identity, which has no seams
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    photo = interpolate(torch.rand(1, 3, 72, 8), scale_factor=8, mode="bicubic").clamp(0, 1)
    picture = photo + torch.randn_like(photo) * 25 / 255
    picture = picture.transpose(2, 3) if turned else picture
    net.output.weight.mul_(25 / 255 / (net(picture) - picture).std())
    whole = net(picture)

    tiled = restore_tiled(net, picture, tile=448, overlap=192)

    assert float((whole - picture).std()) == pytest.approx(25 / 255, rel=1e-3)
    assert not torch.equal(tiled, whole)
    assert float((tiled - whole).abs().max()) < 1e-3
