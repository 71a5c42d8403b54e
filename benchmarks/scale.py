"""What plan, split and bookkeeping cost on 64 machines with 8 workers each and 100 million pictures, by simulation.

The real code runs, for a few of the workers: which pictures a step takes, which of them are this worker's, where each lies, the
generator of every crop, the batch's head on its way, what is counted. Pictures are one pixel large and never decoded, so what
is left is what scale could make dear. A shard's table is shared by all shards; a real one differs in its numbers only.

What grows with the number of pictures is measured on indexes of fewer (`--indexed`): as many shards of 10,000 pictures, all of
one index, are opened by the real code in a process of its own, and then a picture of each is located, as a process of the
stream does sooner or later. Both cost the same for every shard, so the full size is worked out from it.

With `--ray` one actor answers as many calls as there are workers, as often as Ray Train asks its workers how they are.
"""

import argparse
import pickle
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.indexes import MIB, PER_SHARD, empty_shard, opened, peak
from benchmarks.measure import Figure, Spread, count, finish, machine, note, parser, run_script, spread
from ipt_platform.cluster.local import connected
from ipt_platform.data.batch import Batch
from ipt_platform.data.cache import PictureCache
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pairs import BatchMaker, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage, share
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.train.pace import POLL_SECONDS
from ipt_platform.train.samples import SampleCount
from ipt_platform.train.schedule import learning_rate_factor
from ipt_platform.train.slots import Slots

STEP = 0.1
"""Seconds of a step that the costs are compared with."""

TAKEN = "head read, counts and rates, in the trainer"
ALL = "all of these"
MADE = "a whole batch of crops of a pixel, with draws and damage"
TOLD = "what all workers tell the first at each line of metrics"


