"""Pairs from disk: both halves are cut alike, and which pair and crop a step gets depends on (seed, step) alone."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pairs import BatchMaker, PairedDraw, TaskDraw, crop_pair, turn
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.data.scan import ensure_index
from ipt_platform.errors import DataError

SCHEDULE = Schedule((Stage(steps=4, patch=16, images=8), Stage(steps=3, patch=24, images=4)))
NOISE = TaskDraw("denoise", 1, build_degradation({"name": "gaussian-noise", "sigma": 25}))


def marked(key: int, height: int, width: int, half: int) -> np.ndarray:
    """Each pixel says where it lies, of which pair it is, and (in the low bit of the last channel) of which half."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows, columns, np.full_like(rows, 2 * key + half)]).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    ensure_index(path)
    return path


def pair(key: int) -> dict[str, bytes]:
    size = (30 + key, 45 - key)
    return {f"p{key:02d}.degraded.png": png(marked(key, *size, 1)), f"p{key:02d}.clean.png": png(marked(key, *size, 0))}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> ShardSet:
    folder = tmp_path_factory.mktemp("pairs")
    keys = range(11)
    shards = [keys[start : start + 4] for start in range(0, 11, 4)]
    return ShardSet.open(
        [
            write(folder / f"{number}.tar", {name: data for key in shard for name, data in pair(key).items()})
            for number, shard in enumerate(shards)
        ]
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> ShardSet:
    noise = np.random.default_rng(0).integers(0, 256, (7, 40, 50, 3), dtype=np.uint8)
    tar = tmp_path_factory.mktemp("pictures") / "0.tar"
    return ShardSet.open([write(tar, {f"c{i}.png": png(pixels) for i, pixels in enumerate(noise)})])


def maker(pictures: ShardSet, pairs: ShardSet, seed: int = 0, rank: int = 0, world: int = 1, weight: int = 2) -> BatchMaker:
    draws = (NOISE, PairedDraw("rain", weight, pairs))
    plan = Plan(seed, pictures.images)
    return BatchMaker(shards=pictures, plan=plan, schedule=SCHEDULE, draws=draws, seed=seed, rank=rank, world=world)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**40))
@settings(max_examples=200)
def test_both_halves_are_turned_and_cut_alike(height, width, patch, sample):
    halves = np.stack([marked(0, height, width, 1), marked(0, height, width, 0)])

    made = crop_pair(halves, patch, "rain", "p00", keyed_rng(0, 0, sample, "rain"))

    degraded = np.rint(made.degraded * 255).astype(np.uint8)
    assert made.clean.shape == degraded.shape == (patch, patch, 3)
    assert made.degraded.dtype == np.float32
    assert np.array_equal(degraded[..., :2], made.clean[..., :2])  # the same pixels of the pictures
    assert (degraded[..., 2] == 1).all()
    assert (made.clean[..., 2] == 0).all()
    top, left = made.params["crop"]
    if height >= patch <= width:
        whole = turn(halves[1], *made.params["turn"])
        assert np.array_equal(made.clean, whole[top : top + patch, left : left + patch])


