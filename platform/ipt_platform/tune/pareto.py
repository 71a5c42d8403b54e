"""The Pareto front of a search: the trials than which none has both more dB and fewer bias parameters."""

import math
from collections.abc import Sequence


def pareto(points: Sequence[tuple[float, int]]) -> list[int]:
    """Indices of the points that no other dominates, from fewest parameters to most.

    A point dominates another if its PSNR is at least as high and its parameters are at most as many, and one of the two is
    better. Equal points do not dominate each other: all of them are on the front, or none. O(n log n).

    Args:
        points: (PSNR in dB, parameters); PSNR may be infinite.

    Raises:
        ValueError: a PSNR is NaN, which is neither higher nor lower than anything.
    """
    for index, (psnr, _) in enumerate(points):
        if math.isnan(psnr):
            raise ValueError(f"point {index} has no PSNR (NaN): leave out trials that gave no number")
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0], index)):
        if not front or points[index][0] > points[front[-1]][0] or points[index] == points[front[-1]]:
            front.append(index)
    return front
