"""How often somebody may ask for something: a bucket of tokens for each, that fills again with time."""

import threading
from collections import OrderedDict
from collections.abc import Callable

_MOST = 10_000


class Limiter:
    """Buckets by name.

    Args:
        burst: how many may come at once.
        per_minute: how many may come in the long run.
        clock: seconds.
    """

    def __init__(self, burst: int, per_minute: float, clock: Callable[[], float]):
        self.burst, self.per_second, self._clock = burst, per_minute / 60, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> float:
        """Seconds to wait until one more may come (0: it may, and is counted)."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(name, (float(self.burst), now))
            left = min(self.burst, left + (now - at) * self.per_second)
            self._left[name] = (left - 1 if left >= 1 else left, now)
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
            return 0.0 if left >= 1 else (1 - left) / self.per_second
