"""Trying again: what may pass by itself is tried some times, with pauses that grow."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

Result = TypeVar("Result")
log = logging.getLogger(__name__)


class GivenUpError(Exception):
    """The last of all attempts failed; `reason` says why in a few words."""

    def __init__(self, attempts: int, reason: str):
        self.attempts, self.reason = attempts, reason
        super().__init__(f"{attempts} attempts failed, the last because {reason}")


@dataclass(frozen=True)
class Retry:
    """How often, and with which pauses.

    Before attempt n + 1 there is a pause of `first * 2^(n-1)` seconds, at most `longest`; a random half of it is left out,
    so that many processes that failed together do not come back together ("equal jitter": M. Brooker, "Exponential
    Backoff And Jitter", 2015).

    Attributes:
        attempts: attempts in all, at least 1.
        first: the first pause, seconds.
        longest: the longest pause, seconds.
        sleep: waits.
        uniform: a number in [0, 1).
    """

    attempts: int = 8
    first: float = 0.2
    longest: float = 20.0
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[], float] = random.random

    def run(self, what: str, call: Callable[[], Result], passing: Callable[[Exception], str]) -> Result:
        """The result of `call`.

        Args:
            what: what is being done, for the log.
            call: does it; may be called several times.
            passing: why an error may pass by itself, in a few words; empty where it will not.

        Raises:
            GivenUpError: every attempt failed. An error that will not pass is raised as it is.
        """
        for attempt in count(1):
            try:
                return call()
            except Exception as error:
                reason = passing(error)
                if not reason:
                    raise
                if attempt >= self.attempts:
                    raise GivenUpError(attempt, reason) from error
                pause = min(self.longest, self.first * 2 ** (attempt - 1)) * (1 - self.uniform() / 2)
                log.warning("%s: attempt %d of %d failed: %s; again in %.1f s", what, attempt, self.attempts, reason, pause)
            self.sleep(pause)
        raise AssertionError
