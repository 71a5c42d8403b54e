"""The Ray carrier on a real Ray: the bytes of the local carrier, in order, and errors in words instead of hangs."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from PIL import Image

from ipt_platform.cluster.local import connected
from ipt_platform.data.ahead import BLOCK_STEPS, Ahead
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.stream import ray_stream
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.train.slots import Slots

# More steps than a block holds, and a stage that ends in the middle of one.
SCHEDULE = Schedule((Stage(BLOCK_STEPS + 9, patch=24, images=2), Stage(BLOCK_STEPS, patch=40, images=4)))
TOTAL = SCHEDULE.total_steps
MIDDLE = BLOCK_STEPS - 5
DRAWS = (
    TaskDraw("denoise", 2, build_degradation({"name": "gaussian-noise", "sigma": 25})),
    TaskDraw("deblur", 1, build_degradation({"name": "motion-blur"}), quantize=True),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stream") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(9):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((60 + number, 52), Image.Resampling.BICUBIC).save(folder / f"p{number}.png")
    pack(folder, folder.with_name("shards"), shard_size=10_000)
    return sorted(folder.with_name("shards").glob("*.tar"))


@pytest.fixture(scope="module")
def ray_is_up(tmp_path_factory) -> Iterator[None]:
    with connected(Slots(cpus=2), log=tmp_path_factory.mktemp("ray") / "driver.log"):
        yield


@pytest.mark.usefixtures("ray_is_up")
def test_a_ray_of_ones_own_has_no_programs_for_those_who_join():
    lines = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)]

    assert [line for line in lines if "gcs_server" in line]
    assert [line for line in lines if any(f"/{name}.py" in line for name in ("log_monitor", "monitor", "dashboard"))] == []


def maker_of(shards: list[Path], rank: int = 0, world: int = 1, seed: int = 3) -> BatchMaker:
    pictures = ShardSet.open(shards)
    plan = Plan(seed, pictures.images)
    return BatchMaker(shards=pictures, plan=plan, schedule=SCHEDULE, draws=DRAWS, seed=seed, rank=rank, world=world)


def through_ray(maker: BatchMaker, start: int, stop: int, cpus: float = 0.5) -> Iterator[Batch]:
    return ray_stream(maker, start, stop, cpus=cpus, prefetch=3)


@pytest.mark.usefixtures("ray_is_up")
@pytest.mark.parametrize(
    ("rank", "world", "start", "cpus"),
    [
        pytest.param(0, 1, 0, 0.5, id="alone"),
        pytest.param(0, 1, MIDDLE, 2, id="alone-from-the-middle-two-processes"),
        pytest.param(0, 2, 0, 0.5, id="first-of-two"),
        pytest.param(1, 2, MIDDLE, 1, id="second-of-two-from-the-middle"),
    ],
)
def test_ray_gives_the_bytes_of_the_local_carrier_in_order(shards, rank, world, start, cpus):
    maker = maker_of(shards, rank, world)

    got = list(through_ray(maker, start, TOTAL, cpus))

    assert [batch.step for batch in got] == list(range(start, TOTAL))
    for batch, want in zip(got, local_stream(maker, start, TOTAL), strict=True):
        assert batch.head() == want.head()
        for task, arrays in want.tasks.items():
            assert all(map(np.array_equal, batch.tasks[task], arrays))
    assert {batch.tasks["denoise"][1].shape[1] for batch in got} == {24, 40}


@pytest.mark.usefixtures("ray_is_up")
def test_workers_together_have_the_crops_of_one(shards):
    start, stop = MIDDLE, MIDDLE + 20
    alone = through_ray(maker_of(shards), start, stop)
    shares = [through_ray(maker_of(shards, rank, 2), start, stop) for rank in range(2)]  # both at the same time, as in training

    for whole, first, second in zip(alone, *shares, strict=True):
        assert first.keys + second.keys == whole.keys
        for task, (degraded, clean) in whole.tasks.items():
            assert np.array_equal(np.concatenate([first.tasks[task][0], second.tasks[task][0]]), degraded)
            assert np.array_equal(np.concatenate([first.tasks[task][1], second.tasks[task][1]]), clean)


def helpers() -> set[str]:
    """Which of the two processes are there that hand out a cluster's resources and keep metrics."""
    found = {actor["namespace"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    return found & {"AutoscalingCoordinator", "_dataset_stats_actor"}


@pytest.mark.usefixtures("ray_is_up")
def test_a_stream_goes_without_ray_datas_helpers_and_leaves_them_to_others(shards):
    stream = through_ray(maker_of(shards), 0, TOTAL)
    next(stream)

    assert helpers() == set()

    assert ray.data.range(3).take_all() == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert helpers() == {"AutoscalingCoordinator", "_dataset_stats_actor"}
    stream.close()
    assert len(list(through_ray(maker_of(shards), 0, TOTAL))) == TOTAL  # whoever is there now


@pytest.mark.usefixtures("ray_is_up")
def test_a_stream_that_is_left_early_makes_room_for_the_next(shards):
    left = through_ray(maker_of(shards), 0, TOTAL, cpus=2)
    assert next(left).step == 0
    actors = [each for each in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(each.cmdline())]
    left.close()

    assert actors
    assert psutil.wait_procs(actors, timeout=60)[1] == []  # their cores are free for the next
    assert [batch.step for batch in through_ray(maker_of(shards), 3, 6, cpus=2)] == [3, 4, 5]


def test_a_stream_of_no_steps_needs_no_ray(shards):
    assert list(through_ray(maker_of(shards), TOTAL, TOTAL)) == []


def copied(shards: list[Path], folder: Path) -> list[Path]:
    for shard in shards:
        shutil.copy(shard, folder)
        shutil.copy(f"{shard}.index.json", folder)
    return sorted(folder.glob("*.tar"))


@pytest.mark.usefixtures("ray_is_up")
@pytest.mark.parametrize("carrier", [through_ray, local_stream], ids=["ray", "local"])
def test_a_shard_that_is_gone_is_an_error_that_names_it(shards, tmp_path, carrier):
    own = copied(shards, tmp_path)
    maker = maker_of(own)
    for shard in own:
        shard.unlink()

    with pytest.raises(NotFoundError) as caught:
        list(carrier(maker, 0, TOTAL))

    # a sentence, no traceback of another process
    assert str(caught.value) in [f"{shard}: there is no such shard." for shard in own]


@pytest.mark.usefixtures("ray_is_up")
@pytest.mark.parametrize("carrier", [through_ray, local_stream], ids=["ray", "local"])
def test_shards_in_which_nothing_can_be_used_are_an_error_that_names_the_pictures(shards, tmp_path, carrier):
    own = copied(shards, tmp_path)
    maker = maker_of(own)
    for shard in own:
        shard.write_bytes(bytes(shard.stat().st_size))

    with pytest.raises(DataError, match=r"9 pictures in a row cannot be used.*\n.*p\d: ") as caught:
        list(carrier(maker, 0, TOTAL))

    assert "Traceback" not in str(caught.value)


@pytest.mark.usefixtures("ray_is_up")
@pytest.mark.parametrize("carrier", [through_ray, local_stream], ids=["ray", "local"])
def test_an_error_comes_after_the_batches_before_it(shards, tmp_path, carrier):
    own = copied(shards, tmp_path)
    pictures = ShardSet.open(own)
    gone = pictures.images - pictures.counts[-1]  # the first picture of the last shard
    seed = next(seed for seed in range(1000) if max(Plan(seed, pictures.images).indices(0, 4)) < gone)
    maker = maker_of(own, seed=seed)
    own[-1].unlink()

    steps: list[int] = []
    with pytest.raises(NotFoundError, match=own[-1].name):
        steps.extend(batch.step for batch in carrier(maker, 0, TOTAL))

    samples = Plan(seed, pictures.images).indices(0, TOTAL)
    assert steps == list(range(min(int(sample) for sample in np.flatnonzero(samples >= gone)) // 2))
    assert len(steps) >= 2


@pytest.mark.usefixtures("ray_is_up")
def test_an_error_of_another_kind_ends_the_stream_too(shards):
    with pytest.raises(ValueError, match=r"step \d+ is outside the schedule"):
        list(through_ray(maker_of(shards), TOTAL - 3, TOTAL + 2))


@pytest.mark.usefixtures("ray_is_up")
def test_a_stream_runs_no_further_ahead_than_it_says(shards, tmp_path):
    own = copied(shards, tmp_path)
    pictures = ShardSet.open(own)
    schedule = Schedule((Stage(30 * BLOCK_STEPS, patch=16, images=1),))
    maker = BatchMaker(shards=pictures, plan=Plan(3, pictures.images), schedule=schedule, draws=DRAWS, seed=3, cache_bytes=0)
    ahead = Ahead.of(maker.largest_room, processes=1, prefetch=3)
    stream = through_ray(maker, 0, schedule.total_steps)
    next(stream)
    actors = [each for each in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(each.cmdline())]

    until_idle(actors)
    for shard in own:
        shard.write_bytes(bytes(shard.stat().st_size))  # from now on, no picture can be read
    steps = [0]
    with pytest.raises(DataError):
        steps.extend(batch.step for batch in stream)

    assert ahead.blocks > 1
    assert (ahead.blocks - 1) * ahead.steps < len(steps) <= ahead.blocks * ahead.steps + 1  # the first block is of one step


def until_idle(processes: list[psutil.Process]) -> None:
    """Wait until these processes have nothing to do."""
    seen, still = -1.0, 0
    while still < 10:
        time.sleep(0.1)
        now = sum(sum(each.cpu_times()[:2]) for each in processes)
        seen, still = now, still + 1 if now <= seen + 0.01 else 0
