"""A contact sheet shows the pairs of training, pixel by pixel, and says in readable words what made them."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from ipt_platform.data.index import load_index
from ipt_platform.data.pack import pack
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.pairs import BatchMaker, PairedDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.evaluate.preview import Shown, preview
from ipt_platform.evaluate.protocols import to_uint8
from ipt_platform.evaluate.sheet import GAP, LINE, LINES, MARGIN, PAPER, caption, caption_lines, contact_sheet
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.task import task_names

FONT = ImageFont.load_default(13)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> ShardSet:
    folder = tmp_path_factory.mktemp("sheet") / "photos"
    folder.mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (50, 60 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return ShardSet.open(pack(folder, folder.with_name("shards")).shards)


def shown(task: str = "denoise", side: int = 100, seed: int = 0, **params) -> Shown:
    rng = np.random.default_rng(seed)
    degraded = rng.normal(0.5, 0.4, (side, side, 3)).astype(np.float32)
    return Shown(task, degraded, rng.integers(0, 256, (side, side, 3), np.uint8), {"degradation": params})


def pixels_of(sheet: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(sheet)))


def test_the_pairs_are_those_that_a_job_trains_on(shards):
    draws = [draw_of(name, 1, {}) for name in ("derain", "denoise")]
    found = preview(draws, shards, seed=7, count=6, patch=24)

    # a job with another batch size, more tasks, more crops of each picture, and two workers
    schedule = Schedule((Stage(steps=3, patch=24, images=4),))
    job = [draw_of("dehaze", 1, {}), draw_of("denoise", 2, {}), draw_of("derain", 1, {})]
    trained: dict[tuple, tuple] = {}
    for rank in (0, 1):
        making = BatchMaker(shards=shards, plan=Plan(7, 5), schedule=schedule, draws=job, seed=7, rank=rank, world=2)
        for batch in map(making.make, range(3)):
            for name, (degraded, clean) in batch.tasks.items():
                told = [each for each in batch.params if each["task"] == name]
                trained |= {
                    (name, each["sample"], each["copy"]): (*crops, each)
                    for *crops, each in zip(degraded, clean, told, strict=True)
                }
    assert [(pair.task, pair.params["sample"]) for pair in found.pairs] == [
        (t, s) for t in ("derain", "denoise") for s in range(6)
    ]
    for pair in found.pairs:
        degraded, clean, params = trained[pair.task, pair.params["sample"], 0]
        assert np.array_equal(pair.degraded, degraded)
        assert np.array_equal(pair.clean, clean)
        assert pair.params == params


def test_pairs_on_disk_are_shown_without_any_photographs(tmp_path):
    for half in ("in", "gt"):
        (tmp_path / half).mkdir()
        Image.fromarray(np.full((30, 30, 3), len(half), np.uint8)).save(tmp_path / half / "a.png")
    pairs = ShardSet.open(pack_pairs(tmp_path / "in", tmp_path / "gt", tmp_path / "out")[0].shards)

    found = preview([PairedDraw("rain100l", 1, pairs)], None, seed=0, count=2, patch=16)
    assert [(pair.task, pair.params["key"]) for pair in found.pairs] == [("rain100l", "a")] * 2
    assert caption(found.pairs[0].params["degradation"]) == "pair a"


def test_every_pair_lies_unchanged_where_it_belongs():
    pairs = [shown(seed=seed, sigma=25.0) for seed in range(5)]
    sheet = pixels_of(contact_sheet(pairs, columns=2))

    cell, row = 2 * 100 + GAP, 100 + 4 + LINE  # one line of caption
    assert sheet.shape == (MARGIN + 3 * (row + MARGIN), MARGIN + 2 * (cell + MARGIN), 3)
    for number, pair in enumerate(pairs):
        top, left = MARGIN + number // 2 * (row + MARGIN), MARGIN + number % 2 * (cell + MARGIN)
        right = left + 100 + GAP
        assert np.array_equal(sheet[top : top + 100, left : left + 100], to_uint8(pair.degraded))
        assert np.array_equal(sheet[top : top + 100, right : right + 100], pair.clean)
        assert (sheet[top + 100 : top + row, left : left + cell] != PAPER).any()  # words
        assert (sheet[top + row : top + row + MARGIN] == PAPER).all()
    assert (sheet[MARGIN + 2 * (row + MARGIN) :, MARGIN + cell :] == PAPER).all()  # no sixth pair


@pytest.mark.parametrize(("side", "times"), [(16, 6), (64, 2), (96, 1), (300, 1)])
def test_small_pictures_are_enlarged_pixel_by_pixel(side, times):
    pair = shown(side=side)
    sheet = pixels_of(contact_sheet([pair]))

    degraded = sheet[MARGIN : MARGIN + side * times, MARGIN : MARGIN + side * times]
    assert np.array_equal(degraded, to_uint8(pair.degraded).repeat(times, 0).repeat(times, 1))
    assert sheet.shape[1] == 2 * MARGIN + (2 * side + GAP) * times


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (6, (2, 3)), (16, (4, 4))])
def test_a_sheet_takes_a_good_shape_by_itself(count, shape):
    sheet = pixels_of(contact_sheet([shown(side=128, a=1.0)] * count))

    assert ((len(sheet) - MARGIN) // (128 + 4 + LINE + MARGIN), (sheet.shape[1] - MARGIN) // (256 + GAP + MARGIN)) == shape


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"sigma": 25.0, "key": 5225929812148488}, "sigma 25"),
        ({"angle": -25.1234, "sigma_x": 0.012345, "far": 1234.5, "n": 12345}, "angle -25.1, sigma x 0.012, far 1234, n 12345"),
        (
            {"gamma": [0.5, 0.25], "crossing": [], "many": [1.0] * 9, "fill": "grey", "on": True},
            "gamma 0.5 0.25, 9 many, fill grey, on True",
        ),
        ({"beats": [{"shift": 0.1}, {"shift": 0.2}], "inner": {"a": 1}}, "2 beats, inner (a 1)"),
        ({"choice": 0, "name": "brush", "params": {"share": 0.3, "key": 1}}, "brush (share 0.3)"),
        ({"choice": 1, "name": "brush", "params": None}, "nothing"),
        (
            {
                "steps": [
                    {"name": "a", "params": {"x": 1.0}},
                    {"name": "b", "params": None},
                    {"name": "c", "params": {"key": 3}},
                ]
            },
            "a (x 1) > c",
        ),
        ({"steps": [{"name": "a", "params": None}]}, "nothing"),
        ({}, ""),
    ],
)
def test_parameters_are_said_in_a_few_words(params, said):
    assert caption(params) == said


def test_where_all_parameters_are_too_much_the_names_of_the_steps_must_do():
    steps = [{"name": f"step-{i}", "params": dict.fromkeys(("sigma", "angle", "width"), 1.234)} for i in range(4)]
    pair = shown("realworld", steps=steps)

    assert caption_lines(pair, FONT, 330) == ["realworld  step-0 > step-1 > step-2 > step-3"]
    assert len(caption_lines(pair, FONT, 900)) == 2
    assert "sigma 1.23, angle 1.23" in caption_lines(pair, FONT, 900)[0]


VALUES = st.one_of(
    st.floats(allow_nan=False),
    st.integers(),
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=20),
    st.lists(st.floats(-9, 9), max_size=6),
)


@given(
    st.text("abc-", min_size=1, max_size=63),
    st.dictionaries(st.text("xyz_", min_size=1, max_size=30), VALUES, max_size=20),
    st.integers(194, 700),
)
@settings(max_examples=150)
def test_every_caption_keeps_to_its_place_and_nothing_is_lost_unsaid(task, params, width):
    params = {key: value for key, value in params.items() if key != "name"}
    lines = caption_lines(shown(task, **params), FONT, width)

    assert len(lines) <= LINES
    assert all(FONT.getlength(line) <= width for line in lines)
    whole = f"{task}  {caption(params)}".split()
    assert " ".join(lines).split() == whole or any(line.endswith("...") for line in lines)


@pytest.mark.parametrize("task", task_names())
def test_the_pairs_of_every_task_can_be_drawn(shards, task):
    found = preview([draw_of(task, 1, {})], shards, seed=1, count=2, patch=20)
    sheet = pixels_of(contact_sheet(found.pairs))

    assert sheet.shape[2] == 3
    assert all(caption(pair.params["degradation"]) for pair in found.pairs)


def test_pictures_that_cannot_be_used_are_told(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (shard,) = pack(folder, tmp_path / "out").shards
    with Path(shard).open("r+b") as file:
        file.seek(load_index(shard).members[1].offset + 300)
        file.write(bytes(300))

    found = preview([draw_of("denoise", 1, {})], ShardSet.open([shard]), seed=0, count=3, patch=16)
    assert [bad.name for bad in found.bad] == ["1"]
    assert {pair.params["key"] for pair in found.pairs} == {"0", "2"}
