"""How many samples a run has seen, and how many of their pictures could not be used: over all workers and attempts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from ipt_platform.data.bad import count_kinds, in_order, samples_in_words
from ipt_platform.data.batch import Batch

JUDGED = 10_000
"""Samples over which the share of bad ones is judged where a pass over the pictures is longer."""


@dataclass(frozen=True)
class SampleCount:
    """How many samples of the plan came, and by kind how many pictures among them could not be used and were replaced."""

    seen: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch) -> "SampleCount":
        """Those of a batch."""
        return cls(len(batch.keys), count_kinds(batch.bad))

    @classmethod
    def from_dict(cls, count: Mapping[str, Any]) -> "SampleCount":
        """The count that `to_dict` gave."""
        return cls(count["seen"], count["bad"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"seen": self.seen, "bad": dict(self.bad)}

    def __add__(self, other: "SampleCount") -> "SampleCount":
        return SampleCount(self.seen + other.seen, in_order(Counter(self.bad) + Counter(other.bad)))

    def __str__(self) -> str:
        return samples_in_words(self.seen, self.bad)

    def exceeds(self, limit: float, pictures: int) -> bool:
        """Whether more are bad than a job allows.

        A bad picture comes once in each pass over the pictures, early or late in it. So that no set fails by that luck, the
        share is of whole passes (or whole `JUDGED` samples), the one that was begun included; and one alone is no share yet.

        Args:
            limit: share of the samples that may be bad, 0 to 1.
            pictures: samples of one pass.
        """
        span = min(pictures, JUDGED)
        return sum(self.bad.values()) > max(limit * span * ceil(self.seen / span), 1 if limit else 0)
