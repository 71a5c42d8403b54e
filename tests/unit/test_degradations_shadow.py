"""Shadows against their formula, and penumbras against the widths that they are given."""

import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation, shadow
from ipt_platform.data.degradations.shadow import shadow_mask


def family(**changes):
    return build_degradation({"name": "shadow", **changes})


def params(**changes):
    return {**family().draw(np.random.default_rng(0)), **changes}


def test_every_channel_of_a_flat_picture_tells_the_same_mask():
    flat = np.full((90, 80, 3), 0.8, np.float32)

    shaded, drawn = family(gamma=0.5, tint=0.1)(flat, np.random.default_rng(3))

    assert drawn["gamma"] == pytest.approx([0.45, 0.5, 0.55])
    # y = v (1 - M (1 - gamma)), solved for M.
    masks = (1 - shaded / 0.8) / (1 - np.array(drawn["gamma"]))
    mask = shadow_mask(90, 80, drawn)
    assert mask.max() > 0.9
    for channel in range(3):
        np.testing.assert_allclose(masks[..., channel], mask, atol=1e-5)


def test_any_picture_is_multiplied_and_left_alone_in_the_light():
    clean = np.random.default_rng(0).random((90, 80, 3), dtype=np.float32)
    drawn = params(size=0.3, softness=2.0, growth=0.0)

    shaded = family().apply(clean, drawn)

    mask = shadow_mask(90, 80, drawn)[..., None].astype(np.float64)
    assert (mask == 0).any()
    np.testing.assert_allclose(shaded, clean * (1 - mask * (1 - np.array(drawn["gamma"]))), atol=1e-6)
    lit = mask[..., 0] == 0
    np.testing.assert_array_equal(shaded[lit], clean[lit])


def test_shade_is_bluish_and_never_brighter():
    rng = np.random.default_rng(0)
    for _ in range(200):
        red, green, blue = family(gamma={"min": 0, "max": 1}, tint={"min": 0, "max": 0.5}).draw(rng)["gamma"]
        assert 0 <= red <= green <= blue <= 1


@pytest.mark.parametrize("straight", [0.0, 1.0])
def test_the_mask_is_a_share_and_holds_full_shade_and_light(straight):
    masks = [
        shadow_mask(100, 120, params(straight=straight, size=0.45, softness=2.0, growth=4.0, key=key)) for key in range(30)
    ]

    assert min(mask.min() for mask in masks) == 0
    assert max(mask.max() for mask in masks) == pytest.approx(1, abs=1e-6)
    cover = [mask.mean() for mask in masks]
    assert 0.1 < np.median(cover) < 0.6
    assert min(cover) > 0.005


@pytest.mark.parametrize("width", [1.0, 2.5, 4.0, 12.0, 40.0])
def test_a_penumbra_is_as_wide_as_it_is_told(width):
    step = np.zeros((9, 400), np.float32)
    step[:, 200:] = 1

    edge = shadow._soften(step, width)[4].astype(np.float64)

    quarter, three_quarters = np.interp((0.25, 0.75), edge, np.arange(400))
    assert three_quarters - quarter == pytest.approx(width, rel=0.12)
    assert edge[199] + edge[200] == pytest.approx(1, abs=1e-5)


def test_the_penumbra_grows_away_from_what_casts_it():
    steepest = np.zeros(2)
    for key in range(40):
        # away 0 is to the right.
        mask = shadow_mask(120, 120, params(straight=1.0, softness=1.5, growth=30.0, away=0.0, count=2, key=key))
        slope = np.abs(np.diff(mask.astype(np.float64), axis=0)).max(axis=0)
        steepest += slope[:30].max(), slope[-30:].max()

    assert steepest[0] > 2 * steepest[1]


def test_a_shadow_is_laid_out_over_the_array_whatever_its_size():
    small = shadow_mask(100, 120, params(softness=3.0, growth=6.0, key=4))
    large = shadow_mask(300, 360, params(softness=9.0, growth=18.0, key=4))

    shrunk = large.reshape(100, 3, 120, 3).mean(axis=(1, 3))
    assert small.max() > 0.5
    assert np.abs(shrunk - small).mean() < 0.01


def test_more_shadows_shade_more():
    cover = [
        np.mean([(shadow_mask(80, 80, params(count=count, size=0.4, key=key)) > 0.5).mean() for key in range(40)])
        for count in (1, 3)
    ]

    assert cover[1] > 1.6 * cover[0]


def test_outlines_are_polygons_or_smooth():
    rng = np.random.default_rng(0)
    corners = {len(shadow._outline(1.0, rng)) for _ in range(200)}
    blobs = [shadow._outline(0.0, rng) for _ in range(50)]

    assert corners == {3, 4, 5, 6, 7}
    for blob in blobs:
        sides = np.diff(np.vstack((blob, blob[:2])), axis=0)
        turns = np.diff(np.unwrap(np.arctan2(sides[:, 1], sides[:, 0])))
        # No corner as those of a polygon, on average: a full turn in 48 parts, and some bays.
        assert np.abs(turns).mean() < 0.5
