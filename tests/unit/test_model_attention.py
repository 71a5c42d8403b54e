"""The parts of an FG block against loops over windows and regions, and how far each of them looks."""

import numpy as np
import pytest
import torch
from torch import nn

from ipt_platform.model.attention import GridAttention, WindowChannelAttention, depthwise
from ipt_platform.model.ffn import RepLeFFN
from ipt_platform.model.iptv2 import FGBlock


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64, every weight of size one: zeros and ones at the start would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return module


def picture(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(rows: np.ndarray) -> np.ndarray:
    e = np.exp(rows - rows.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def depthwise_by_hand(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`y[r, c] = sum K[i, j] x[r + i - 1, c + j - 1]`, zeros beyond the border; x [H, W, C], kernel [C, 3, 3]."""
    H, W, _ = x.shape
    y = np.zeros_like(x)
    for r in range(H):
        for c in range(W):
            for i in range(3):
                for j in range(3):
                    if 0 <= r + i - 1 < H and 0 <= c + j - 1 < W:
                        y[r, c] += kernel[:, i, j] * x[r + i - 1, c + j - 1]
    return y


def channel_attention_by_hand(module: WindowChannelAttention, x: np.ndarray) -> np.ndarray:
    """One picture [H, W, C], window by window, each cut off at the border."""
    H, W, C = x.shape
    w, heads, c = module.window, module.heads, C // module.heads
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}
    qkv = depthwise_by_hand(x @ weights["qkv.weight"].T, weights["qkv_depthwise"][:, 0])
    y = np.full_like(x, np.nan)
    for top in range(-module.shift, H, w):
        for left in range(-module.shift, W, w):
            rows, columns = slice(max(top, 0), top + w), slice(max(left, 0), left + w)
            inside = qkv[rows, columns]
            for head in range(heads):
                q, k, v = (inside[..., part * C + head * c :][..., :c].reshape(-1, c).T for part in range(3))
                q = q / np.linalg.norm(q, axis=1, keepdims=True)
                k = k / np.linalg.norm(k, axis=1, keepdims=True)
                out = softmax(weights["temperature"][head] * (q @ k.T)) @ v
                y[rows, columns, head * c : (head + 1) * c] = out.T.reshape(*inside.shape[:2], c)
    return y @ weights["proj.weight"].T


def grid_attention_by_hand(module: GridAttention, x: np.ndarray) -> np.ndarray:
    """One picture [H, W, C], region by region and grid by grid."""
    H, W, C = x.shape
    heads, c, region = module.heads, C // module.heads, module.region
    stride = region // module.grid
    qkv = x @ module.qkv.weight.detach().numpy().T
    y = np.full_like(x, np.nan)
    for top in range(0, H, region):
        for left in range(0, W, region):
            for i in range(stride):
                for j in range(stride):
                    rows, columns = slice(top + i, top + region, stride), slice(left + j, left + region, stride)
                    tokens = qkv[rows, columns]
                    for head in range(heads):
                        q, k, v = (tokens[..., part * C + head * c :][..., :c].reshape(-1, c) for part in range(3))
                        out = softmax(q @ k.T / np.sqrt(c)) @ v
                        y[rows, columns, head * c : (head + 1) * c] = out.reshape(*tokens.shape[:2], c)
    return y @ module.proj.weight.detach().numpy().T


@pytest.mark.parametrize("shift", [0, 2])
def test_window_channel_attention_is_its_formula_window_by_window(shift):
    module = randomised(WindowChannelAttention(dim=6, heads=2, window=4, shift=shift))
    x = picture(2, 8, 12, 6)

    y = module(x)

    for each in range(2):
        np.testing.assert_allclose(
            y[each].detach().numpy(), channel_attention_by_hand(module, x[each].numpy()), rtol=0, atol=1e-11
        )


@pytest.mark.parametrize(("grid", "region"), [(4, 4), (2, 8), (4, 8)])
def test_grid_attention_is_its_formula_grid_by_grid(grid, region):
    module = randomised(GridAttention(dim=6, heads=3, grid=grid, region=region))
    x = picture(2, 8, 16, 6)

    y = module(x)

    for each in range(2):
        np.testing.assert_allclose(
            y[each].detach().numpy(), grid_attention_by_hand(module, x[each].numpy()), rtol=0, atol=1e-11
        )


def test_a_shifted_window_does_not_join_opposite_borders():
    module = randomised(WindowChannelAttention(dim=4, heads=1, window=4, shift=2))
    x, changed = picture(1, 16, 16, 4), picture(1, 16, 16, 4)
    changed[:, 0] += 1
    changed[:, :, 0] -= 1

    before, after = module(x), module(changed)

    # the first row lies in windows of the rows 0 and 1, its 3x3 neighbours in those of the rows up to 5
    assert torch.equal(before[:, 6:, 6:], after[:, 6:, 6:])
    assert not torch.isclose(before[:, :2], after[:, :2]).any()


def test_cosine_attention_does_not_see_how_bright_the_picture_is():
    module = randomised(WindowChannelAttention(dim=4, heads=2, window=4, shift=2))
    x = picture(1, 8, 8, 4)

    # q and k are compared by angle, v is linear
    torch.testing.assert_close(module(1000 * x), 1000 * module(x), rtol=1e-10, atol=0)


def test_an_empty_map_gives_zeros_and_finite_gradients():
    module = randomised(WindowChannelAttention(dim=4, heads=2, window=4, shift=2))
    x = torch.zeros(1, 8, 8, 4, dtype=torch.float64, requires_grad=True)

    module(x).sum().backward()

    assert x.grad is not None
    assert all(torch.isfinite(p.grad).all() for p in (x, *module.parameters()) if p.grad is not None)


def test_depthwise_is_its_sum_over_neighbours():
    x, kernel = picture(1, 5, 7, 3), picture(3, 1, 3, 3, seed=2)

    y = depthwise(x, kernel)

    np.testing.assert_allclose(y[0].numpy(), depthwise_by_hand(x[0].numpy(), kernel[:, 0].numpy()), rtol=0, atol=1e-13)


def test_three_branches_are_the_one_kernel_they_are_run_as():
    module = randomised(RepLeFFN(dim=5, ratio=3))
    x = picture(2, 6, 9, 5)
    h = module.fc1(x)
    h3 = np.stack([depthwise_by_hand(one.detach().numpy(), module.depthwise3[:, 0].detach().numpy()) for one in h])
    h1 = h.detach().numpy() * module.depthwise1.detach().numpy().reshape(-1)
    branches = torch.from_numpy(h3 + h1) + h.detach()

    y = module(x)

    torch.testing.assert_close(y, module.fc2(nn.functional.gelu(branches)), rtol=0, atol=1e-11)


def test_fusing_does_not_change_a_bit():
    # bit-equal, not only close: the training form runs the very kernel that fuse() stores
    module = randomised(RepLeFFN(dim=5, ratio=3)).float()
    x = picture(2, 6, 9, 5).float()
    before = module(x)
    module.fuse()

    assert torch.equal(module(x), before)
    assert "depthwise1" not in dict(module.named_parameters())
    module.fuse()  # a second time there is nothing left to fold
    assert torch.equal(module(x), before)


@pytest.mark.parametrize("shift", [0, 4])
def test_a_block_looks_no_further_than_the_neighbouring_regions(shift):
    region = 16
    block = randomised(FGBlock(dim=4, heads=2, window=8, shift=shift, grid=4, region=region, ffn_ratio=2))
    x = picture(1, 5 * region, 5 * region, 4)
    changed = x.clone()
    changed[:, 2 * region : 3 * region, 2 * region : 3 * region] = picture(1, region, region, 4, seed=3)

    with torch.no_grad():
        same = (block(x) == block(changed)).all(-1)[0]

    # the changed region, its neighbours and, through the last 3x3 kernel, one pixel more
    reach = slice(region - 1, 4 * region + 1)
    outside = torch.ones_like(same)
    outside[reach, reach] = False
    assert same[outside].all()
    assert not same[2 * region : 3 * region, 2 * region : 3 * region].any()


def test_one_pixel_reaches_its_whole_region():
    region = 16
    block = randomised(FGBlock(dim=4, heads=2, window=8, shift=0, grid=8, region=region, ffn_ratio=2))
    x = picture(1, 3 * region, 3 * region, 4)
    changed = x.clone()
    changed[:, region + 5, region + 5, 0] += 1  # all channels alike would be taken out by the norm

    with torch.no_grad():
        same = (block(x) == block(changed)).all(-1)[0]

    assert not same[region : 2 * region, region : 2 * region].any()


# A depthwise kernel that learns nothing


def both_ways(x: torch.Tensor, kernel: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Output and gradient of the input with a frozen kernel and with one that learns."""
    found = []
    for learns in (False, True):
        own = x.clone().requires_grad_()
        y = depthwise(own, kernel.clone().requires_grad_(learns))
        (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        assert own.grad is not None
        found.append((y.detach(), own.grad))
    return found


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_frozen_kernel_gives_the_same_values_and_gradients(size):
    (y, gradient), (want, want_gradient) = both_ways(picture(2, 7, 6, 5), picture(5, 1, size, size, seed=2))

    assert torch.equal(y, want)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_frozen_kernel_is_the_one_of_differences():
    kernel = picture(3, 1, 3, 3, seed=2)

    assert torch.autograd.gradcheck(lambda x: depthwise(x, kernel), picture(1, 4, 5, 3).requires_grad_())


def test_under_autocast_the_gradient_has_the_bits_of_the_input():
    x, kernel = picture(1, 6, 6, 4).float(), picture(4, 1, 3, 3, seed=2).float()
    (_, want), _ = both_ways(x, kernel)

    with torch.autocast("cpu", torch.bfloat16):
        (y, gradient), (want_y, _) = both_ways(x, kernel)

    assert (y.dtype, gradient.dtype) == (want_y.dtype, torch.float32) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(gradient, want, rtol=0.05, atol=0.1)


def kept(run) -> int:
    """Values that autograd keeps for the backward pass."""
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(storages.values())


def test_a_frozen_kernel_keeps_no_input():
    x, kernel = picture(2, 8, 8, 6).requires_grad_(), picture(6, 1, 3, 3, seed=2)

    assert kept(lambda: depthwise(x, kernel)) == kernel.numel()
    assert kept(lambda: depthwise(x, kernel.requires_grad_())) == kernel.numel() + x.numel()


def test_a_frozen_block_keeps_less_than_four_fifths_of_what_a_learning_one_keeps():
    block, x = FGBlock(16, 2, 4, 0, 4, 16, 3), torch.rand(1, 16, 16, 16, requires_grad=True)
    matrices = {name for name, weight in block.named_parameters() if weight.dim() == 2}

    learning = kept(lambda: block(x))
    for name, weight in block.named_parameters():
        weight.requires_grad_(name in matrices)

    assert kept(lambda: block(x)) < 0.8 * learning
