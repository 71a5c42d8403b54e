"""What people say of a task: verbs, things, looks, wishes, and whole sentences.

The built-in tasks have theirs in `words/`. A task of the user's own has its `instructions`, and the words of the built-in task
that undoes the same degradation, if there is one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

from ipt_platform.spec.source import parse_yaml

REMOVING = re.compile(
    r"^(?:remove|get rid of|take away|take off|take out|clear|clean up|delete|erase|undo|fix|reduce|clear away) "
    r"(?:(?:all|the|this|that|these|those|any|my|of) )*(?P<things>.{2,60})$"
)


@dataclass(frozen=True)
class Words:
    """What is said of one task.

    Attributes:
        verbs: imperatives that take the picture: "denoise" it.
        things: what is to go: remove the "noise".
        looks: how a picture is: it is "noisy".
        wishes: how it should become: make it "smoother".
        asks: whole imperatives: "smooth out the grain".
        tells: whole statements: "the iso was too high".
        hints: words that go with it, none of which need mean it alone: "sensor", "dots".
    """

    verbs: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()

    def __add__(self, other: "Words") -> "Words":
        """Both, without repetitions."""
        names = [field.name for field in fields(self)]
        return Words(**{name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name)))) for name in names})

    @property
    def phrases(self) -> frozenset[tuple[str, str]]:
        """Every phrase with its kind."""
        return frozenset((field.name, phrase) for field in fields(self) for phrase in getattr(self, field.name))


def words_of_instructions(instructions: Sequence[str]) -> Words:
    """The words in a task's own sentences: each as it is, and of "remove the X and the Y" the things X and Y."""
    asks = tuple(sentence.strip().rstrip(".!").lower() for sentence in instructions)
    matches = filter(None, map(REMOVING.match, asks))
    things = [thing for match in matches for thing in re.split(r",? and (?:the |all )*", match["things"])]
    return Words(asks=asks, things=tuple(things))


@cache
def built_in_words() -> Mapping[str, Words]:
    """The words of the built-in tasks, by task."""
    found: dict[str, Words] = {}
    for entry in sorted((files("ipt_platform.restore.route") / "words").iterdir(), key=lambda entry: entry.name):
        name = entry.name.removesuffix(".yaml")
        if name in ("common", "none"):
            continue
        document = word_file(name)
        tasks = document.pop("tasks", {name: {}})
        for task, fill in tasks.items():
            found[task] = Words(**{kind: _filled(phrases, fill) for kind, phrases in document.items()})
    return found


@cache
def _parsed(name: str) -> Any:
    text = (files("ipt_platform.restore.route") / "words" / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_yaml(text, f"words/{name}.yaml").value


def word_file(name: str) -> dict[str, Any]:
    """The content of a file of `words/`, every phrase as text."""
    return dict(_parsed(name))


def _filled(phrases: Sequence[Any], fill: Mapping[str, Sequence[Any]]) -> tuple[str, ...]:
    """Phrases with a word in braces once for every filling of it."""
    done: list[str] = []
    for phrase in map(str, phrases):
        key = next((key for key in fill if f"{{{key}}}" in phrase), None)
        done += [phrase.replace(f"{{{key}}}", str(word)) for word in fill[key]] if key else [phrase]
    return tuple(dict.fromkeys(done))
