"""Instructions as people write them, made from the words of tasks.

An instruction is a core ("remove the noise", "it's so grainy", "the iso was too high") with politeness, severity, context and
slips of the hand around it; several cores in one sentence; a core beside something that is to be left alone; or something that
no task does. What is generated is for training alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ipt_platform.restore.route.lexicon import Words, word_file

NEAR = {"a": "sq", "e": "wr", "i": "uo", "o": "ip", "u": "yi", "n": "bm", "r": "et", "s": "ad", "t": "ry", "l": "ko", "h": "gj"}
"""Neighbours on a keyboard."""

TYPO = 0.2
"""Share of instructions with a slip of the hand."""

OWN = 0.5
"""Share of a task's own phrases, where it has those of another one as well."""


@dataclass(frozen=True)
class Instruction:
    """A sentence, and the tasks that it asks for; none where it asks for nothing that a task does."""

    text: str
    tasks: frozenset[str]


class Grammar:
    """Makes instructions for tasks.

    Args:
        words: of each task.
        rng: where every choice comes from.
        own: of a task that answers to the words of another one too, those that are its own; they are few among many.
    """

    def __init__(self, words: Mapping[str, Words], rng: np.random.Generator, own: Mapping[str, Words] | None = None):
        self.words = words
        self.rng = rng
        self.own = own or {}
        self.common = {key: tuple(map(str, value)) for key, value in word_file("common").items()}
        self.none = {key: tuple(map(str, value)) for key, value in word_file("none").items()}
        self.tasks = tuple(words)

    @cached_property
    def claims(self) -> dict[tuple[str, str], frozenset[str]]:
        """Who answers to a phrase: every task that has it among its words."""
        found: dict[tuple[str, str], set[str]] = {}
        for task, words in self.words.items():
            for phrase in words.phrases:
                found.setdefault(phrase, set()).add(task)
        return {phrase: frozenset(tasks) for phrase, tasks in found.items()}

    def single(self, task: str) -> Instruction:
        """An instruction for one task."""
        core, tasks = self._core(task)
        return Instruction(self._slip(self._around(core)), tasks)

    def several(self, count: int = 2) -> Instruction:
        """An instruction for several tasks."""
        chosen = self._some(self.tasks, count)
        if self.rng.random() < 0.4:
            text, tasks = self._shared(chosen)
        else:
            cores = [self._core(task) for task in chosen]
            text, tasks = cores[0][0], frozenset().union(*(found for _, found in cores))
            for core, _ in cores[1:]:
                text += self._pick(self.common["joins"]) + core
        return Instruction(self._slip(self._around(text + self._pick(self.common["both"]))), tasks)

    def instead(self, task: str) -> Instruction:
        """An instruction for one task that leaves something of another task alone."""
        core, tasks = self._core(task)
        others = [other for other in self.tasks if other not in tasks]
        if not others:
            return self.single(task)
        template = self._pick(self.common["instead"])
        text = self._about(template, self._pick(others)).replace("{core}", core)
        return Instruction(self._slip(self._around(text)), tasks)

    def nothing(self) -> Instruction:
        """A sentence that asks for nothing that a task does."""
        none, roll = self.none, self.rng.random()
        if roll < 0.2:
            text = self._about(self._pick(self.common["leave"]), self._pick(self.tasks))
        elif roll < 0.45:
            text = f"{self._pick(none['verbs'])} {self._pick(self.common['articles'])} {self._pick(none['nouns'])}"
        elif roll < 0.55:
            thing = f"{self._pick(self.common['articles'])} {self._pick(none['nouns'])}"
            text = self._pick(self.common["remove"] + self.common["complain"]).replace("{x}", thing)
            text = text.replace("{it}", self._pick(self.common["it"]))
        elif roll < 0.8:
            text = self._pick(none["asks"])
        elif roll < 0.92:
            text = self._pick(none["tells"])
        elif roll < 0.96:
            text = self._pick(self.common["before"] + self.common["after"] + self.common["context"] + self.common["it"])
        else:
            text = " ".join(self._letters() for _ in range(int(self.rng.integers(1, 5))))
        return Instruction(self._slip(self._around(text)), frozenset())

    def _core(self, task: str) -> tuple[str, frozenset[str]]:
        """An instruction without trimmings, and the tasks that answer to its phrase."""
        words, common = self.words[task], self.common
        if task in self.own and self.rng.random() < OWN:
            words = self.own[task]
        weights = {"verbs": 1.0, "things": 2.5, "looks": 2.0, "wishes": 1.0, "asks": 2.0, "tells": 2.5, "hints": 2.0}
        kinds = [kind for kind in weights if getattr(words, kind)]
        shares = np.cumsum([weights[kind] for kind in kinds])
        kind = kinds[int(np.searchsorted(shares, self.rng.random() * shares[-1], side="right"))]
        phrase = self._pick(getattr(words, kind))
        match kind:
            case "things":
                template = self._pick(common["remove"] if self.rng.random() < 0.5 else common["complain"])
                text = template.replace("{x}", self._with_article(phrase))
            case "looks":
                text = self._pick(common["looks"]).replace("{look}", phrase)
            case "wishes":
                text = self._pick(common["wishes"]).replace("{wish}", phrase)
            case "verbs":
                text = self._pick(common["verbs"]).replace("{verb}", phrase)
            case "hints":
                return self._hinted(words.hints)
            case _:
                text = phrase
        return text.replace("{it}", self._pick(common["it"])), self.claims[kind, phrase]

    def _hinted(self, hints: Sequence[str]) -> tuple[str, frozenset[str]]:
        """Several words that go with a task; of the tasks that share one of them, those that share all."""
        text, tasks = self._pick(self.common["hints"]), frozenset(self.tasks)
        while "{h}" in text:
            hint = self._pick(hints)
            text, tasks = text.replace("{h}", hint, 1), tasks & self.claims["hints", hint]
        return text, tasks

    def _shared(self, chosen: Sequence[str]) -> tuple[str, frozenset[str]]:
        """One verb for the things of all tasks ("remove the haze and the noise"), or one "it is" for their looks."""
        kind = "things" if self.rng.random() < 0.6 else "looks"
        usable = [task for task in chosen if getattr(self.words[task], kind)]
        if not usable:
            core, tasks = self._core(chosen[0])
            return core, tasks
        phrases = [self._pick(getattr(self.words[task], kind)) for task in usable]
        tasks = frozenset().union(*(self.claims[kind, phrase] for phrase in phrases))
        joined = self._pick((" and ", " and ", " & ", ", ", " plus ")).join(
            self._with_article(phrase) if kind == "things" else phrase for phrase in phrases
        )
        templates = self.common["remove"] + self.common["complain"] if kind == "things" else self.common["looks"]
        text = self._pick(templates).replace("{x}", joined).replace("{look}", joined)
        return text.replace("{it}", self._pick(self.common["it"])), tasks

    def _about(self, template: str, task: str) -> str:
        """A template of something left alone, filled with the words of a task; as a thing where it has no other words."""
        words = self.words[task]
        for kind, slot in (("looks", "{look}"), ("verbs", "{verb}"), ("wishes", "{wish}"), ("things", "{x}")):
            if slot not in template:
                continue
            phrases = getattr(words, kind)
            if not phrases:
                return self._about(self._pick(self.common["leave"]), task) + ", {core}" if words.things else "{core}"
            phrase = self._pick(phrases)
            template = template.replace(slot, self._with_article(phrase) if kind == "things" else phrase)
        return template.replace("{it}", self._pick(self.common["it"]))

    def _with_article(self, thing: str) -> str:
        if thing.startswith(("my ", "the ", "all ")):
            return thing
        return f"{self._pick(self.common['articles'])} {thing}".strip()

    def _around(self, text: str) -> str:
        """Politeness, severity and context around a core."""
        roll, common = self.rng.random(), self.common
        if roll < 0.35:
            text = f"{self._pick(common['before'])} {text}"
        elif roll < 0.42:
            text = f"{self._pick(common['opening'])} {text}"
        if self.rng.random() < 0.12:
            text = f"{text} {self._pick(common['how_much'])}"
        if self.rng.random() < 0.25:
            text = f"{text} {self._pick(common['context'])}"
        if self.rng.random() < 0.35:
            text = f"{text}{self._pick(('', ',', '.', '!'))} {self._pick(common['after'])}"
        return text.strip()

    def _slip(self, text: str) -> str:
        """Sometimes a slip of the hand in one word: a letter left out, doubled, swapped or missed."""
        if self.rng.random() >= TYPO:
            return text
        words = text.split(" ")
        long = [number for number, word in enumerate(words) if len(word) > 3 and word.isalpha()]
        if not long:
            return text
        number = self._pick(long)
        word, kind = words[number], int(self.rng.integers(4))
        at = int(self.rng.integers(1, len(word) - 1))
        pieces = (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + self._pick(NEAR.get(word[at]) or word[at]) + word[at + 1 :],
        )
        words[number] = pieces[kind]
        return " ".join(words)

    def _letters(self) -> str:
        return "".join(chr(97 + int(number)) for number in self.rng.integers(0, 26, int(self.rng.integers(2, 9))))

    def _pick(self, options: Sequence):
        return options[int(self.rng.random() * len(options))]

    def _some(self, options: Sequence[str], count: int) -> list[str]:
        return [options[int(number)] for number in self.rng.permutation(len(options))[:count]]
