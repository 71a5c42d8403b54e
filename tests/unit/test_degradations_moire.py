"""Bands against the formula of their phase."""

import numpy as np
import pytest

from ipt_platform.data.degradations import Frame, build_degradation
from ipt_platform.data.degradations.fractal import lattice, spline, unit_places
from ipt_platform.data.degradations.moire import moire_gain


def family(**changes):
    return build_degradation({"name": "moire", **changes})


def params(**changes):
    return {**family().draw(np.random.default_rng(0)), **changes}


def phase(beat, ripple, frame, height, width):
    """Periods of one beat by the formula in the docstring, pixel by pixel."""
    down, right = np.indices((height, width)).astype(np.float64)
    down += frame.top + 0.5 - frame.height / 2
    right += frame.left + 0.5 - frame.width / 2
    side = max(frame.height, frame.width)
    dd, dr, rr = beat["bend"]
    noise = (
        spline(unit_places(height, frame.height, frame.top)).astype(np.float64)
        @ lattice(beat["key"])
        @ spline(unit_places(width, frame.width, frame.left)).T
    )
    bent = (dd * down**2 + 2 * dr * down * right + rr * right**2) / (2 * side)
    return beat["shift"] + beat["frequency"][0] * down + beat["frequency"][1] * right + bent + ripple * noise


@pytest.mark.parametrize("frame", [Frame(60, 70), Frame(4000, 6000, 3900, 5900), Frame(300, 200, -20, 30)])
def test_the_gain_is_the_formula(frame):
    drawn = params(strength=0.2, second=0.6, colour=0.8, ripple=2.5)

    gain = moire_gain(60, 70, drawn, frame)

    expected = np.ones((60, 70, 3))
    for beat, amplitude in zip(drawn["beats"], (0.2 / 1.6, 0.2 * 0.6 / 1.6), strict=True):
        at = phase(beat, 2.5, frame, 60, 70)
        expected += amplitude * np.cos(2 * np.pi * (at[..., None] + 0.8 / 3 * np.array((-1, 0, 1))))
    np.testing.assert_allclose(gain, expected, atol=1e-5)


def test_plain_bands_have_their_frequency_and_direction():
    beat = {"frequency": [8 / 128, 4 / 128], "bend": [0.0, 0.0, 0.0], "shift": 0.1, "key": 1}
    gain = moire_gain(128, 128, params(strength=0.2, second=0.0, ripple=0.0, beats=[beat, beat]), Frame(128, 128))

    spectrum = np.abs(np.fft.rfft2(gain[..., 1] - 1)) / 128**2
    assert np.unravel_index(spectrum.argmax(), spectrum.shape) == (8, 4)
    assert spectrum.max() == pytest.approx(0.1, rel=1e-3)


def test_full_colour_leaves_grey_as_bright_as_it_was():
    # Three waves a third of a period apart cancel: all of the band is colour.
    gain = moire_gain(50, 60, params(strength=0.3, colour=1.0), Frame(50, 60))

    np.testing.assert_allclose(gain.mean(axis=2), 1, atol=1e-5)
    assert gain.std(axis=2).max() > 0.1


def test_without_colour_all_channels_have_the_same_bands():
    gain = moire_gain(50, 60, params(strength=0.3, colour=0.0), Frame(50, 60))

    np.testing.assert_allclose(gain[..., 0], gain[..., 2], atol=1e-6)
    assert gain[..., 0].std() > 0.05


def test_bands_stay_within_their_strength():
    gains = [moire_gain(64, 64, family(strength=0.2).draw(np.random.default_rng(seed)), Frame(64, 64)) for seed in range(20)]

    assert min(gain.min() for gain in gains) == pytest.approx(0.8, abs=0.02)
    assert max(gain.max() for gain in gains) == pytest.approx(1.2, abs=0.02)


def test_the_bend_is_the_change_of_frequency_over_the_picture():
    for seed in range(20):
        for beat in family(bend=0.3).draw(np.random.default_rng(seed))["beats"]:
            dd, dr, rr = beat["bend"]
            assert np.linalg.norm([[dd, dr], [dr, rr]]) == pytest.approx(0.3)
            assert np.hypot(*beat["frequency"]) <= 0.06


def test_the_picture_follows_the_formula_of_its_parameters():
    clean = np.random.default_rng(0).random((60, 70, 3), dtype=np.float32)

    screen, drawn = family(strength=0.3, contrast=0.8, glare=0.5)(clean, np.random.default_rng(1))

    expected = np.minimum(0.8 * clean * moire_gain(60, 70, drawn, Frame(60, 70)) + 0.2 * 0.5, 1)
    np.testing.assert_allclose(screen, expected, atol=1e-6)


def test_black_and_what_is_whiter_than_white_are_not_clipped():
    clean = np.full((20, 20, 3), 1.2, np.float32)
    clean[:10] = 0

    screen = family().apply(clean, params(strength=0.3, contrast=1.0))

    assert (screen[:10] == 0).all()
    assert screen.max() == np.float32(1.2)
    assert screen[10:].min() < 1