def test_every_turn_and_place_comes(pairs, pictures):
    batches = [maker(pictures, pairs, seed).make(step) for seed in range(20) for step in range(4)]
    told = [each for batch in batches for each in batch.params if each["task"] == "rain"]

    assert {tuple(each["turn"]) for each in told} == {(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert len({(each["key"], *each["crop"]) for each in told}) > 300


@given(st.integers(0, 2**40), st.integers(0, SCHEDULE.total_steps - 1), st.sampled_from([1, 2, 4]))
@settings(max_examples=25)
def test_pairs_are_a_function_of_seed_and_step(pairs, pictures, seed, step, world):
    alone = maker(pictures, pairs, seed).make(step)
    shares = [pickle.loads(pickle.dumps(maker(pictures, pairs, seed, rank, world))).make(step) for rank in range(world)]

    assert [each for share in shares for each in share.params] == alone.params
    for part in (0, 1):
        assert np.array_equal(np.concatenate([share.tasks["rain"][part] for share in shares]), alone.tasks["rain"][part])


@pytest.mark.parametrize("start", [0, 3])
def test_pairs_come_through_processes_as_they_are_made_here(pairs, pictures, start):
    resumed = local_stream(maker(pictures, pairs), start, SCHEDULE.total_steps, processes=2, prefetch=3)

    for batch, step in zip(resumed, range(start, SCHEDULE.total_steps), strict=True):
        here = maker(pictures, pairs).make(step)
        assert batch.head() == here.head()
        assert all(
            np.array_equal(*each) for name in here.tasks for each in zip(batch.tasks[name], here.tasks[name], strict=True)
        )


def test_every_crop_is_of_the_pair_that_its_parameters_name(pairs, pictures):
    for step in range(SCHEDULE.total_steps):
        batch = maker(pictures, pairs).make(step)
        degraded, clean = batch.tasks["rain"]
        told = [each for each in batch.params if each["task"] == "rain"]

        assert len(told) == len(clean) == 2 * len(batch.keys)
        for row, each in enumerate(told):
            assert each["degradation"] == {"pair": each["key"]}
            assert np.array_equal(clean[row, 0, 0, 2], 2 * int(each["key"][1:]))
            assert round(float(degraded[row, 0, 0, 2]) * 255) == 2 * int(each["key"][1:]) + 1


def test_each_pair_comes_once_in_a_pass_in_an_order_of_its_own(pairs, pictures):
    def keys(seed: int, draw: PairedDraw) -> list[str]:
        schedule = Schedule((Stage(steps=22, patch=8, images=1),))
        plan = Plan(seed, pictures.images)
        making = BatchMaker(shards=pictures, plan=plan, schedule=schedule, draws=(draw,), seed=seed)
        return [key for step in range(22) for key in making.make(step).keys]

    order = keys(0, PairedDraw("rain", 1, pairs))
    every = [f"p{key:02d}" for key in range(11)]

    assert sorted(order[:11]) == sorted(order[11:]) == every
    assert order[:11] != order[11:]
    assert len({tuple(order), tuple(keys(1, PairedDraw("rain", 1, pairs))), tuple(keys(0, PairedDraw("other", 1, pairs)))}) == 3


def test_what_other_tasks_get_does_not_depend_on_the_pairs(pairs, pictures):
    plan = Plan(0, pictures.images)
    without = BatchMaker(shards=pictures, plan=plan, schedule=SCHEDULE, draws=(NOISE,), seed=0)
    for step in range(SCHEDULE.total_steps):
        batch, plain = maker(pictures, pairs).make(step), without.make(step)

        assert batch.keys == plain.keys
        assert all(map(np.array_equal, batch.tasks["denoise"], plain.tasks["denoise"]))


def test_where_every_task_reads_pairs_no_other_picture_is_read(pairs, tmp_path):
    tar = write(tmp_path / "gone.tar", {"x.png": png(marked(0, 20, 20, 0))})
    clean = ShardSet.open([tar])
    tar.unlink()

    plan = Plan(0, clean.images)
    making = BatchMaker(shards=clean, plan=plan, schedule=SCHEDULE, draws=(PairedDraw("rain", 1, pairs),), seed=0)
    batch = making.make(0)

    assert batch.keys == [each["key"] for each in batch.params]
    assert set(batch.keys) <= {f"p{key:02d}" for key in range(11)}


def test_a_pair_that_cannot_be_used_is_replaced_by_the_next_and_named_with_its_half(pictures, tmp_path):
    cut = {
        name: data[:-60] if name in ("p01.degraded.png", "p03.clean.png") else data
        for key in range(5)
        for name, data in pair(key).items()
    }
    tar = write(tmp_path / "cut.tar", cut)
    index = tar.with_name("cut.tar.index.json")
    text = index.read_text()
    first = text.index('"degraded"')  # the first pair loses its half, as in an index that somebody else made
    end = text.index("}", first) + 1
    index.write_text(text[:first].rstrip().removesuffix(",") + text[end:])
    bad = ShardSet.open([tar])
    reasons: dict[str, tuple[str, str]] = {}
    for seed in range(4):
        for step in range(4):
            batch = maker(pictures, bad, seed).make(step)
            reasons |= {each.name: (each.kind, each.reason) for each in batch.bad}
            usable = {each["key"] for each in batch.params if each["task"] == "rain"}
            assert usable <= {"p02", "p04"}

    assert bad.pairs == 4
    assert reasons == {
        "p00": ("half-missing", "has no degraded half."),
        "p01": ("cut-off", "degraded half: The png does not decode: it is cut off or damaged."),
        "p03": ("cut-off", "clean half: The png does not decode: it is cut off or damaged."),
    }


def test_nothing_but_bad_pairs_is_an_error_that_names_the_task(pictures, tmp_path):
    names = {name: data[:-60] for key in range(3) for name, data in pair(key).items()}
    bad = ShardSet.open([write(tmp_path / "bad.tar", names)])

    with pytest.raises(DataError, match="3 pairs of task rain in a row cannot be used") as caught:
        maker(pictures, bad).make(0)
    assert all(f"bad.tar: p0{key}: degraded half: The png does not decode" in str(caught.value) for key in range(3))
