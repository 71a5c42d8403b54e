import itertools

import pytest
import torch
from torch import nn

from ipt_platform.errors import UsageError
from ipt_platform.restore.tiles import check_sizes, restore_tiled, spans


def local_net(layers: int, seed: int = 0) -> nn.Module:
    """A convolutional net that looks exactly `layers` pixels far, zero-padded as the models here are."""
    torch.manual_seed(seed)
    widths = [3] + [8] * (layers - 1) + [3]
    stack = []
    for n_in, n_out in itertools.pairwise(widths):
        stack += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.GELU()]
    return nn.Sequential(*stack[:-1]).eval()


@pytest.mark.parametrize("size", [(256, 300), (257, 193), (320, 64), (40, 500), (192, 193)])
def test_tiled_equals_whole_for_a_net_that_looks_no_further_than_what_is_thrown_away(size):
    model = local_net(24)
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))

    tiled = restore_tiled(model, image, tile=192, overlap=64)

    with torch.inference_mode():
        torch.testing.assert_close(tiled, model(image), atol=1e-5, rtol=0)


def test_a_net_that_looks_further_shows_that_the_overlap_matters():
    model = nn.Sequential(*(nn.AvgPool2d(k, 1, tuple(n // 2 for n in k)) for k in ((101, 1), (1, 101))))
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = model(image)

    errors = [
        (restore_tiled(model, image, tile=192, overlap=64) - whole).abs().max(),
        (restore_tiled(model, image, tile=256, overlap=128) - whole).abs().max(),
    ]

    assert errors[0] > 1e-3
    assert errors[1] == 0


def test_a_downsampling_net_sees_every_tile_in_the_phase_of_the_whole():
    class Blocks(nn.Module):
        def forward(self, x):
            means = nn.functional.avg_pool2d(x, 8, ceil_mode=True, count_include_pad=False)
            return nn.functional.interpolate(means, scale_factor=8)[..., : x.shape[2], : x.shape[3]]

    image = torch.rand(1, 3, 200, 333, generator=torch.Generator().manual_seed(2))

    tiled = restore_tiled(Blocks(), image, tile=192, overlap=64)

    torch.testing.assert_close(tiled, Blocks()(image), atol=1e-6, rtol=0)


def test_tiles_that_disagree_are_blended_without_a_step():
    class Brightness(nn.Module):
        """Answers differently for every tile: the worst case for a seam."""

        def forward(self, x):
            return torch.full_like(x, x.mean().item())

    ramp = torch.linspace(0, 1, 512).expand(1, 3, 100, 512).contiguous()

    tiled = restore_tiled(Brightness(), ramp, tile=192, overlap=64)

    steps = tiled[0, 0, 50].diff().abs()
    between_tiles = 128 / 511
    assert tiled.std() > 0.1
    # The steepest slope of a raised cosine over 16 pixels is pi / 2 / 16 of the height.
    assert steps.max() < 1.01 * between_tiles * 3.1416 / 2 / 16


def test_a_picture_of_one_tile_goes_through_whole_and_progress_is_told():
    seen, progress = [], []

    def model(x):
        seen.append(tuple(x.shape))
        return x

    image = torch.rand(1, 3, 100, 192)
    assert torch.equal(restore_tiled(model, image, tile=192, overlap=64), image)
    assert seen == [(1, 3, 100, 192)]

    restore_tiled(model, torch.rand(1, 3, 193, 193), 192, 64, on_tile=lambda done, total: progress.append((done, total)))
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_tile_is_larger_than_asked_and_none_is_a_sliver():
    for length in range(1, 700, 7):
        pieces = spans(length, 320, 64)

        assert all(piece.stop - piece.start <= 320 for piece in pieces)
        assert all(piece.start % 128 == 0 for piece in pieces)
        assert length <= 320 or all(piece.stop - piece.start > 64 for piece in pieces)


@pytest.mark.parametrize(("tile", "overlap"), [(100, 64), (160, 40), (256, 192), (0, 64), (128, 0)])
def test_impossible_sizes_say_what_is_possible(tile, overlap):
    with pytest.raises(UsageError, match="expected"):
        restore_tiled(lambda x: x, torch.zeros(1, 3, 8, 8), tile, overlap)


def test_the_size_an_error_suggests_is_accepted():
    with pytest.raises(UsageError, match="the nearest tile is 448"):
        check_sizes(500, 64)

    check_sizes(448, 64)
