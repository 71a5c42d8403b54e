"""Drops against what they are made of: a mask, a picture turned and scaled, a rim; and nothing elsewhere."""

import cv2
import numpy as np
import pytest

from ipt_platform.data.degradations import Frame, build_degradation, raindrop
from ipt_platform.data.degradations.raindrop import drop_mask


def family(**changes):
    return build_degradation({"name": "raindrop", **changes})


def params(**changes):
    return {**family().draw(np.random.default_rng(0)), **changes}


def flat(value=0.4, height=150, width=160):
    return np.full((height, width, 3), value, np.float32)


def one_drop_places(mask):
    """The patches of full cover, as masks: one for each place where drops stand."""
    count, labels = cv2.connectedComponents((mask == 1).astype(np.uint8))
    return [labels == label for label in range(1, count) if (labels == label).sum() > 60]


def test_nothing_changes_where_there_is_no_drop():
    clean = np.random.default_rng(0).random((120, 130, 3), dtype=np.float32)

    wet, drawn = family(density=0.001)(clean, np.random.default_rng(1))

    mask = drop_mask(120, 130, drawn, Frame(120, 130))
    assert 0.02 < (mask > 0).mean() < 0.5
    np.testing.assert_array_equal(wet[mask == 0], clean[mask == 0])
    assert np.abs(wet - clean)[mask > 0.9].mean() > 0.05


def test_the_mask_is_a_share_that_reaches_one():
    mask = drop_mask(200, 200, params(density=0.001, softness=1.0), Frame(200, 200))

    assert mask.min() == 0
    assert mask.max() == 1


def test_a_flat_picture_shows_drops_by_their_rims_alone():
    drawn = params(density=0.0006, size=10.0, softness=1.0, dark=0.6, bright=0.4)
    wet = family().apply(flat(), drawn)

    changed = np.abs(wet - 0.4).max(axis=2) > 1e-6
    inside = (drop_mask(150, 160, drawn, Frame(150, 160)) > 0).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert changed.any()
    # The rim of the largest drop, the half of the edge that lies outside the outline, and a pixel to its middle.
    assert depth[changed].max() < raindrop._RIM * 1.5 * 10 + 0.5 + 1
    assert depth.max() > raindrop._RIM * 1.5 * 10 + 2
    without = family().apply(flat(), {**drawn, "dark": 0.0, "bright": 0.0})
    np.testing.assert_allclose(without, 0.4, atol=1e-6)


def test_the_rim_is_dark_on_one_side_and_bright_on_the_other():
    drawn = params(density=0.0004, size=10.0, softness=1.0, light=0.0)
    dark = family().apply(flat(), {**drawn, "dark": 0.8, "bright": 0.0})[..., 0] - 0.4
    bright = family().apply(flat(), {**drawn, "dark": 0.0, "bright": 0.8})[..., 0] - 0.4

    assert dark.max() <= 1e-6
    assert bright.min() >= -1e-6
    # No rim is darker or brighter than its share: 0.4 (1 - 0.8), 0.4 + 0.6 0.8.
    assert -0.32 - 1e-6 <= dark.min() < -0.2
    assert 0.2 < bright.max() <= 0.48 + 1e-6
    # Light from below: in each column of a drop the dark rim lies above the bright one.
    height = np.arange(150)[:, None]
    assert (height * dark).sum() / dark.sum() != pytest.approx((height * bright).sum() / bright.sum(), abs=0.5)
    for drop in one_drop_places(drop_mask(150, 160, drawn, Frame(150, 160))):
        rows = np.nonzero(drop)[0]
        assert dark[drop][rows < rows.mean()].sum() < dark[drop][rows > rows.mean()].sum() + 1e-6


