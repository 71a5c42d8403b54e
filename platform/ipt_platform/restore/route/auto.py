"""From a picture to the tasks that are applied to it, out of those that there are models for."""

from dataclasses import dataclass, replace

import numpy as np

from ipt_platform.restore.offer import Offer
from ipt_platform.restore.route.blind import NOTHING, BlindRouter
from ipt_platform.restore.route.known import families_of
from ipt_platform.restore.route.route import Route, Share


@dataclass(frozen=True)
class Auto:
    """Chooses tasks by what a picture shows.

    Attributes:
        router: says what is wrong with a picture.
        offer: the tasks that there are.
        mix: whether to choose a mixture of several tasks rather than one.
    """

    router: BlindRouter
    offer: Offer
    mix: bool = False

    def route(self, picture: np.ndarray) -> Route:
        """The task to apply to a picture, or the shares of a mixture, which sum to 1; `nearest` is all that was seen.

        Args:
            picture: float32 [H, W, 3] in [0, 1].
        """
        route = self.router.route(picture, self.mix)
        if not route.steps:
            return route
        stands_for = {step.task: self.model_for(step.task) for step in route.steps}
        if stands_for[route.steps[0].task] is None:
            return Route((), route.nearest, f"{self.offer.where} has no model for {route.steps[0].task}")
        # two tasks that one model stands for are one
        shares: dict[str, float] = {}
        for step in route.steps:
            if task := stands_for[step.task]:
                shares[task] = shares.get(task, 0) + step.share
        total = sum(shares.values()) if self.mix else 1
        return replace(route, steps=tuple(Share(task, share / total) for task, share in shares.items()))

    @property
    def within_reach(self) -> list[str]:
        """The tasks with models that it may choose."""
        return sorted({found for task in self.router.tasks if (found := self.model_for(task))})

    def model_for(self, task: str) -> str | None:
        """The task with a model that undoes what was seen: the task itself, else one of the user's own for the same damage."""
        if task in self.offer.available:
            return task
        damage = families_of(self.offer.specs[task]) if task in self.offer.specs else ()
        own = (name for name in sorted(self.offer.available) if name in self.offer.specs)
        return next((name for name in own if damage and families_of(self.offer.specs[name]) == damage), None)


def in_words(route: Route, count: int = 3) -> str:
    """What was seen, and what follows: "derain 0.91, desnow 0.05, nothing to do 0.02: derain"."""
    seen = ", ".join(map(str, route.nearest[:count]))
    if not route.steps:
        left = "left as it is" if route.reason == NOTHING else f"left as it is ({route.reason})"
        return f"{seen}: {left}"
    return f"{seen}: {' + '.join(map(str, route.steps)) if len(route.steps) > 1 else route.tasks[0]}"
