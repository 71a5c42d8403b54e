import math

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ipt_platform.errors import DataError
from ipt_platform.tune.pareto import pareto
from ipt_platform.tune.pareto_figure import FRONT, OTHER, Trial, pareto_figure, spread

TRIALS = [
    Trial(0, 28.0, 2_000, "r 2: ffn"),
    Trial(1, 29.0, 8_000, "r 8: ffn"),
    Trial(2, 28.5, 8_000, "r 8: qkv"),
    Trial(3, 29.5, 32_000, "r 32: ffn", stopped=True),
]


def pixels(png: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture[:, :, ::-1]


def count(picture: np.ndarray, colour: str) -> int:
    return int((np.abs(picture - np.array(to_rgb(colour)) * 255).max(axis=2) < 3).sum())


def test_a_front_by_hand():
    # Index 2 has the parameters of 1 and less dB, 4 equals 1, 3 costs more for nothing.
    assert pareto([(28.0, 10), (29.0, 20), (28.5, 20), (29.0, 30), (29.0, 20)]) == [0, 1, 4]


def test_no_points_have_no_front():
    assert pareto([]) == []


def test_a_point_without_a_number_is_refused():
    with pytest.raises(ValueError, match="point 1 has no PSNR"):
        pareto([(28.0, 1), (math.nan, 1)])


def test_a_hundred_thousand_points_are_no_matter():
    """On a front of n points the quadratic way would compare 5 000 000 000 pairs."""
    assert pareto([(float(index), index) for index in range(100_000)]) == list(range(100_000))


def test_the_same_trials_give_the_same_bytes():
    assert pareto_figure(TRIALS, [0, 1], 1_000_000) == pareto_figure(TRIALS, [0, 1], 1_000_000)


def test_the_picture_does_not_say_which_program_wrote_it():
    assert b"tEXt" not in pareto_figure(TRIALS, [0, 1])


def test_stopped_trials_are_hollow():
    """The same trial once finished and once stopped: filled it has more of its colour."""
    finished = pixels(pareto_figure([Trial(0, 28.0, 10)], []))
    stopped = pixels(pareto_figure([Trial(0, 28.0, 10, stopped=True)], []))

    assert 0 < count(stopped, OTHER) < 0.75 * count(finished, OTHER)
    assert count(stopped, FRONT) == 0


def test_the_front_has_a_colour_of_its_own():
    assert count(pixels(pareto_figure(TRIALS, [0, 1])), FRONT) > count(pixels(pareto_figure(TRIALS, [1])), FRONT) > 0


@pytest.mark.parametrize("parameters", [(0, 50_000), (10, 10), (1_000, 1_001), (3_000, 9_000_000)])
def test_any_range_of_parameters_can_be_drawn(parameters):
    trials = [Trial(index, 28.0, each, "$x_{ \\frac") for index, each in enumerate(parameters)]

    assert pixels(pareto_figure(trials, [0], 26_000_000)).std() > 0


def test_labels_stay_inside_the_picture():
    """A long text, and more of a front than there is room for."""
    trials = [Trial(index, 28.0 + index / 100, 1_000 + index, "m" * 200) for index in range(40)]
    picture = pixels(pareto_figure(trials, range(40)))
    ink = (picture < 200).all(axis=2)

    assert not ink[:, -8:].any()
    # In the right margin there are exactly 16 lines of text, apart from one another.
    text = ink[80:, -450:-200].any(axis=1)
    assert np.count_nonzero(text[1:] & ~text[:-1]) == 16


def test_labels_that_crowd_make_room_around_their_middle():
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])


@pytest.mark.parametrize("trials", [[], [Trial(7, math.inf, 10)]])
def test_what_cannot_be_drawn_is_refused(trials):
    with pytest.raises(DataError, match=r"nothing to draw|trial 7 has a PSNR of inf"):
        pareto_figure(trials, [])
