"""What a line of a run says, as far as it is of the kind that it must be: a line may come from anywhere, and may be damaged.

What is of another kind is taken as not said.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

LARGEST = 1 << 53
"""Whole numbers below this are exact wherever they are read."""


def number(value: Any) -> float | None:
    """A number; None: it is none, or larger than a float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def count(value: Any) -> int | None:
    """A whole number from 0; None: it is none."""
    return value if type(value) is int and 0 <= value < LARGEST else None


def table(value: Any) -> Mapping[str, Any]:
    """A table by name; an empty one: it is none."""
    return value if isinstance(value, dict) else {}


def numbers(value: Any) -> dict[str, float]:
    """The numbers of a table by name."""
    return {name: found for name, each in table(value).items() if (found := number(each)) is not None}


def psnr(value: Any) -> float | None:
    """A PSNR in dB, for which null says that it is infinite; None: it is none."""
    return math.inf if value is None else number(value)


def moment(value: Any) -> str:
    """A moment (ISO 8601) as it was written; "": it is none."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return ""
    return value
