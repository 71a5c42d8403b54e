"""Rain against what its parameters promise: number, direction, length, width and light of the streaks."""

import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation, rain, streaks
from ipt_platform.data.degradations.rain import rain_streaks
from ipt_platform.data.degradations.streaks import Streaks, draw_streaks


def params(**changes):
    family = build_degradation({"name": "rain"})
    return {**family.draw(np.random.default_rng(0)), **changes}


def share_of_power(field, angle):
    """Share of a field's power within 4 degrees of the direction in the spectrum that streaks at `angle` have."""
    power = np.abs(np.fft.fft2(field - field.mean())) ** 2
    down, right = np.fft.fftfreq(len(field))[:, None], np.fft.fftfreq(field.shape[1])[None, :]
    # Streaks that fall along (cos a, sin a) change across it, along (-sin a, cos a).
    bearing = np.rad2deg(np.arctan2(-down, right))
    apart = np.abs((bearing - angle + 90) % 180 - 90)
    return power[apart < 4].sum() / power.sum()


def test_light_grows_with_density():
    light = [
        np.mean([rain_streaks(300, 300, params(density=density, opacity=0.3, key=key)).mean() for key in range(8)])
        for density in (0.002, 0.004, 0.008)
    ]

    assert light[1] / light[0] == pytest.approx(2, rel=0.2)
    assert light[2] / light[0] == pytest.approx(4, rel=0.2)


def test_light_is_proportional_to_opacity():
    faint = rain_streaks(100, 100, params(opacity=0.2))
    strong = rain_streaks(100, 100, params(opacity=0.6))

    np.testing.assert_allclose(strong, 3 * faint, atol=1e-6)


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0])
def test_a_lone_streak_is_no_brighter_than_its_opacity_at_any_width(width):
    # So few streaks that they seldom cross: the brightest point is one streak's crest.
    drawn = params(density=0.0002, opacity=0.5, width=width, length=40.0, angle=0.0)
    streaks = np.stack([rain_streaks(400, 400, {**drawn, "key": key}) for key in range(16)])

    assert 0.35 < np.quantile(streaks[streaks > 0.01], 0.9995) < 0.55


def test_the_light_model_adds_the_same_to_all_channels_and_clips_at_white():
    clean = np.random.default_rng(0).random((80, 90, 3), dtype=np.float32)
    family = build_degradation({"name": "rain", "density": 0.02})

    rainy, drawn = family(clean, np.random.default_rng(1))

    expected = np.minimum(clean + rain_streaks(80, 90, drawn)[..., None], 1)
    np.testing.assert_allclose(rainy, expected, atol=1e-6)


def test_the_heavy_model_mixes_in_airlight():
    clean = np.random.default_rng(0).random((80, 90, 3), dtype=np.float32)
    family = build_degradation({"name": "rain", "veil": 0.4, "airlight": 0.8})

    rainy, drawn = family(clean, np.random.default_rng(1))

    expected = np.minimum(0.6 * (clean + rain_streaks(80, 90, drawn)[..., None]) + 0.4 * 0.8, 1)
    np.testing.assert_allclose(rainy, expected, atol=1e-6)


def test_rain_falls_evenly_up_to_each_border():
    streaks = np.mean([rain_streaks(96, 96, params(key=key, density=0.02, angle=5.0)) for key in range(60)], axis=0)

    inside = streaks[24:72, 24:72].mean()
    for border in (streaks[:6], streaks[-6:], streaks[:, :6], streaks[:, -6:]):
        assert border.mean() == pytest.approx(inside, rel=0.08)


def test_drawing_in_small_parts_draws_the_same_rain(monkeypatch):
    drawn = params(density=0.02)
    at_once = rain_streaks(60, 70, drawn)
    monkeypatch.setattr(streaks, "_LINES_AT_ONCE", 500)

    np.testing.assert_allclose(rain_streaks(60, 70, drawn), at_once, atol=1e-6)


def test_all_light_adds_up_to_what_the_parameters_say():
    drawn = params(density=0.02, opacity=0.6, length=30.0, width=2.0, angle=20.0)

    mean = np.mean([rain_streaks(500, 500, {**drawn, "key": key}).mean(dtype=np.float64) for key in range(8)])

    # Light of one streak: crest x sqrt(2 pi) sigma x length. Crests average 0.12 + 0.88/3 of the opacity, lengths their
    # typical one; tips that rise over a quarter leave 3/4, a trail that loses 35 % on average from tip to tip leaves 0.825.
    expected = 0.0
    for layer in rain._LAYERS:
        sigma = np.sqrt(max(0.35**2, (2.0 * layer.width / 2.355) ** 2 - 1 / 6) + np.cos(np.deg2rad(20)) ** 2 / 6)
        crest = 0.6 * layer.opacity * (0.12 + 0.88 / 3)
        expected += 0.02 * layer.share * crest * np.sqrt(2 * np.pi) * sigma * 30 * layer.length * 0.75 * 0.825
    assert mean == pytest.approx(expected, rel=0.04)


