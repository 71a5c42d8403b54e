"""Steps until the end or until somebody asks to stop; what happens between them is said by hooks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ipt_platform.data.batch import Batch
from ipt_platform.train.state import TrainState
from ipt_platform.train.step import StepResult


class Hooks(Protocol):
    """What the loop calls; each is called by every worker at the same step."""

    def batch(self, batch: Batch) -> None:
        """A batch has come; look at what it says of bad samples."""

    def log(self, interval: "Interval") -> None:
        """Report an interval of steps."""

    def due(self) -> bool:
        """Whether an evaluation or a checkpoint is due after this step; not asked after the last one."""
        ...

    def milestone(self) -> None:
        """Evaluate, or commit; the loop's clocks stand still meanwhile."""

    def should_stop(self) -> bool:
        """Whether to stop here; the same answer in every worker."""
        ...


@dataclass(frozen=True)
class Interval:
    """What happened since the last report: its last step's result, and time in seconds.

    Attributes:
        result: of the last step.
        steps: how many there were.
        images: that they took.
        seconds: that they took, the wait for data included.
        waited: seconds of that in which a step waited for its data.
        each: seconds of each step.
        alone: seconds until this worker began to wait for others in its steps, the wait for data included.
    """

    result: StepResult
    steps: int
    images: int
    seconds: float
    waited: float
    each: Sequence[float] = ()
    alone: float = 0.0


def run_steps(
    state: TrainState,
    take_step: Callable[[Batch], StepResult],
    stream: Iterator[Batch],
    set_rates: Callable[[int], None],
    hooks: Hooks,
    *,
    total: int,
    images_at: Callable[[int], int],
    log_every: int,
    clock: Callable[[], float],
) -> bool:
    """Train from `state.step` until `total` steps are done; False if a hook stopped it before.

    Args:
        state: advanced in place.
        take_step: one optimizer step.
        stream: the batches from `state.step` on.
        set_rates: sets the learning rates of a step.
        hooks: see `Hooks`.
        total: steps at the end.
        images_at: images of a step, over all workers.
        log_every: steps between reports, and between questions whether to stop.
        clock: seconds.

    Raises:
        TrainingError: a loss is not finite.
    """
    images, seconds, waited, alone = 0, 0.0, 0.0, 0.0
    each: list[float] = []
    while state.step < total:
        began = clock()
        batch = next(stream)
        arrived = clock()
        assert batch.step == state.step, f"the stream gave step {batch.step}, expected {state.step}"
        hooks.batch(batch)
        set_rates(state.step)
        result = take_step(batch)
        count, spent, wait = images_at(state.step), clock() - began, arrived - began
        state.step, state.images = state.step + 1, state.images + count
        state.seconds, state.waited = state.seconds + spent, state.waited + wait
        images, seconds, waited, alone = images + count, seconds + spent, waited + wait, alone + wait + result.alone
        each.append(spent)
        if state.step % log_every == 0 or state.step == total:
            hooks.log(Interval(result, len(each), images, seconds, waited, each, alone))
            images, seconds, waited, alone, each = 0, 0.0, 0.0, 0.0, []
            if state.step < total and hooks.should_stop():
                return False
        if state.step < total and hooks.due():
            hooks.milestone()
    return True
