"""The logs of a run as the page shows them: the last lines of each process, filtered, without secrets."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ipt_platform.observe.logs import LEVELS, Sieve, Wanted, tail
from ipt_platform.observe.redact import redact, secrets_of
from ipt_platform.observe.rundir import RunDir

LINES = 300
REACH = 16 << 20
"""Bytes of a log that are looked through for what is asked for; who wants more has `ipt-platform logs`."""

_LONGEST = 200


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see of the logs; "" and 0 ask for all, and for the newest attempt."""

    attempt: int = 0
    rank: str = ""
    level: str = ""
    text: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """What the query of an address asks for; what cannot be read asks for nothing."""
        attempt, level = query.get("attempt", ""), query.get("level", "").upper()
        return cls(
            int(attempt) if attempt.isdecimal() and len(attempt) < 10 else 0,
            query.get("rank", "")[:_LONGEST],
            level if level in LEVELS else "",
            query.get("text", "")[:_LONGEST],
        )

    def address(self, path: str) -> str:
        """Where this is shown."""
        words = {"attempt": self.attempt, "rank": self.rank, "level": self.level, "text": self.text}
        return f"{path}?{urlencode({name: value for name, value in words.items() if value})}"


def shown_logs(run: RunDir, asked: Asked) -> dict[str, Any]:
    """The last lines of the logs that are asked for, and what else there is to ask for.

    Raises:
        InfrastructureError: S3 fails.
    """
    newest = run.current_attempt(fresh=False)
    if run.log_files(newest + 1):  # of an attempt that is about to begin, or never came so far
        newest += 1
    attempt = asked.attempt or newest
    files = run.log_files(attempt)
    # What people type is looked for as it is: an expression could keep a core busy for ever.
    pattern = re.compile(re.escape(asked.text), re.IGNORECASE) if asked.text else None
    wanted, secrets = Wanted(asked.level or None, pattern), secrets_of(os.environ)
    logs = {
        rank: redact("\n".join(tail(path, LINES, sieve=Sieve(wanted), reach=REACH)), secrets)
        for rank, path in files.items()
        if not asked.rank or rank == asked.rank
    }
    return {"attempt": attempt, "newest": newest, "ranks": list(files), "levels": LEVELS, "logs": logs, "most_lines": LINES}