def test_shares_of_the_layers_are_all_of_the_density():
    assert sum(layer.share for layer in rain._LAYERS) == pytest.approx(1)


def test_dense_rain_falls_in_each_of_its_directions():
    crossed = rain_streaks(400, 400, params(density=0.02, angle=-30.0, crossing=[30.0]))
    alone = rain_streaks(400, 400, params(density=0.02, angle=-30.0, crossing=[]))

    between = share_of_power(crossed, 0.0)
    assert share_of_power(crossed, -30.0) > 4 * between
    assert share_of_power(crossed, 30.0) > 4 * between
    assert share_of_power(alone, -30.0) > 1.5 * share_of_power(crossed, -30.0)
    assert share_of_power(alone, 30.0) < 0.25 * share_of_power(crossed, 30.0)


def test_directions_share_the_density():
    light = [
        np.mean(
            [rain_streaks(300, 300, params(density=0.01, angle=0.0, crossing=crossing, key=key)).mean() for key in range(8)]
        )
        for crossing in ([], [5.0, -5.0])
    ]

    assert light[1] == pytest.approx(light[0], rel=0.1)


def test_the_other_directions_lie_within_the_spread():
    family = build_degradation({"name": "rain", "directions": 4, "spread": 25, "angle": 70})
    rng = np.random.default_rng(0)

    drawn = [family.draw(rng)["crossing"] for _ in range(100)]

    assert {len(crossing) for crossing in drawn} == {3}
    assert min(min(crossing) for crossing in drawn) < 50
    assert all(45 <= angle <= 80 for crossing in drawn for angle in crossing)


@pytest.mark.parametrize("angle", [0.0, 25.0, 44.0, -44.0])
def test_rain_that_falls_across_is_rain_that_falls_down_seen_sideways(angle):
    across = np.copysign(90, angle) - angle

    np.testing.assert_allclose(
        rain_streaks(60, 90, params(angle=float(across), density=0.01)),
        rain_streaks(90, 60, params(angle=angle, density=0.01)).T,
        atol=1e-6,
    )


def test_a_streak_is_as_long_as_its_rows_say_and_moves_by_fractions_of_a_pixel():
    canvas = draw_streaks(one_streak(row=30.25, column=20.5, length=20.0, degrees=30.0), 1, 60, 60)[0].astype(np.float64)

    weight, rows, columns = canvas.sum(), *np.nonzero(canvas)
    # 20 cos 30 = 17.3 rows; a tip of half a row may round either way.
    assert rows.max() - rows.min() + 1 in (16, 17, 18)
    assert (canvas.sum(axis=1) * np.arange(60)).sum() / weight == pytest.approx(30.25, abs=0.02)
    assert (canvas.sum(axis=0) * np.arange(60)).sum() / weight == pytest.approx(20.5, abs=0.02)
    assert np.polyfit(rows, columns, 1, w=canvas[rows, columns])[0] == pytest.approx(np.tan(np.deg2rad(30)), abs=0.02)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("fade", [0.0, 0.6])
def test_every_line_of_a_streak_has_the_light_of_its_place(flat, fade):
    height, width = (40, 50) if not flat else (50, 40)
    streak = one_streak(row=18.3, column=25.75, length=24.0, degrees=-20.0, flat=flat, light=0.7, fade=fade)

    canvas = draw_streaks(streak, 1, height, width)[0]

    along = (np.arange(40) - 18.3) / (24 * np.cos(np.deg2rad(20))) + 0.5
    expected = 0.7 * np.clip(4 * np.minimum(along, 1 - along), 0, 1) * (1 - fade * (1 - along))
    np.testing.assert_allclose((canvas.T if flat else canvas).sum(axis=1), expected, atol=1e-6)


def test_what_falls_outside_is_dropped_and_layers_do_not_mix():
    inside, outside = one_streak(9.0, 10.0, 12.0, 10.0, layer=1), one_streak(9.0, -14.0, 12.0, 10.0, layer=0)

    layers = draw_streaks(joined(inside, outside), 3, 20, 22)
    cut = draw_streaks(one_streak(9.0, -0.25, 12.0, 10.0), 1, 20, 22)[0]

    assert not layers[[0, 2]].any()
    np.testing.assert_array_equal(layers[1], draw_streaks(one_streak(9.0, 10.0, 12.0, 10.0), 1, 20, 22)[0])
    whole = draw_streaks(one_streak(9.0, 9.75, 12.0, 10.0), 1, 20, 32)[0]
    np.testing.assert_allclose(cut, whole[:, 10:], atol=1e-6)


def one_streak(row, column, length, degrees, flat=False, layer=0, light=1.0, fade=0.0):
    values = (layer, flat, row, column, length, np.deg2rad(degrees), light, fade)
    return Streaks(*(np.array([value]) for value in values))


def joined(*streaks):
    return Streaks(*(np.concatenate(values) for values in zip(*streaks, strict=True)))
