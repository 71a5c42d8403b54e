"""What a compression costs, also where nothing is left to restore: infinite dB are no error, and JSON has no infinity."""

import json
import math

import pytest

from ipt_platform.tune.rank_energy import Cost


@pytest.mark.parametrize(
    ("compressed", "full", "lost", "told"),
    [
        (30.0, 31.5, 1.5, 1.5),
        (math.inf, math.inf, 0.0, 0.0),
        (30.0, math.inf, math.inf, None),
        (math.inf, 30.0, -math.inf, None),
    ],
)
def test_a_perfect_picture_costs_what_can_be_said(compressed, full, lost, told):
    cost = Cost(0, "denoise", "test", 20.0, 25.0, compressed, full)

    assert cost.lost == lost
    numbers = {"degraded": 20.0, "before": 25.0, "compressed": finite(compressed), "full": finite(full), "lost": told}
    assert json.loads(json.dumps(cost.to_dict(), allow_nan=False)) == {"seed": 0, "task": "denoise", "set": "test"} | numbers


def finite(value: float) -> float | None:
    return None if math.isinf(value) else value
