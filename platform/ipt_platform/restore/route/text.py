"""From what a person says to the tasks that are meant: `TextRouter`, its training, and where it is kept.

The router is trained within seconds on sentences that the grammar makes of the words of all tasks that are known, and kept
under a digest of these words; when a task or a phrase is added, the digest is another one, and the router is trained anew.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from ipt_platform.errors import DataError
from ipt_platform.restore.route.grammar import Grammar, Instruction
from ipt_platform.restore.route.known import KnownTask, rivals
from ipt_platform.restore.route.lexicon import word_file
from ipt_platform.restore.route.ngrams import NgramEncoder
from ipt_platform.restore.route.route import Route, Share
from ipt_platform.restore.route.store import read_router, write_router
from ipt_platform.restore.route.text_model import Encoder, TextModel, train_text_model
from ipt_platform.restore.route.vectors import VectorEncoder, WordVectors

FORMAT = "ipt-text-router/1"
THRESHOLD = 0.5
"""A task is meant from this probability on."""

NEAREST = 3
LONGEST = 1000
"""Characters of an instruction that are read."""

SENTENCES = {"single": 1000, "instead": 300, "several": 900, "nothing": 800}
"""Sentences of each sort for each task."""


class TextRouter:
    """Chooses tasks by what a person says.

    Args:
        tasks: what it knows, in the order of the model's outputs.
        model: gives each of them a probability.
    """

    def __init__(self, tasks: Sequence[KnownTask], model: TextModel):
        self.tasks = tuple(tasks)
        self.model = model

    @cached_property
    def _rivals(self) -> dict[str, frozenset[str]]:
        return rivals(self.tasks)

    def route(self, text: str, available: Collection[str] | None = None) -> Route:
        """The tasks that a sentence asks for, in the order in which they are applied.

        Of tasks that answer to the same phrase one is chosen: one that there is a model for rather than another, then the
        user's own rather than a built-in one, then the likelier one.

        Args:
            text: what was said.
            available: the tasks that there are models for; None: all.
        """
        shares = self.model.probabilities([text[:LONGEST]])[0]
        ranked = [Share(self.tasks[number].name, float(shares[number])) for number in np.argsort(-shares, kind="stable")]
        known = {task.name: task for task in self.tasks}
        meant = [share for share in ranked if share.share >= THRESHOLD]
        meant = _without_general(meant, known)
        meant.sort(key=lambda share: (available is not None and share.task not in available, known[share.task].built_in))
        chosen: list[Share] = []
        for share in meant:
            if not any(other.task in self._rivals[share.task] for other in chosen):
                chosen.append(share)
        chosen.sort(key=lambda share: (known[share.task].place, share.task))
        reason = "" if chosen else f"no task is meant with a probability of at least {THRESHOLD:g}"
        return Route(tuple(chosen), tuple(ranked[:NEAREST]), reason)


def _without_general(meant: Sequence[Share], known: Mapping[str, KnownTask]) -> list[Share]:
    """What is meant, without the tasks that undo many things at once where something in particular was asked for; where several
    of the things were named that such a task undoes at once, it takes their place.
    """
    restoring = [share for share in meant if known[share.task].place <= 0]
    for general in [share for share in restoring if len(known[share.task].families) > 2]:
        covered = [s for s in restoring if s is not general and {*known[s.task].families} <= {*known[general.task].families}]
        if len(covered) > 1:
            return [share for share in meant if share not in covered]
        if len(restoring) > 1:
            return [share for share in meant if share is not general]
    return list(meant)


def sentences(tasks: Sequence[KnownTask], seed: int) -> Iterator[Instruction]:
    """What a router for these tasks is trained on."""
    words = {task.name: task.words for task in tasks}
    own = {task.name: task.own for task in tasks if not task.built_in}
    grammar = Grammar(words, np.random.default_rng(seed), own)
    for task in tasks:
        for _ in range(SENTENCES["single"]):
            yield grammar.single(task.name)
        for _ in range(SENTENCES["instead"]):
            yield grammar.instead(task.name)
        for _ in range(SENTENCES["several"] if len(tasks) > 1 else 0):
            yield grammar.several(2 if grammar.rng.random() < 0.8 else 3)
        for _ in range(SENTENCES["nothing"]):
            yield grammar.nothing()


def train_text_router(
    tasks: Sequence[KnownTask],
    seed: int = 0,
    progress: Callable[[float, float], None] = lambda done, total: None,
    vectors: WordVectors | None = None,
) -> TextRouter:
    """Train a router for these tasks; a function of the tasks, the seed and the vectors, if there are some."""
    examples = list(sentences(tasks, seed))
    names = [task.name for task in tasks]
    return TextRouter(tasks, train_text_model(lambda: _encoder(vectors), examples, names, seed, progress=progress))


def _encoder(vectors: WordVectors | None) -> Encoder:
    return VectorEncoder(vectors) if vectors else NgramEncoder()


def text_router(
    folder: Path,
    tasks: Sequence[KnownTask],
    progress: Callable[[float, float], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
    vectors: WordVectors | None = None,
) -> TextRouter:
    """The router for these tasks: the one that is kept in a folder, or one that is trained now and kept there.

    Args:
        folder: where routers are kept, each in a folder of its own.
        tasks: what it should know.
        progress: told (steps done, steps in all) of a training.
        note: told that a router was damaged, or could not be kept.
        vectors: of words, in the place of hashed pieces.
    """
    digest = digest_of(tasks, vectors)
    place = folder / digest[:16]
    try:
        about, tensors = read_router(place, FORMAT)
        if about.get("digest") == digest:
            model = TextModel(_encoder(vectors), len(tasks))
            model.load_state_dict(tensors)
            return TextRouter(tasks, model.eval())
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (DataError, RuntimeError) as error:
        note(f"trained anew: {error}")
    router = train_text_router(tasks, progress=progress, vectors=vectors)
    try:
        about = {"digest": digest, "tasks": [task.name for task in tasks], "threshold": THRESHOLD, "sentences": SENTENCES}
        write_router(place, FORMAT, router.model.state_dict(), about)
    except OSError as error:
        note(f"{place}: the router could not be kept, and will be trained again: {error.strerror or error}")
    return router


def digest_of(tasks: Sequence[KnownTask], vectors: WordVectors | None = None) -> str:
    """SHA-256 over all that a router is made of: the words of its tasks, those of everybody, and their vectors."""
    made_of = {
        "format": FORMAT,
        "tasks": {task.name: [asdict(task.words), None if task.built_in else asdict(task.own)] for task in tasks},
        "words": [word_file("common"), word_file("none")],
        "sentences": SENTENCES,
        "vectors": vectors and vectors.digest,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
