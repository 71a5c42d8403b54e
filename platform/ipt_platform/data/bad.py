"""Pictures that cannot be used, as they are named and counted."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ipt_platform.errors import BAD_KINDS, BadKind, BadPictureError


class Bad(NamedTuple):
    """A picture that cannot be used.

    Attributes:
        name: what its finder calls it: a key, the name in a tar, a path.
        kind: the kind of fault it is counted by.
        reason: the sentence that people are shown.
        shard: name of the tar that it lies in ("": in none).
    """

    name: str
    kind: BadKind
    reason: str
    shard: str = ""

    @classmethod
    def of(cls, error: BadPictureError, name: str, shard: str = "") -> "Bad":
        """What an error says of a picture."""
        return cls(name, error.kind, str(error), shard)


def count_kinds(found: Iterable[Bad]) -> dict[str, int]:
    """How many there are of each kind, kinds in the order of `BAD_KINDS`."""
    return in_order(Counter(bad.kind for bad in found))


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by kind in the order of `BAD_KINDS`."""
    return {kind: counts[kind] for kind in BAD_KINDS if kind in counts}


def kinds_in_words(counts: Mapping[str, int]) -> str:
    """`2 cut-off, 1 too-large`."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def samples_in_words(seen: int, bad: Mapping[str, int]) -> str:
    """`3 of 5,600 samples could not be used: 2 cut-off, 1 too-large`."""
    return f"{sum(bad.values()):,} of {seen:,} samples could not be used: {kinds_in_words(bad)}"


def names_in_lines(found: Iterable[Bad]) -> str:
    """A line for each: its name and what is wrong with it."""
    return "\n".join(f"  {bad.name}: {bad.reason}" for bad in found)
