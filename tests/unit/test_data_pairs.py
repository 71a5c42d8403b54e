"""One crop: cut where its parameters say, degraded with what lies round it, never more and never less."""

from typing import ClassVar

import cv2
import numpy as np
import pytest

from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.degradations.frame import wanted
from ipt_platform.data.pairs import TaskDraw, make_pair, quantize, turn, turned_window, window
from ipt_platform.data.rng import keyed_digest, keyed_rng


class Nothing(Degradation):
    name: ClassVar[str] = "nothing"

    def draw(self, rng):
        return {}

    def apply(self, clean, params, frame=None):
        return clean.copy()


class Brighter(Nothing):
    def apply(self, clean, params, frame=None):
        return clean * np.float32(1.7) - np.float32(0.2)


class Where(Nothing):
    """Writes each pixel's row and column in the whole picture over it."""

    @property
    def margin(self):
        return 3

    def apply(self, clean, params, frame=None):
        rows, columns = np.mgrid[: clean.shape[0], : clean.shape[1]] + np.array([frame.top, frame.left]).reshape(2, 1, 1)
        places = np.dstack([rows, columns, np.full_like(rows, frame.height * 1000 + frame.width)])
        return places[wanted(clean, frame)].astype(np.float32)


class Box(Nothing):
    """Mean over 7 x 7 pixels; beyond the array it knows nothing but a reflection."""

    @property
    def margin(self):
        return 3

    def apply(self, clean, params, frame=None):
        return cv2.blur(clean, (7, 7), borderType=cv2.BORDER_REFLECT_101)[wanted(clean, frame)]


def picture(height=50, width=70):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels.setflags(write=False)
    return pixels


def cut(whole, pair, patch):
    top, left = pair.params["crop"]
    return turn(whole, *pair.params["turn"])[top : top + patch, left : left + patch]


def make(degradation, i=0, patch=16, pixels=None, **draw):
    task = TaskDraw("task", 1, degradation, **draw)
    return make_pair(picture() if pixels is None else pixels, patch, task, keyed_rng(0, 0, i, "task"))


@pytest.mark.parametrize("i", range(20))
def test_the_crop_lies_where_its_parameters_say(i):
    pair = make(Nothing(), i)

    assert pair.clean.dtype == np.uint8
    assert pair.degraded.dtype == np.float32
    assert np.array_equal(pair.clean, cut(picture(), pair, 16))
    assert np.array_equal(pair.degraded, pair.clean / np.float32(255))


@pytest.mark.parametrize("i", range(40))
def test_a_crop_is_degraded_as_it_would_be_within_the_whole_picture(i):
    pair = make(Box(), i)
    whole = cv2.blur(picture().astype(np.float32) / 255, (7, 7), borderType=cv2.BORDER_REFLECT_101)

    assert np.allclose(pair.degraded, cut(whole, pair, 16), atol=1e-6)


@pytest.mark.parametrize("i", range(20))
def test_the_degradation_is_told_where_the_crop_lies(i):
    pair = make(Where(), i)
    top, left = pair.params["crop"]
    transpose = pair.params["turn"][0]

    assert pair.degraded[0, 0].tolist() == [top, left, 70050 if transpose else 50070]
    assert pair.degraded[15, 15, :2].tolist() == [top + 15, left + 15]


def test_places_and_turns_are_uniform():
    pairs = [make(Nothing(), i, pixels=picture(20, 19)) for i in range(3000)]
    turns = np.array([pair.params["turn"] for pair in pairs])
    across = [pair.params["crop"] for pair in pairs if not pair.params["turn"][0]]
    counts = np.unique(across, axis=0, return_counts=True)[1]

    assert np.all(np.abs(turns.mean(axis=0) - 0.5) < 0.04)
    assert len(counts) == 5 * 4
    assert ((counts - len(across) / 20) ** 2 / (len(across) / 20)).sum() < 43.8  # 0.999 quantile, 19 degrees of freedom


def test_noise_is_kept_beyond_black_and_white_unless_the_task_quantizes():
    loose, tight = make(Brighter()), make(Brighter(), quantize=True)

    assert loose.degraded.min() < 0
    assert loose.degraded.max() > 1
    assert np.array_equal(tight.degraded, quantize(loose.degraded))
    assert np.array_equal(np.rint(tight.degraded * 255), np.clip(np.rint(loose.degraded * 255), 0, 255))
    assert np.array_equal(quantize(np.arange(256, dtype=np.float32) / 255), np.arange(256, dtype=np.float32) / 255)


@pytest.mark.parametrize(("height", "width"), [(10, 70), (50, 3), (1, 1), (2, 15), (16, 16), (17, 16)])
@pytest.mark.parametrize("degradation", [Nothing(), Box()])
def test_a_picture_smaller_than_the_crop_is_extended_by_reflection(height, width, degradation):
    small = picture(height, width)
    pair = make(degradation, pixels=small)
    rows, columns = max(0, 16 - height), max(0, 16 - width)
    padding = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    extended = np.pad(small, padding, mode="reflect")

    assert pair.degraded.shape == pair.clean.shape == (16, 16, 3)
    assert np.array_equal(pair.clean, cut(extended, pair, 16))


@pytest.mark.parametrize("place", [(-5, -2), (0, 0), (44, 60), (-3, 64), (20, 30)])
def test_a_window_beyond_the_picture_shows_its_reflection(place):
    top, left = place
    padded = np.pad(picture(), ((20, 20), (20, 20), (0, 0)), mode="reflect")

    assert np.array_equal(window(picture(), top, left, 13), padded[top + 20 :, left + 20 :][:13, :13])


@pytest.mark.parametrize("how", [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)])
def test_to_cut_and_turn_is_to_turn_and_cut(how):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    turned = turn(pixels, *how)
    for side in (1, 4, 9, 16):
        for top in range(-3, turned.shape[0] - side + 4):
            for left in range(-3, turned.shape[1] - side + 4):
                found = turned_window(pixels, how, top, left, side)

                assert np.array_equal(found, window(turned, top, left, side))
                assert found.flags.c_contiguous
                assert found.dtype == np.uint8


def test_a_generator_is_philox_under_its_digest():
    key = int.from_bytes(keyed_digest(16, 1, 2, 3, 4, "denoise"), "little")

    expected = np.random.Generator(np.random.Philox(key=key)).random(100)

    assert np.array_equal(keyed_rng(1, 2, 3, "denoise", 4).random(100), expected)


def test_generators_depend_on_every_part_of_their_key():
    keys = [(0, 0, 0, "a", 0), (1, 0, 0, "a", 0), (0, 1, 0, "a", 0), (0, 0, 1, "a", 0), (0, 0, 0, "b", 0), (0, 0, 0, "a", 1)]
    keys += [(0, 0, 0, "a', 0", 0), (0, 0, 0, "", 0), (2**70, 0, 0, "a", 0)]
    drawn = [keyed_rng(*key).integers(2**63) for key in keys]

    assert len(set(drawn)) == len(keys)
    assert drawn == [keyed_rng(*key).integers(2**63) for key in keys]


def test_generators_of_neighbouring_samples_are_independent():
    drawn = np.array([keyed_rng(0, 0, i, "denoise").random(4) for i in range(4000)])
    correlation = np.corrcoef(np.hstack([drawn[:-1], drawn[1:]]).T)

    assert np.abs(correlation - np.eye(8)).max() < 0.07
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 0.02
