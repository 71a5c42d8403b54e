"""The two pictures: PNG of equal bytes for equal numbers, drawn from the numbers, without pyplot's state."""

import copy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from ipt_platform.errors import UsageError
from ipt_platform.model.build import build_backbone
from ipt_platform.tune.difference import LayerDifference, layer_differences
from ipt_platform.tune.energy import Allotment, Budget, budgets, spectra
from ipt_platform.tune.figures import heat_map, rank_energy_figure


@pytest.fixture(scope="module")
def differences() -> list[LayerDifference]:
    torch.manual_seed(0)
    before = build_backbone("iptv2-tiny")
    after = copy.deepcopy(before)
    with torch.no_grad():
        for weight in after.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return layer_differences(before, after)


def pixels(png: bytes) -> np.ndarray:
    """`[H, W, 3]` RGB."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def share_of(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - colour).max(-1) < 12).mean())


def one(cosine: float, group: str = "qkv") -> LayerDifference:
    """A layer that turned by that cosine."""
    after = torch.tensor([[cosine, (1 - cosine**2) ** 0.5]], dtype=torch.float64)
    return LayerDifference(f"{group}.weight", group, group, 0.0, torch.tensor([[1.0, 0.0]]), after)


def test_the_heat_map_is_a_wide_picture_of_equal_bytes(differences):
    png = heat_map(differences)

    assert png == heat_map(differences)
    assert pixels(png).shape[1] >= 1200
    assert png != heat_map(differences, "another title")
    assert b"Software" not in png
    assert b"tIME" not in png


def test_cells_are_coloured_by_their_cosine():
    dark, light = (0, 0, 4), (252, 253, 191)  # the ends of matplotlib's magma
    turned, unturned = pixels(heat_map([one(0.2), one(1.0, "embed")])), pixels(heat_map([one(1.0), one(1.0, "embed")]))

    assert share_of(turned, dark) > 0.1
    assert share_of(turned, light) > 0.1
    assert share_of(unturned, dark) < 0.05
    assert share_of(unturned, light) > 0.2


def test_layers_without_a_cosine_are_hatched_and_alone_are_refused():
    zeros = LayerDifference("output.weight", "output", "output", 1.0, torch.zeros(1, 2), torch.ones(1, 2))

    assert share_of(pixels(heat_map([one(0.5), zeros])), (154, 154, 154)) > 0.005
    assert share_of(pixels(heat_map([one(0.5)])), (154, 154, 154)) < 0.005
    with pytest.raises(UsageError, match="no layer has a cosine"):
        heat_map([zeros])


def test_the_rank_energy_figure_is_a_wide_picture_of_equal_bytes(differences):
    rows = budgets(build_backbone("iptv2-tiny"), spectra(differences), [1, 4, 16])

    png = rank_energy_figure(differences, rows)

    assert png == rank_energy_figure(differences, rows)
    assert pixels(png).shape[1] >= 1200
    with pytest.raises(UsageError, match="no ranks to draw"):
        rank_energy_figure(differences, [])


def test_constant_stands_left_and_proportional_right():
    red = np.array((209, 35, 31))
    high, low = Allotment(10, 0.98, {"qkv.weight": 0.98}), Allotment(10, 0.1, {"qkv.weight": 0.1})
    picture = pixels(rank_energy_figure([one(0.5)], [Budget(1, high, low), Budget(2, high, low)]))
    rows, columns = np.nonzero(np.abs(picture.astype(int) - red).max(-1) < 12)
    middle = picture.shape[1] // 2
    flat = [np.median(rows[side & (columns % 7 == 0)]) for side in (columns < middle, columns > middle)]

    assert flat[0] < picture.shape[0] * 0.25
    assert flat[1] > picture.shape[0] * 0.7


def test_drawing_leaves_pyplot_alone():
    code = (
        "import sys, torch; from ipt_platform.tune.figures import heat_map; from ipt_platform.tune.difference import *\n"
        "heat_map([LayerDifference('qkv', 'qkv', 'qkv', 0.0, torch.ones(1, 2), torch.ones(1, 2))])\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "False"
