import math

import cv2
import numpy as np
import pytest
import skimage.data

from ipt_platform.errors import DataError
from ipt_platform.evaluate.triptych import CAPTION_HEIGHT, PANELS, PAPER, SEPARATOR, detailed_region, panels, triptych


def decode(png: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_three_pictures_stand_side_by_side_pixel_for_pixel():
    clean = skimage.data.chelsea()[:150, :200]
    degraded = clean / 255 + 2.0
    restored = 1 - clean.astype(np.float32) / 255

    drawn = decode(triptych(degraded, restored, clean, 20.17, 30.5))

    step = 200 + SEPARATOR
    assert drawn.shape == (CAPTION_HEIGHT + 150, 3 * 200 + 2 * SEPARATOR, 3)
    assert (drawn[CAPTION_HEIGHT:, :200] == 255).all()
    np.testing.assert_array_equal(drawn[CAPTION_HEIGHT:, step : step + 200], 255 - clean)
    np.testing.assert_array_equal(drawn[CAPTION_HEIGHT:, 2 * step :], clean)


def test_captions_differ_with_the_numbers():
    clean = skimage.data.chelsea()[:64, :200]

    better, worse = (decode(triptych(clean, clean, clean, 20, value)) for value in (math.inf, 31.2))

    assert not np.array_equal(better[:CAPTION_HEIGHT], worse[:CAPTION_HEIGHT])
    np.testing.assert_array_equal(better[CAPTION_HEIGHT:], worse[CAPTION_HEIGHT:])


def test_narrow_pictures_still_carry_whole_captions():
    clean = np.zeros((40, 16, 3), np.uint8)

    drawn = decode(triptych(clean, clean, clean, 20, 30))

    assert drawn.shape[1] > 3 * 100


def test_a_large_picture_is_shown_where_its_detail_is():
    picture = np.full((600, 900, 3), 128, np.uint8)
    picture[350:450, 700:800] = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)

    top, left, height, width = detailed_region(picture, 256)

    assert (height, width) == (256, 256)
    assert top <= 350
    assert top + height >= 450
    assert left <= 700
    assert left + width >= 800
    drawn = decode(triptych(picture, picture, picture, 1, 2, max_side=256))
    assert drawn.shape == (CAPTION_HEIGHT + 256, 3 * 256 + 2 * SEPARATOR, 3)


def test_pictures_of_unlike_shapes_are_refused():
    with pytest.raises(DataError, match="one shape"):
        triptych(np.zeros((8, 8, 3)), np.zeros((8, 8, 3)), np.zeros((8, 9, 3), np.uint8), 1, 2)


@pytest.mark.parametrize("width", [1, 16, 56, 57, 58, 99, 130, 170, 180, 300])
@pytest.mark.parametrize("psnr", [9.5, 31.2, 112.0, math.inf])
def test_its_panels_come_back_pixel_for_pixel(width, psnr):
    rng = np.random.default_rng(width)
    pictures = {name: rng.integers(0, 256, (20, width, 3), np.uint8) for name in PANELS}

    found = panels(decode(triptych(*pictures.values(), 20.17, psnr)))

    assert list(found) == list(pictures)
    for name, picture in pictures.items():
        np.testing.assert_array_equal(found[name], picture)


def test_panels_of_pictures_in_the_colour_of_the_ground_come_back():
    picture = np.full((40, 220, 3), PAPER, np.uint8)
    picture[:, 100:110] = 200

    found = panels(decode(triptych(picture, picture, picture, 20, 30)))

    assert all(np.array_equal(each, picture) for each in found.values())


@pytest.mark.parametrize("shape", [(10, 10, 3), (24, 300, 3), (100, 1, 3), (100, 301, 3), (100, 302, 3)])
def test_a_picture_that_is_no_triptych_is_refused(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    with pytest.raises(DataError, match="no triptych"):
        panels(picture)
