"""Masks: what is lost shows the fill, what is kept is untouched, and as much is lost as was asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.base import keyed
from ipt_platform.data.degradations.mask import LEVELS, MARKS, strewn

SCRATCHES = {"width": {"min": 1, "max": 3}, "angle": 5, "length": {"min": 10, "max": 60}}
LETTERS = {"marks": "letters", "width": {"min": 6, "max": 24}}

seeds = st.integers(0, 2**32 - 1)


def picture(height, width, seed=0):
    """Values that no constant fill has."""
    return np.random.default_rng(seed).uniform(0.1, 0.4, (height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("shape", [{}, SCRATCHES, LETTERS])
@settings(max_examples=30)
@given(seed=seeds, size=st.tuples(st.integers(1, 90), st.integers(1, 90)), share=st.floats(0, 0.9))
def test_the_share_is_exact_and_only_the_mask_changes(shape, seed, size, share):
    clean = picture(*size, seed)

    degraded, params = build_degradation({"name": "inpaint", "fill": "white", **shape, "share": share})(
        clean, np.random.default_rng(seed)
    )

    lost = (degraded != clean).any(axis=2)
    assert lost.sum() == round(share * size[0] * size[1])
    assert (degraded[lost] == 1).all()
    assert params["share"] == share


@settings(max_examples=40)
@given(seed=seeds, size=st.tuples(st.integers(1, 90), st.integers(1, 90)), share=st.floats(0, 0.45), sides=st.integers(1, 4))
def test_outpainting_keeps_a_box_of_the_drawn_size(seed, size, share, sides):
    clean = picture(*size, seed)
    outpaint = build_degradation({"name": "outpaint", "fill": "grey", "share": share, "sides": sides})

    degraded, params = outpaint(clean, np.random.default_rng(seed))

    lost = (degraded != clean).any(axis=2)
    rows = slice(int(params["top"] * size[0]), size[0] - int(params["bottom"] * size[0]))
    columns = slice(int(params["left"] * size[1]), size[1] - int(params["right"] * size[1]))
    kept = lost[rows, columns]
    assert kept.size > 0
    assert not kept.any()
    assert (~lost).sum() == kept.size
    assert (degraded[lost] == np.float32(128 / 255)).all()
    assert sorted(params[side] for side in ("top", "bottom", "left", "right")) == [0] * (4 - sides) + [share] * sides


def test_every_side_is_lost_as_often_and_shares_are_equal_where_asked():
    outpaint = build_degradation({"name": "outpaint", "sides": 2, "equal": True})
    rng = np.random.default_rng(0)

    drawn = [outpaint.draw(rng) for _ in range(1000)]

    for side in ("top", "bottom", "left", "right"):
        assert abs(np.mean([params[side] > 0 for params in drawn]) - 0.5) < 4 * np.sqrt(0.25 / 1000)
    for params in drawn:
        shares = {params[side] for side in ("top", "bottom", "left", "right")} - {0}
        assert len(shares) == 1


@pytest.mark.parametrize("name", ["inpaint", "outpaint"])
@pytest.mark.parametrize("fill", ["black", "grey", "white", "noise"])
def test_the_fill_is_what_was_asked_for(name, fill):
    clean = picture(64, 64)

    degraded, params = build_degradation({"name": name, "share": 0.3, "fill": fill})(clean, np.random.default_rng(5))

    values = degraded[(degraded != clean).any(axis=2)]
    assert params["fill"] == fill
    if fill == "noise":
        assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / values.size)
        assert abs(values.std() - np.sqrt(1 / 12)) < 0.02
        assert abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.1
    else:
        assert (values == np.float32(LEVELS[fill])).all()
        assert (values * 255 == np.rint(values * 255)).all()


def test_of_several_fills_each_pair_gets_one():
    inpaint = build_degradation({"name": "inpaint", "fill": ["black", "white", "noise"]})
    rng = np.random.default_rng(0)

    assert {inpaint.draw(rng)["fill"] for _ in range(60)} == {"black", "white", "noise"}
    assert inpaint.model_dump(mode="json")["fill"] == ["black", "white", "noise"]
    assert build_degradation("inpaint").model_dump(mode="json")["fill"] == "black"


@pytest.mark.parametrize("fill", [[], ["black", "black"], "red"])
def test_a_wrong_fill_is_refused(fill):
    with pytest.raises(ValidationError, match="black"):
        build_degradation({"name": "inpaint", "fill": fill})


def test_letters_too_small_to_see_are_refused():
    with pytest.raises(ValidationError, match="less than 6 pixels high, found 3"):
        build_degradation({"name": "inpaint", "marks": "letters", "width": {"min": 3, "max": 9}})


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 9, 16, 25])
def test_strokes_are_as_wide_as_asked(width):
    """A straight strip of width w deviates from its middle line by w / sqrt(12)."""
    params = {"width": width, "length": 300, "angle": 0, "vertices": 8}
    found = []
    for key in range(20):
        mark = MARKS["brush"](params, keyed(key))
        canvas = np.zeros((mark.height, mark.width), np.uint8)
        mark.paint(canvas, 0, 0)
        found.append(np.sqrt(12 * np.linalg.eigvalsh(np.cov(np.nonzero(canvas)))[0]))

    assert abs(np.mean(found) - width) < 1.3


@pytest.mark.parametrize("kind", ["brush", "letters"])
@settings(max_examples=60)
@given(
    key=seeds,
    width=st.floats(6, 60),
    length=st.floats(4, 200),
    angle=st.floats(0, 135),
    vertices=st.integers(1, 20),
)
def test_a_mark_touches_nothing_beyond_what_it_says(kind, key, width, length, angle, vertices):
    params = {"width": width, "length": length, "angle": angle, "vertices": vertices}

    mark = MARKS[kind](params, keyed(key))

    around = np.zeros((mark.height + 80, mark.width + 80), np.uint8)
    mark.paint(around, -40, -40)
    inside = around[40:-40, 40:-40]
    assert inside.any()
    assert inside.sum() == around.sum()


@pytest.mark.parametrize("kind", ["brush", "letters"])
def test_every_part_of_a_picture_is_lost_as_often(kind):
    """As far as marks are small beside it."""
    params = {"width": 6, "length": 6, "angle": 72, "vertices": 3, "share": 0.3}
    lost = np.mean([strewn(90, 90, params, MARKS[kind], keyed(key)) for key in range(150)], axis=0)

    border = np.ones((90, 90), bool)
    border[6:-6, 6:-6] = False
    assert abs(lost[border].mean() / lost[~border].mean() - 1) < 0.1


def test_masks_do_not_depend_on_the_picture():
    inpaint = build_degradation({"name": "inpaint", "fill": "white"})
    params = inpaint.draw(np.random.default_rng(0))

    one, other = (inpaint.apply(picture(50, 60, seed), params) == 1 for seed in (1, 2))

    np.testing.assert_array_equal(one, other)
