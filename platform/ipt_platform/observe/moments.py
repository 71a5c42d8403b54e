"""Moments and durations as people type them: `2026-11-26T10:30`, `15m`, `1h30m`."""

import re
from datetime import datetime, timedelta

from ipt_platform.errors import UsageError

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


def since(text: str, now: datetime) -> datetime:
    """The moment that a duration before now, or a date and time, stands for.

    Args:
        text: such as `90s`, `15m`, `1h30m`, `2d`, `2026-11-26`, `2026-11-26T10:30` or `2026-11-26T10:30:00+01:00`; without an
            offset a time is that of this machine.
        now: the present moment, with its offset.

    Raises:
        UsageError: it is neither.
    """
    found = _DURATION.fullmatch(text)
    try:
        if text and found:
            days, hours, minutes, seconds = (float(each or 0) for each in found.groups())
            return now - timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is no time: expected how long ago (90s, 15m, 1h30m, 2d), a date (2026-11-26), or one with a time "
            "(2026-11-26T10:30)"
        ) from error