@pytest.mark.parametrize("zoom", [0.7, 1.0, 2.0])
def test_a_drop_shows_the_picture_upside_down_and_scaled(zoom):
    rows, columns = np.indices((400, 410))
    ramp = (0.1 + 0.001 * rows + 0.0005 * columns).astype(np.float32)
    drawn = params(density=0.0001, size=12.0, softness=1.0, zoom=zoom, dark=0.0, bright=0.0, blur=2.0)

    wet = family().apply(np.repeat(ramp[..., None], 3, axis=2), drawn)[..., 1].astype(np.float64)

    # Away from the border, whose reflection is no ramp. Where drops have merged there are two slopes side by side.
    slopes = []
    for drop in one_drop_places(drop_mask(400, 410, drawn, Frame(400, 410))):
        at = np.argwhere(drop)
        if at.min() < 40 or (np.array((400, 410)) - at).min() < 40:
            continue
        system = np.column_stack((at, np.ones(len(at))))
        slope, residual, *_ = np.linalg.lstsq(system, wet[drop], rcond=None)
        if residual < 1e-5:
            slopes.append(slope[:2])
    assert len(slopes) >= 4
    # A pixel is looked up to 1/32; that much may be wrong at either end of a drop.
    np.testing.assert_allclose(slopes, np.tile((-0.001 / zoom, -0.0005 / zoom), (len(slopes), 1)), rtol=0.03)


@pytest.mark.parametrize("blur", [1, 3])
def test_a_drop_is_as_blurred_as_it_is_told(blur):
    clean = np.random.default_rng(0).random((160, 160, 3), dtype=np.float32)
    drawn = params(density=0.001, size=12.0, zoom=1.0, dark=0.0, bright=0.0, blur=float(blur))

    wet = family().apply(clean, drawn)

    # Two boxes of n make a triangle, whose squares sum to (2n^2 + 1) / 3n^3 in each direction; white noise keeps the root
    # of that, twice. Looking up between pixels takes a little more.
    n = 2 * blur + 1
    kept = wet[drop_mask(160, 160, drawn, Frame(160, 160)) == 1].std() * np.sqrt(12)
    assert 0.85 < kept / ((2 * n**2 + 1) / (3 * n**3)) < 1.05


def test_a_drop_glows_by_its_share_of_the_light_from_all_around():
    drawn = params(density=0.0006, size=10.0, dark=0.0, bright=0.0)

    wet = family().apply(flat(), {**drawn, "glow": 0.3, "sky": 0.9})

    mask = drop_mask(150, 160, drawn, Frame(150, 160))[..., None]
    assert mask.max() == 1
    np.testing.assert_allclose(wet, 0.4 + mask * 0.3 * (0.9 - flat()), atol=1e-6)


def test_drops_grow_in_number_with_density():
    sparse, dense = (
        np.mean(
            [np.log1p(-(drop_mask(200, 200, params(density=d, key=key), Frame(200, 200)) > 0.5).mean()) for key in range(12)]
        )
        for d in (0.0003, 0.0012)
    )

    # Drops overlap, so it is the logarithm of the dry share that adds up.
    assert dense / sparse == pytest.approx(4, rel=0.2)


def test_pictures_stay_in_range():
    clean = np.random.default_rng(0).integers(0, 2, (120, 120, 3)).astype(np.float32)
    drawn = params(density=0.005, dark=1.0, bright=1.0)

    wet = family().apply(clean, drawn)

    assert wet.min() >= 0
    assert wet.max() <= 1


def test_outlines_stay_in_the_boxes_they_are_drawn_in():
    rng = np.random.default_rng(0)
    count = 150
    drops = raindrop._Drops(
        top=np.full(count, 40.0),
        left=np.full(count, 40.0),
        radius=np.full(count, 12.0),
        stretch=np.ones(count),
        lobes=rng.random((count, 2, 3)),
    )

    index, _, distance = raindrop._outline(drops, np.arange(count), 60.0, 81, 81)

    rows, columns = np.divmod(index, 81)
    far = np.maximum(abs(rows - 40), abs(columns - 40))
    assert distance[far > raindrop._OUTLINE * 12].min() > 0
    assert (distance[far < 0.7 * 12 / np.sqrt(2)] < 0).all()


def test_outlining_in_small_parts_outlines_the_same_drops(monkeypatch):
    drawn = params(density=0.003)
    at_once = drop_mask(90, 100, drawn, Frame(90, 100))
    monkeypatch.setattr(raindrop, "_PIXELS_AT_ONCE", 700)

    np.testing.assert_array_equal(drop_mask(90, 100, drawn, Frame(90, 100)), at_once)
