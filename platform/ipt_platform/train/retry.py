"""How often, and how soon, workers that were lost are replaced."""

import random

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0


class Budget:
    """Failures in a row, without a new checkpoint in between.

    Training that gets on may fail as often as it likes: in a long run on many machines something always does, and each failure
    costs no more than the steps since the last checkpoint. Training that fails without getting on is given up.

    Args:
        limit: failures in a row after which there is another attempt.
        progress: step of the newest checkpoint at the beginning (None: there is none).
    """

    def __init__(self, limit: int, progress: int | None):
        self.limit, self.progress = limit, progress
        self.failures = 0

    def spend(self, progress: int | None) -> bool:
        """Count a failure: whether there may be another attempt after it.

        Args:
            progress: step of the newest checkpoint now.
        """
        if progress != self.progress:
            self.failures, self.progress = 0, progress
        self.failures += 1
        return self.failures <= self.limit


def pause_seconds(failures: int, rng: random.Random) -> float:
    """Seconds to wait before the next attempt: none after a first failure, then twice as long after each in a row.

    Up to a minute; and the half to the whole of it, at random: what has failed together shall not come back together.

    Args:
        failures: in a row, at least 1.
        rng: gives the random part.
    """
    if failures == 1:
        return 0.0
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 2, 16)) * rng.uniform(0.5, 1)
