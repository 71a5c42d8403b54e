"""Learning rates over time."""

import math


def learning_rate_factor(step: int, total: int, warmup: int, final_ratio: float) -> float:
    """Share of the peak learning rate at `step` (from 0): linear warm-up, then half a cosine down to `final_ratio`.

    The first step already learns (factor `1 / warmup`), the first after the warm-up learns at the peak, and the last one
    at exactly `final_ratio` of it, if it comes later than that.
    Source: Loshchilov and Hutter, SGDR (2017), eq. 5, without restarts.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
