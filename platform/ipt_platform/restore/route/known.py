"""The tasks that a router knows: their words, what they undo, and where they stand in the order of application."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.degradations.compose import Chain, OneOf
from ipt_platform.restore.route.lexicon import Words, built_in_words, words_of_instructions
from ipt_platform.restore.route.order import place
from ipt_platform.spec.task import OWN, TaskSpec, load_task, task_names


@dataclass(frozen=True)
class KnownTask:
    """A task as routers see it.

    Attributes:
        name: of the task.
        words: what people say of it.
        own: those of them that its own file says.
        families: the degradations that it undoes, as they happen; none where it learned from pairs.
        built_in: whether it ships with the platform.
    """

    name: str
    words: Words
    own: Words
    families: tuple[str, ...]
    built_in: bool

    @property
    def place(self) -> float:
        """Where it stands in the order of application, see `order.place`."""
        return place(self.families)


def known_tasks(specs: Sequence[TaskSpec]) -> list[KnownTask]:
    """The tasks of these specifications as routers see them.

    A task of the user's own that undoes the same degradation as one built-in task is asked for by the words of that one too.
    """
    built_in, families = built_in_words(), {spec.name: families_of(spec) for spec in specs}
    shipped = Counter(families[name] for name in built_in if name in families)
    kin = {families[name]: words for name, words in built_in.items() if shipped[families.get(name, ())] == 1}
    known = []
    for spec in specs:
        words = built_in.get(spec.name) or (kin.get(families[spec.name], Words()) if len(families[spec.name]) == 1 else Words())
        own = words_of_instructions(spec.instructions or (spec.description,))
        known.append(KnownTask(spec.name, words + own, own, families[spec.name], spec.name in built_in))
    return known


def tasks_here(base: Path = Path()) -> list[TaskSpec]:
    """The tasks that ship with the platform, and those in `tasks/` below `base`.

    Raises:
        SpecError: the file of a task is wrong.
    """
    own = [path.stem for path in sorted((base / OWN).glob("*.yaml"))]
    return [load_task(name, base) for name in (*task_names(), *own)]


def families_of(spec: TaskSpec) -> tuple[str, ...]:
    """The families of a task's degradation, each once, as they first happen; none where it reads pairs."""
    return tuple(dict.fromkeys(_families(spec.training({})))) if spec.degradation else ()


def rivals(tasks: Sequence[KnownTask]) -> dict[str, frozenset[str]]:
    """For each task the others that answer to one of its phrases: alternatives, of which only one is applied."""
    return {
        task.name: frozenset(other.name for other in tasks if other is not task and task.words.phrases & other.words.phrases)
        for task in tasks
    }


def _families(degradation: Degradation) -> Iterator[str]:
    match degradation:
        case Chain(steps=parts) | OneOf(choices=parts):
            for part in parts:
                yield from _families(part.degradation)
        case _:
            yield degradation.name
