"""What every way of choosing tasks answers: an ordered list of tasks with their shares, or why none was chosen.

A person names tasks (`by_name`), says something (`text.TextRouter`), or leaves the choice to the picture (`blind.BlindRouter`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ipt_platform.errors import NotFoundError, UsageError


@dataclass(frozen=True)
class Share:
    """A task, and how sure it is that it is meant: 0 to 1."""

    task: str
    share: float

    def __str__(self) -> str:
        return f"{self.task} {self.share:.2f}"


@dataclass(frozen=True)
class Route:
    """Which tasks to apply.

    Attributes:
        steps: the tasks in the order in which they are applied; none where nothing was chosen.
        nearest: the likeliest tasks, likeliest first, whatever was chosen.
        reason: why nothing was chosen; "" where something was.
    """

    steps: tuple[Share, ...]
    nearest: tuple[Share, ...] = ()
    reason: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks to apply, in order."""
        return tuple(step.task for step in self.steps)


def by_name(names: Sequence[str]) -> Route:
    """The route of a person who names the tasks: these, in this order.

    Raises:
        UsageError: a task is named twice.
    """
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UsageError(f"task {twice[0]!r} is named twice; name each task once, in the order in which to apply them")
    return Route(tuple(Share(name, 1.0) for name in names))


def check_known(route: Route, available: Collection[str], where: str) -> None:
    """Raise NotFoundError unless there is a model for every task of a route.

    Args:
        route: what was chosen.
        available: the tasks that there are models for.
        where: who has these models, for the message: "run a-run".
    """
    if lacking := [task for task in route.tasks if task not in available]:
        raise NotFoundError(
            f"{where} has no model for {' and '.join(lacking)}; it has models for: {', '.join(sorted(available)) or 'no task'}"
        )