def main() -> None:
    arguments = _parser().parse_args()
    before, world = machine(), arguments.nodes * arguments.workers
    with empty_shard() as shard:
        maker = _maker(arguments, shard, world)
        note(f"{maker.plan.images:,} pictures, {world} workers, {arguments.each} pictures each in a step")
        costs = _costs(maker, arguments, world)
        parcel, peak_here = len(pickle.dumps(maker)), peak()
        indexes = [opened(shard, number // PER_SHARD) for number in arguments.indexed]
    rows = [{"part": name, "milliseconds": cost.median, "of a step": cost.median / 1e3 / STEP} for name, cost in costs.items()]
    largest = indexes[-1]
    figures = [
        Figure("plan, split and bookkeeping of a worker over a step of 100 ms", _over(costs[ALL], STEP), at_most=0.01),
        Figure("what of it is in the trainer", _over(costs[TAKEN], STEP), at_most=0.01),
        Figure(f"what {world} workers tell the first, over 10 steps", _over(costs[TOLD], 10 * STEP), at_most=0.01),
        Figure("a worker's plan on its way", parcel / MIB, "MiB"),
        Figure("peak memory of plan and shards in one process", peak_here, "GiB", at_most=2),
        Figure(f"peak memory while {largest['pictures']:,} are opened", largest["peak while opened"], "GiB", at_most=2),
        Figure(
            "processor time of opening all, worked out", largest["open"] * arguments.images / largest["pictures"] / 60, "min"
        ),
        Figure("tables of all in one process, worked out", largest["bytes each"] * arguments.images / 2**30, "GiB"),
        Figure(
            "processor time until they are there, worked out",
            largest["locate"] * arguments.images / largest["pictures"] / 60,
            "min",
        ),
    ]
    if arguments.ray:
        figures.append(Figure(f"asking {world} workers how they are, of a core of the head", _asking(world)))
    finish(arguments, before, figures, costs=rows, indexes=indexes)


def _costs(maker: BatchMaker, arguments: argparse.Namespace, world: int) -> dict[str, Spread]:
    """Milliseconds of each part of a step."""
    rng = random.Random(0)
    made: list[Batch] = []

    def drawn() -> tuple[int, int]:
        return rng.randrange(maker.schedule.total_steps), rng.randrange(world)

    def plan() -> np.ndarray:
        step, rank = drawn()
        located = maker.schedule.locate(step)
        samples = share(located.first, located.stage.images, rank, world)
        return maker.plan.indices(samples.start, samples.stop)

    def split() -> None:
        for index in wanted:
            maker.shards.locate(index)

    def generators() -> None:
        for sample in range(arguments.each):
            for draw in maker.draws:
                keyed_rng(maker.seed, 0, sample, draw.name, 0)

    def make() -> None:
        step, maker.rank = drawn()
        made.append(maker.make(step))

    def sent() -> None:
        made[-1].head()

    def taken() -> None:
        batch = Batch.of(parcel, pixels)
        maker.schedule.locate(batch.step)
        learning_rate_factor(batch.step, maker.schedule.total_steps, 100, 0.01)
        SampleCount.of(batch)

    wanted = [int(index) for index in plan()]
    make()
    parcel, pixels = made[-1].head(), np.zeros(maker.room(made[-1].step), np.uint8)
    line = pickle.dumps((SampleCount.of(made[-1]), "", {draw.name: 0.1 for draw in maker.draws}))

    def told() -> None:
        values = [pickle.loads(line) for _ in range(world)]
        sum((counted for counted, _, _ in values), SampleCount())
        {name: sum(loss[name] for _, _, loss in values) / world for name in values[0][2]}

    parts: dict[str, Callable[[], object]] = {
        "plan": plan,
        "where its pictures lie": split,
        "generators of its crops": generators,
        "head of the batch, written": sent,
        TAKEN: taken,
    }
    costs = {name: _timed(part, arguments.steps) for name, part in parts.items()}
    median, low, high = (sum(getattr(cost, end) for cost in costs.values()) for end in ("median", "low", "high"))
    rest = {MADE: make, TOLD: told}
    return (
        costs
        | {ALL: Spread(median, low, high, arguments.steps)}
        | {name: _timed(part, arguments.steps) for name, part in rest.items()}
    )


def _timed(part: Callable[[], object], times: int) -> Spread:
    """Milliseconds of processor time, which other work on the machine changes little."""
    milliseconds = []
    for _ in range(times):
        began = time.process_time()
        part()
        milliseconds.append(1e3 * (time.process_time() - began))
    return spread(milliseconds)


def _over(cost: Spread, seconds: float) -> Spread:
    by = 1e3 * seconds
    return Spread(cost.median / by, cost.low / by, cost.high / by, cost.n)


class _OnePixel(PictureCache):
    """Says that it has every picture; each is of one pixel."""

    def get(self, key: object, load: object) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)

    def __contains__(self, key: object) -> bool:
        return True


def _maker(arguments: argparse.Namespace, shard: Path, world: int) -> BatchMaker:
    number = -(-arguments.images // PER_SHARD)
    shards = ShardSet([shard.with_name(f"{i:06d}.tar") for i in range(number)], [PER_SHARD] * number, "")
    shards._tables = dict.fromkeys(range(number), ShardSet.open([shard])._table(0))
    draws = [
        TaskDraw(f"task{i}", 1, build_degradation({"name": "gaussian-noise", "sigma": 25})) for i in range(arguments.tasks)
    ]
    schedule = Schedule(tuple(Stage(100_000, 1, world * arguments.each) for _ in range(3)))
    plan = Plan(0, shards.images)
    maker = BatchMaker(shards=shards, plan=plan, schedule=schedule, draws=draws, seed=0, world=world)
    maker.cache = _OnePixel(0)
    return maker


def _asking(workers: int) -> float:
    """The share of a core that it takes to ask so many workers for an answer, as often as Ray Train's controller does."""

    @ray.remote(num_cpus=0)
    class Worker:
        def poll(self) -> dict[str, Any]:
            return {"running": True, "error": None, "result": None}

    with tempfile.TemporaryDirectory(prefix="s") as folder, connected(Slots(cpus=1), Path(folder, "driver.log")):
        worker: Any = Worker.remote()
        ray.get(worker.poll.remote())
        began, rounds = time.process_time(), 20
        for _ in range(rounds):
            ray.get([worker.poll.remote() for _ in range(workers)])
        return (time.process_time() - began) / rounds / float(POLL_SECONDS)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--images", type=count, default=100_000_000)
    made.add_argument("--nodes", type=count, default=64)
    made.add_argument("--workers", type=count, default=8, help="on each machine")
    made.add_argument("--each", type=count, default=8, help="pictures of each worker in a step")
    made.add_argument("--tasks", type=count, default=2)
    made.add_argument("--steps", type=count, default=500, help="how often each part is timed")
    made.add_argument("--indexed", type=count, nargs="+", default=[1_000_000], help="pictures whose indexes are opened")
    made.add_argument("--ray", action="store_true", help="also ask that many workers of a Ray how they are")
    return made


if __name__ == "__main__":
    run_script(main)
