"""Which degraded picture belongs to which clean one: by their names, as the field's data sets are laid out.

Names are paths below their folder, without the suffix. The first rule that finds a partner holds:

| rule     | partners                                                          | as in                                   |
|----------|-------------------------------------------------------------------|-----------------------------------------|
| `same`   | one name                                                          | LOL, CSD, Snow100K, GoPro repacked flat |
| `word`   | one name, but for words that only say which half it is            | Rain100L: `rain-001`, `norain-001`;     |
|          | (`DEGRADED_WORDS`, `CLEAN_WORDS`), in the name or as a folder     | LOL-v2: `low00001`, `normal00001`; SIDD |
| `prefix` | the clean name, then `_` and more, of which there may be several  | SOTS: `1400_1`, `1400`                  |

A pattern (`--match`) replaces them all: names belong together whose groups are equal.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ipt_platform.data.bad import Bad
from ipt_platform.data.folder import Source

DEGRADED_WORDS = frozenset(
    {"blur", "blurred", "blurry", "degraded", "drop", "haze", "hazy", "input", "low", "lq", "moire", "noise", "noisy"}
    | {"rain", "raindrop", "rainy", "shadow", "snow", "snowy", "source"}
)
CLEAN_WORDS = frozenset({"clean", "clear", "groundtruth", "gt", "high", "hq", "norain", "normal", "sharp", "target"})


@dataclass(frozen=True)
class Matching:
    """What belongs together: (degraded, clean) pairs, how many were found by each rule, and the rest by their paths."""

    pairs: list[tuple[Source, Source]]
    rules: dict[str, int]
    alone: list[Bad]


@dataclass(frozen=True)
class Half:
    """The pictures of one half and the folder that they were found in."""

    folder: Path
    pictures: Sequence[Source]

    def name(self, source: Source) -> str:
        """A picture's path below the folder, without its suffix."""
        return source.path.relative_to(self.folder).with_suffix("").as_posix()


def match(degraded: Half, clean: Half, pattern: re.Pattern[str] | None = None) -> Matching:
    """Find each degraded picture's clean one; pairs come in the order of the degraded ones."""
    partners_of = _by_pattern(clean, pattern) if pattern else _by_rules(clean)
    answers = [(source, *partners_of(degraded.name(source))) for source in degraded.pictures]
    takers = Counter(partner.key for _, rule, partners in answers for partner in partners if rule in ONE_TO_ONE)
    pairs: list[tuple[Source, Source]] = []
    alone: list[Bad] = []
    for source, rule, partners in answers:
        names = " and ".join(map(str, (partner.path for partner in partners)))
        if not partners:
            alone.append(Bad(str(source.path), "half-missing", rule))
        elif len(partners) > 1:
            alone.append(Bad(str(source.path), "bad-name", f"more than one clean picture belongs to it: {names}"))
        elif rule in ONE_TO_ONE and takers[partners[0].key] > 1:
            alone.append(Bad(str(source.path), "bad-name", f"{takers[partners[0].key]} degraded pictures belong to {names}"))
        else:
            pairs.append((source, partners[0]))
    told = {partner.key for _, _, partners in answers for partner in partners}
    missing = "no degraded picture belongs to it"
    alone += [Bad(str(source.path), "half-missing", missing) for source in clean.pictures if source.key not in told]
    paired = {source.key for source, _ in pairs}
    return Matching(pairs, dict(Counter(rule for source, rule, _ in answers if source.key in paired)), alone)


def halves_of_one_folder(folder: Path, pictures: Sequence[Source]) -> tuple[Half, Half, list[str]]:
    """Tell the halves apart where both lie in one folder, by the words in their paths; and the names of the rest."""
    whole = Half(folder, pictures)
    halves: dict[tuple[bool, bool], list[Source]] = {}
    for source in pictures:
        words = _words(whole.name(source))
        halves.setdefault((bool(words & DEGRADED_WORDS), bool(words & CLEAN_WORDS)), []).append(source)
    rest = [*halves.get((False, False), []), *halves.get((True, True), [])]
    degraded, clean = (Half(folder, halves.get(kind, [])) for kind in ((True, False), (False, True)))
    return degraded, clean, sorted(_file(whole, source) for source in rest)


ONE_TO_ONE = ("same", "word")
"""Rules by which two degraded pictures of one clean one are a mistake."""

Partners = tuple[str, list[Source]]
"""The rule by which a picture has partners, or why it has none; and the partners."""

Name = TypeVar("Name", bound=Hashable)


def _by_rules(clean: Half) -> Callable[[str], Partners]:
    same = _table((clean.name(source), source) for source in clean.pictures)
    worded = _table((_without(clean.name(source), CLEAN_WORDS), source) for source in clean.pictures)

    def partners(name: str) -> Partners:
        if name in same:
            return "same", same[name]
        plain = _without(name, DEGRADED_WORDS)
        if plain in worded:
            return "word", worded[plain]
        longer = [plain[: cut.start()] for cut in re.finditer("_", plain)]
        nearest = next((name for name in reversed(longer) if name in worded), "")
        return ("prefix", worded[nearest]) if nearest else ("no clean picture belongs to it", [])

    return partners


def _by_pattern(clean: Half, pattern: re.Pattern[str]) -> Callable[[str], Partners]:
    def key(name: str) -> tuple[str | None, ...] | None:
        found = pattern.search(name)
        return (found.groups() or (found.group(),)) if found else None

    keyed = _table((key(clean.name(source)), source) for source in clean.pictures)

    def partners(name: str) -> Partners:
        wanted = key(name)
        if wanted is None:
            return f"its name does not match {pattern.pattern!r}", []
        return ("pattern", keyed[wanted]) if wanted in keyed else (f"no clean picture has {_shown(wanted)}", [])

    return partners


def _without(name: str, words: frozenset[str]) -> str:
    """A name in lower case without some words, its parts joined by `_`, whatever joined them: `A/blur/Low-01` -> `a/01`."""
    *folders, stem = name.lower().split("/")
    kept = [part for part in _parts(stem) if part not in words]
    return "/".join([*(folder for folder in folders if folder not in words), "_".join(kept or [stem])])


def _words(name: str) -> set[str]:
    *folders, stem = name.lower().split("/")
    return {*folders, *_parts(stem)}


def _parts(stem: str) -> list[str]:
    """`rain-001` and `low00001` as word and number; a number keeps its zeros."""
    glued = re.sub(r"(?<![a-z0-9])([a-z]+)(\d+)(?![a-z0-9])", r"\1_\2", stem)
    return [part for part in re.split(r"[-_. ]+", glued) if part]


def _table(named: Iterable[tuple[Name, Source]]) -> dict[Name, list[Source]]:
    table: dict[Name, list[Source]] = {}
    for name, source in named:
        table.setdefault(name, []).append(source)
    return table


def _file(half: Half, source: Source) -> str:
    return source.path.relative_to(half.folder).as_posix()


def _shown(groups: tuple[str | None, ...]) -> str:
    return " and ".join(repr(group) for group in groups)
