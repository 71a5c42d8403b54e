"""Camera noise: its processing against closed forms and its own inverse, its noise in the linear values where it arises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.camera import Sensor, mosaic_noise, process, unprocess

SIZE = 200


def camera(**fields):
    return build_degradation({"name": "camera-noise", "mosaic": 0, **fields})


def drawn(seed=0, **fields):
    return camera(**fields).draw(np.random.default_rng(seed))


def constant(*colour):
    return np.tile(np.array(colour, np.float32), (SIZE, SIZE, 1))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0, 1), high=st.floats(0, 1))
def test_process_undoes_unprocess_highlights_and_all(seed, low, high):
    rng = np.random.default_rng(seed)
    picture = (low + (high - low) * rng.random((20, 20, 3))).astype(np.float32)
    sensor = Sensor.of(camera().draw(rng))

    np.testing.assert_allclose(process(*unprocess(picture, sensor), sensor), picture, atol=2e-5)


@pytest.mark.parametrize(("grey", "tone"), [(0.0, 0.0), (0.15625, 0.25), (0.5, 0.5), (0.84375, 0.75)])
def test_grey_becomes_gain_times_light_by_the_inverse_of_smoothstep_and_gamma(grey, tone):
    params = drawn()

    raw, gains = unprocess(constant(grey, grey, grey), Sensor.of(params))

    # 3 t^2 - 2 t^3 at t = 1/4, 1/2, 3/4 is 5/32, 1/2, 27/32; a grey keeps its colour in every camera.
    own = params["exposure"] / np.array((params["red"], 1, params["blue"]))
    np.testing.assert_allclose(gains[0, 0], own, rtol=1e-6)
    np.testing.assert_allclose(raw[0, 0], own * tone**2.2, rtol=1e-5, atol=1e-9)


def test_colours_are_those_of_the_drawn_mixture_of_cameras():
    params = {**drawn(), "camera": [0, 0, 1, 0]}

    sensor = Sensor.of(params)

    # The first row of the third camera by hand: (0.838, -0.263, -0.0639) times the matrix from sRGB to XYZ.
    row = np.array((0.288470, 0.103948, 0.071500))
    np.testing.assert_allclose(sensor.to_camera[0], row / row.sum(), atol=1e-5)
    np.testing.assert_allclose(sensor.to_camera.sum(axis=1), 1)


def test_white_balance_is_undone_less_and_less_towards_white():
    sensor = Sensor.of(drawn())

    gains = [unprocess(constant(v, v, v), sensor)[1][0, 0, 0] for v in (0.9, 0.97, 0.99, 1.0)]

    assert gains == sorted(gains)
    assert gains[0] == np.float32(sensor.gains[0])
    assert gains[-1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("shot", "read"), [(1e-4, 1), (1e-3, 1), (1e-3, 100)])
@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.5, 0.6, 0.4), (0.8, 0.7, 0.6)])
def test_variance_of_raw_values_is_shot_times_light_plus_read(shot, read, colour):
    clean, degradation = constant(*colour), camera(shot=shot, read=read)
    noisy, params = degradation(clean, np.random.default_rng(1))
    sensor = Sensor.of(params)

    raw, _ = unprocess(clean, sensor)
    noise = (unprocess(noisy, sensor)[0] - raw).astype(np.float64)

    n = SIZE * SIZE
    variance = params["shot"] * raw[0, 0] + params["read"]
    assert (np.abs(noise.mean(axis=(0, 1))) < 4 * np.sqrt(variance / n)).all()
    np.testing.assert_allclose(noise.var(axis=(0, 1)), variance, rtol=4 * np.sqrt(2 / n) + 1e-3)
    assert np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() < 4 / np.sqrt(n) + 1e-3


def test_read_noise_follows_shot_noise_along_the_measured_line():
    degradation = camera(read=3)
    rng = np.random.default_rng(0)
    pairs = [degradation.draw(rng) for _ in range(4000)]
    shot, read = (np.log([p[field] for p in pairs]) for field in ("shot", "read"))

    (slope, offset), residual = np.polyfit(shot, read, 1), read - (2.18 * shot + 1.20 + np.log(3))

    # Standard error of a slope: scatter over sqrt(n) and the spread of ln shot, that of a uniform over ln 120.
    error = 0.26 / np.sqrt(4000) / (np.log(120) / np.sqrt(12))
    assert abs(slope - 2.18) < 4 * error
    assert abs(offset - 1.20 - np.log(3)) < 4 * error * 8
    assert abs(residual.mean()) < 4 * 0.26 / np.sqrt(4000)
    assert abs(residual.std() - 0.26) < 4 * 0.26 / np.sqrt(8000)


def test_mosaic_spreads_each_value_over_the_places_of_its_colour():
    raw = constant(0.2, 0.4, 0.1)
    shot, read = 1e-3, 1e-5

    noise = mosaic_noise(raw, shot, read, np.random.default_rng(0)).astype(np.float64)

    variance = shot * raw[0, 0].astype(np.float64) + read
    # Its own place keeps a value; between two it is their mean, of half the variance; between four a quarter.
    places = {
        0: {(0, 0): 1, (0, 1): 1 / 2, (1, 0): 1 / 2, (1, 1): 1 / 4},
        1: {(0, 0): 1 / 4, (0, 1): 1, (1, 0): 1, (1, 1): 1 / 4},
        2: {(0, 0): 1 / 4, (0, 1): 1 / 2, (1, 0): 1 / 2, (1, 1): 1},
    }
    for channel, shares in places.items():
        for (row, column), share in shares.items():
            values = noise[row::2, column::2, channel]
            # Neighbouring means share values, so there are fewer independent ones than places: at least a quarter.
            np.testing.assert_allclose(values.var(), share * variance[channel], rtol=5 * np.sqrt(8 / values.size))
    red = noise[..., 0]
    np.testing.assert_allclose(red[:, 1:-1:2], (red[:, :-2:2] + red[:, 2::2]) / 2, atol=1e-6)
    np.testing.assert_allclose(red[1:-1:2], (red[:-2:2] + red[2::2]) / 2, atol=1e-6)


def test_a_share_of_pairs_is_mosaicked():
    degradation = camera(mosaic=0.25)
    rng = np.random.default_rng(0)

    mosaicked = sum(degradation.draw(rng)["mosaic"] for _ in range(2000))

    assert abs(mosaicked - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)


def test_a_full_sensor_holds_no_more_light():
    params = {**drawn(shot=1e-2), "camera": [0, 0, 1, 0]}

    noisy = camera().apply(constant(1, 1, 1), params)

    # White fills all three channels. This camera mixes colours without negative shares, so a pixel is white again only
    # where none of the three fell: one of eight.
    white = (noisy.min(axis=2) > 1 - 2e-7).mean()
    assert abs(white - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8) / SIZE


def test_white_hides_the_noise_and_pictures_stay_in_range():
    degradation = camera(shot=1e-2)

    noisy = {v: degradation(constant(v, v, v), np.random.default_rng(0))[0].astype(np.float64) for v in (0.0, 0.2, 0.5, 1.0)}

    assert noisy[1.0].std() < 0.1 * noisy[0.5].std()
    assert all(picture.min() >= 0 and picture.max() <= 1 for picture in noisy.values())


def test_faint_noise_is_a_faint_change():
    clean = np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)

    noisy, _ = camera(shot=1e-6)(clean, np.random.default_rng(0))

    assert 0 < np.abs(noisy - clean).max() < 0.02
