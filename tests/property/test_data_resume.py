"""Whoever goes on, at whatever step and with however many workers, gets exactly the samples that were left."""

import io
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pairs import BatchMaker, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import ensure_index

WORLDS = (1, 2, 3, 4, 6)
DRAWS = (
    TaskDraw("denoise", 2, build_degradation({"name": "gaussian-noise", "sigma": {"min": 0, "max": 50}})),
    TaskDraw("deblur", 1, build_degradation({"name": "motion-blur", "length": 3}), quantize=True),
)


@dataclass(frozen=True)
class Training:
    """What is trained on, and where it was interrupted.

    shards: pictures of each shard by size (rows, columns); worlds: workers before and after the interruption; step: at which.
    """

    seed: int
    shards: list[list[tuple[int, int]]]
    schedule: Schedule
    worlds: tuple[int, int]
    step: int


@st.composite
def trainings(draw: st.DrawFn) -> Training:
    sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
    stage = st.builds(Stage, steps=st.integers(1, 4), patch=st.sampled_from([4, 8, 16]), images=st.sampled_from([12, 24]))
    schedule = Schedule(tuple(draw(st.lists(stage, min_size=1, max_size=3))))
    return Training(
        seed=draw(st.integers(0, 2**63 - 1)),
        shards=draw(st.lists(st.lists(sizes, min_size=1, max_size=6), min_size=1, max_size=4)),
        schedule=schedule,
        worlds=(draw(st.sampled_from(WORLDS)), draw(st.sampled_from(WORLDS))),
        step=draw(st.integers(0, schedule.total_steps)),
    )


@given(trainings())
@settings(max_examples=40)
def test_samples_are_the_same_however_training_was_interrupted(training: Training):
    total = training.schedule.total_steps
    with tempfile.TemporaryDirectory() as folder:
        shards = write(Path(folder), training.shards)
        alone = samples(training, shards, 1, 0, total)
        before = samples(training, shards, training.worlds[0], 0, training.step)
        after = samples(training, shards, training.worlds[1], training.step, total)

    assert [*before, *after] == alone
    assert [number for number, *_ in alone] == list(range(training.schedule.total_samples))


def samples(training: Training, shards: ShardSet, world: int, start: int, stop: int) -> list[tuple]:
    """The samples of some steps in the order of the plan: number, picture, and by task params and bytes of each crop."""
    plan = Plan(training.seed, shards.images)
    streams = []
    for rank in range(world):
        common = {"shards": shards, "plan": plan, "schedule": training.schedule, "draws": DRAWS, "seed": training.seed}
        maker = BatchMaker(**common, rank=rank, world=world, cache_bytes=1000 * rank)
        streams.append(local_stream(maker, start, stop, processes=0))
    found = []
    for batches in zip(*streams, strict=True):
        for batch in batches:
            assert batch.bad == []
            each = sum(draw.weight for draw in DRAWS)
            for row, key in enumerate(batch.keys):
                params = batch.params[each * row : each * (row + 1)]
                (number,) = {crop["sample"] for crop in params}
                pixels = [
                    array[row * draw.weight : (row + 1) * draw.weight].tobytes()
                    for draw in DRAWS
                    for array in batch.tasks[draw.name]
                ]
                found.append((number, key, params, pixels))
    return found


def write(folder: Path, shards: list[list[tuple[int, int]]]) -> ShardSet:
    paths = []
    for number, sizes in enumerate(shards):
        paths.append(folder / f"{number}.tar")
        with tarfile.open(paths[-1], "w") as tar:
            for place, size in enumerate(sizes):
                buffer = io.BytesIO()
                pixels = np.random.default_rng([number, place]).integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(buffer, "PNG")
                info = tarfile.TarInfo(f"s{number}p{place}.png")
                info.size = len(buffer.getvalue())
                tar.addfile(info, io.BytesIO(buffer.getvalue()))
        ensure_index(paths[-1])
    return ShardSet.open(paths)
