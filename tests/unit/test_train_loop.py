"""The loop by itself: when each hook is called, what an interval adds up to on a clock that is an argument."""

from dataclasses import dataclass, field

import pytest
import torch

from ipt_platform.data.batch import Batch
from ipt_platform.model.bias import BiasedModel
from ipt_platform.train.loop import Interval, run_steps
from ipt_platform.train.state import TrainState, new_state
from ipt_platform.train.step import StepResult

DATA, STEP, HOOK = 1.0, 10.0, 1000.0


@dataclass
class Trail:
    """A clock that only moves by what is done, and a list of what was done."""

    now: float = 0.0
    done: list = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    stop_at: int = -1
    due_after: tuple[int, ...] = ()

    def stream(self, first: int, last: int):
        for step in range(first, last):
            self.now += DATA
            yield Batch(step, {}, [], [], [])

    def take_step(self, batch: Batch) -> StepResult:
        self.now += STEP
        self.done.append(f"step {batch.step}")
        return StepResult({"t": float(batch.step)}, 0.0, 0.0)

    def set_rates(self, step: int) -> None:
        self.done.append(f"rates {step}")

    def batch(self, batch: Batch) -> None:
        self.done.append(f"batch {batch.step}")

    def log(self, interval: Interval) -> None:
        self.now += HOOK
        self.done.append("log")
        self.intervals.append(interval)

    def due(self) -> bool:
        return self.done[-1 if self.done[-1].startswith("step") else -3] in [f"step {step - 1}" for step in self.due_after]

    def milestone(self) -> None:
        self.now += HOOK
        self.done.append("milestone")

    def should_stop(self) -> bool:
        self.done.append("stop?")
        return len(self.intervals) == self.stop_at


def state_at(step: int = 0) -> TrainState:
    model = BiasedModel(torch.nn.Linear(1, 1), {})
    state = new_state(model, lr=1, bias_lr=1, weight_decay=0, bias_weight_decay=0, betas=(0.0, 0.0), average=False)
    state.step = step
    return state


def run(trail: Trail, state: TrainState, total: int, *, log_every: int) -> bool:
    return run_steps(
        state,
        trail.take_step,
        trail.stream(state.step, total),
        trail.set_rates,
        trail,
        total=total,
        images_at=lambda step: 2 + step,
        log_every=log_every,
        clock=lambda: trail.now,
    )


def test_hooks_come_in_order():
    trail, state = Trail(due_after=(2,)), state_at()

    assert run(trail, state, 3, log_every=2)

    assert trail.done == [
        *("batch 0", "rates 0", "step 0"),
        *("batch 1", "rates 1", "step 1", "log", "stop?", "milestone"),
        *("batch 2", "rates 2", "step 2", "log"),
    ]


def test_milestones_come_where_they_are_due_and_never_after_the_last_step():
    trail, state, seen = Trail(due_after=(4, 6, 8, 12)), state_at(), []
    trail.milestone = lambda: seen.append(state.step)

    run(trail, state, 12, log_every=100)

    assert seen == [4, 6, 8]


def test_intervals_add_up_to_the_time_of_steps_alone():
    trail, state = Trail(due_after=(1, 2, 3, 4, 5)), state_at()

    run(trail, state, 5, log_every=2)

    assert [(i.steps, i.images, i.seconds, i.waited) for i in trail.intervals] == [
        (2, 2 + 3, 2 * (DATA + STEP), 2 * DATA),
        (2, 4 + 5, 2 * (DATA + STEP), 2 * DATA),
        (1, 6, DATA + STEP, DATA),
    ]
    assert [i.result.loss["t"] for i in trail.intervals] == [1, 3, 4]
    assert (state.step, state.images, state.seconds, state.waited) == (5, 20, 5 * (DATA + STEP), 5 * DATA)


def test_a_stop_ends_between_steps_with_the_state_as_it_then_is():
    trail, state = Trail(stop_at=1, due_after=(3,)), state_at()

    assert not run(trail, state, 10, log_every=3)

    assert state.step == 3
    assert trail.done[-2:] == ["log", "stop?"]  # who stops commits: a milestone as well would do it twice


def test_it_goes_on_from_where_the_state_is_and_reports_at_the_same_steps():
    trail, state = Trail(), state_at(3)
    state.images, state.seconds = 100, 7.0

    assert run(trail, state, 6, log_every=2)

    assert [i.steps for i in trail.intervals] == [1, 2]
    assert trail.done[0] == "batch 3"
    assert (state.images, state.seconds) == (100 + 5 + 6 + 7, 7.0 + 3 * (DATA + STEP))


def test_nothing_is_left_to_do_at_the_end():
    trail, state = Trail(), state_at(4)

    assert run(trail, state, 4, log_every=1)
    assert trail.done == []


def test_a_stream_at_another_step_is_not_taken():
    with pytest.raises(AssertionError, match="the stream gave step 1, expected 0"):
        run_steps(
            state_at(), lambda batch: StepResult({}, 0, 0), iter([Batch(1, {}, [], [], [])]), lambda step: None, Trail(),
            total=2, images_at=lambda step: 1, log_every=1, clock=lambda: 0.0,
        )  # fmt: skip
