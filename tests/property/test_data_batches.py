"""The same (seed, step) gives the same bytes: for any number of workers, in any order, after a resume, on any road."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.batch import Batch
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pairs import MAX_SUBSTITUTES, BatchMaker, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.scan import ensure_index
from ipt_platform.errors import DataError

SCHEDULE = Schedule((Stage(steps=5, patch=16, images=8), Stage(steps=4, patch=24, images=4)))
DRAWS = (
    TaskDraw("denoise", 2, build_degradation({"name": "gaussian-noise", "sigma": {"min": 0, "max": 50}})),
    TaskDraw("deblur", 1, build_degradation({"name": "motion-blur"}), quantize=True),
)


def png(i, height=40, width=36):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_shards(folder, pictures, each=5):
    paths = []
    for start in range(0, len(pictures), each):
        paths.append(folder / f"{start:06d}.tar")
        with tarfile.open(paths[-1], "w") as tar:
            for i, data in enumerate(pictures[start : start + each], start):
                info = tarfile.TarInfo(f"p{i:02d}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        ensure_index(paths[-1])
    return ShardSet.open(paths)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    # sizes differ; the last picture is smaller than every crop
    pictures = [png(i, 40 + i, 36 + 2 * i) for i in range(12)] + [png(12, 9, 11)]
    return make_shards(tmp_path_factory.mktemp("shards"), pictures)


@pytest.fixture(scope="module")
def with_bad(tmp_path_factory):
    # pictures 3 and 8 have whole headers and half their pixels: nothing but decoding finds them out
    pictures = [png(i)[: -2000 if i in (3, 8) else None] for i in range(10)]
    return make_shards(tmp_path_factory.mktemp("bad"), pictures)


def maker(shards, seed=0, rank=0, world=1, **options):
    plan = Plan(seed, shards.images)
    return BatchMaker(shards=shards, plan=plan, schedule=SCHEDULE, draws=DRAWS, seed=seed, rank=rank, world=world, **options)


def packed(batch):
    """All of a batch, to be compared bit for bit."""
    return batch.head(), [array.tobytes() for pair in batch.tasks.values() for array in pair]


def joined(batches):
    """One batch of the shares of all workers, in the order of their ranks."""
    tasks = {
        name: tuple(np.concatenate([batch.tasks[name][part] for batch in batches]) for part in (0, 1))
        for name in batches[0].tasks
    }
    return Batch(
        step=batches[0].step,
        tasks=tasks,
        keys=[key for batch in batches for key in batch.keys],
        params=[each for batch in batches for each in batch.params],
        bad=[each for batch in batches for each in batch.bad],
    )


@given(st.integers(0, 2**40), st.integers(0, SCHEDULE.total_steps - 1), st.sampled_from([2, 4]))
@settings(max_examples=25)
def test_workers_together_make_what_one_makes_alone(shards, seed, step, world):
    alone = maker(shards, seed).make(step)
    shares = [maker(shards, seed, rank, world).make(step) for rank in range(world)]

    assert packed(joined(shares)) == packed(alone)


@given(st.permutations(range(SCHEDULE.total_steps)), st.sampled_from([0, 10_000, 1 << 20]))
@settings(max_examples=10)
def test_order_and_cache_and_process_make_no_difference(shards, order, cache_bytes):
    out_of_order = maker(shards, cache_bytes=cache_bytes)
    made = {step: packed(out_of_order.make(step)) for step in order}
    unpacked = pickle.loads(pickle.dumps(out_of_order))

    assert out_of_order.cache.bytes <= cache_bytes
    assert made == {step: packed(maker(shards).make(step)) for step in range(SCHEDULE.total_steps)}
    assert unpacked.cache.bytes == 0
    assert packed(unpacked.make(order[0])) == made[order[0]]


@given(st.integers(0, 2**40), st.integers(0, SCHEDULE.total_steps - 1))
@settings(max_examples=10)
def test_a_batch_survives_its_journey(shards, seed, step):
    made = maker(shards, seed)
    pixels = np.zeros(made.room(step) + 100, np.uint8)
    batch = made.make(step, lambda size: pixels[:size])
    again = Batch.of(batch.head(), pixels)

    assert packed(again) == packed(batch) == packed(made.make(step))
    assert made.room(step) <= made.largest_room
    assert not pixels[made.room(step) :].any()
    assert (again.step, again.keys, again.params, again.bad) == (batch.step, batch.keys, batch.params, batch.bad)
    assert all(
        np.array_equal(mine, yours) and mine.dtype == yours.dtype and not yours.flags.owndata
        for name in batch.tasks
        for mine, yours in zip(batch.tasks[name], again.tasks[name], strict=True)
    )


@given(st.data())
@settings(max_examples=50)
def test_a_batch_that_is_cut_off_is_refused(shards, data):
    room = maker(shards).room(0)

    with pytest.raises(DataError, match="cut off"):
        Batch.of(maker(shards).make(0).head(), np.zeros(data.draw(st.integers(0, room - 1)), np.uint8))


def test_every_task_gets_its_crops_of_every_picture(shards):
    batch = maker(shards).make(6)

    assert {name: (pair[0].shape, pair[1].shape) for name, pair in batch.tasks.items()} == {
        "denoise": ((8, 24, 24, 3), (8, 24, 24, 3)),
        "deblur": ((4, 24, 24, 3), (4, 24, 24, 3)),
    }
    assert batch.crops == 12
    assert [(each["task"], each["copy"]) for each in batch.params[:3]] == [("denoise", 0), ("denoise", 1), ("deblur", 0)]
    assert [each["sample"] for each in batch.params] == [sample for sample in range(44, 48) for _ in range(3)]
    assert not np.array_equal(batch.tasks["denoise"][1][0], batch.tasks["denoise"][1][1])


def test_the_epoch_holds_every_picture_once(shards):
    batches = [maker(shards).make(step) for step in range(SCHEDULE.total_steps)]
    keys = [key for batch in batches for key in batch.keys]

    assert len(keys) == SCHEDULE.total_samples == 56
    assert all(len(set(keys[start : start + 13])) == 13 for start in range(0, 52, 13))


def test_another_task_in_the_job_changes_nothing_for_the_first(shards):
    plan = Plan(0, shards.images)
    one = BatchMaker(shards=shards, plan=plan, schedule=SCHEDULE, draws=DRAWS[:1], seed=0).make(3)

    assert np.array_equal(one.tasks["denoise"][0], maker(shards).make(3).tasks["denoise"][0])


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_bad_picture_is_replaced_by_the_next_of_the_plan_and_named(with_bad, world):
    plan = Plan(0, 10)
    for step in range(SCHEDULE.total_steps):
        batch = joined([maker(with_bad, rank=rank, world=world).make(step) for rank in range(world)])
        located = SCHEDULE.locate(step)
        expected, replaced = [], []
        for sample in range(located.first, located.first + located.stage.images):
            candidates = [plan.sample(sample).index, *plan.substitutes(sample)]
            usable = next(i for i, index in enumerate(candidates) if index not in (3, 8))
            expected.append(f"p{candidates[usable]:02d}")
            replaced += [f"p{index:02d}" for index in candidates[:usable]]

        assert batch.keys == expected
        assert [bad.name for bad in batch.bad] == replaced
        assert all(bad.kind == "cut-off" and "does not decode" in bad.reason for bad in batch.bad)
        assert all(bad.shard == f"{int(bad.name[1:]) // 5 * 5:06d}.tar" for bad in batch.bad)
        assert [each["key"] for each in batch.params[::3]] == expected


def test_nothing_but_bad_pictures_ends_in_an_error_that_names_them(tmp_path):
    few = make_shards(tmp_path, [png(i)[:-2000] for i in range(3)])
    with pytest.raises(DataError, match="3 pictures in a row cannot be used") as caught:
        maker(few).make(0)
    assert all(f"p{i:02d}: The png does not decode" in str(caught.value) for i in range(3))

    (tmp_path / "many").mkdir()
    many = make_shards(tmp_path / "many", [png(i)[:-2000] for i in range(30)])
    with pytest.raises(DataError, match=f"{MAX_SUBSTITUTES + 1} pictures in a row"):
        maker(many).make(0)


def test_a_shard_that_changed_in_use_is_an_error_and_not_a_bad_picture(tmp_path):
    changing = make_shards(tmp_path, [png(i) for i in range(10)])
    making = pickle.loads(pickle.dumps(maker(changing)))
    for shard in changing.shards:
        shard.write_bytes(shard.read_bytes() + bytes(512))

    with pytest.raises(DataError, match="no longer matches"):
        making.make(0)


def test_a_plan_for_other_pictures_is_refused(shards):
    with pytest.raises(DataError, match="for 5 pictures, the shards hold 13"):
        BatchMaker(shards=shards, plan=Plan(0, 5), schedule=SCHEDULE, draws=DRAWS, seed=0)
