"""Numbers, moments and spans as people read them on the page."""

import math
import re
from datetime import UTC, datetime
from typing import Any

NOTHING = "–"
"""Stands where there is no value."""


def duration(seconds: float | None) -> str:
    """Seconds as `42 s`, `3 min 7 s`, `2 h 5 min`, `4 d 3 h`."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    total = round(max(0.0, seconds))
    for big, small, units in ((86400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if total >= big:
            return f"{total // big} {units[0]} {total % big // small} {units[1]}"
    return f"{total} s"


def clock(moment: str) -> str:
    """A moment (ISO 8601) as `2026-11-26 20:52:10` UTC."""
    then = parse(moment)
    return then.strftime("%Y-%m-%d %H:%M:%S") if then else NOTHING


def brief(moment: str) -> str:
    """A moment (ISO 8601) as `11-26 20:52` UTC, for lists; with the year where it is another one than ours."""
    then = parse(moment)
    if then is None:
        return NOTHING
    return then.strftime("%m-%d %H:%M" if then.year == datetime.now(UTC).year else "%Y-%m-%d %H:%M")


def parse(moment: str) -> datetime | None:
    """A moment written as ISO 8601, in UTC; None: it is none."""
    try:
        found = datetime.fromisoformat(moment)
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: Any, digits: int = 1) -> str:
    """A number with so many digits behind the point, thousands apart."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return NOTHING
    return f"{value:,.{digits}f}" if math.isfinite(value) else str(value)


def share(value: float | None) -> str:
    """A share from 0 to 1 in per cent."""
    return f"{value:.1%}" if isinstance(value, int | float) and math.isfinite(value) else NOTHING


def size(count: float | None) -> str:
    """Bytes as `1.5 GiB`."""
    if count is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def value(chosen: Any) -> str:
    """What a search gave to a knob, as its report says it: `output+ffn`, three digits of a number."""
    if isinstance(chosen, list):
        return "+".join(str(each) for each in chosen)
    if chosen is None:
        return NOTHING
    return f"{chosen:.3g}" if isinstance(chosen, float) else str(chosen)


def word(text: str) -> str:
    """A text as a part of a class name: small letters and dashes alone."""
    return re.sub(r"[^a-z-]+", "-", text.lower())


FILTERS = {each.__name__: each for each in (duration, clock, brief, number, share, size, word)}
"""The filters of the templates by name."""
