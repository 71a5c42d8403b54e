"""Rain and snow fall the way their parameters say."""

import cv2
import numpy as np
import pytest

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.rain import rain_streaks
from ipt_platform.data.degradations.snow import snow_mask


def direction(field):
    """Direction in degrees from the vertical along which a field changes least.

    The structure tensor with derivatives taken in the Fourier domain: finite differences favour the axes by degrees.
    """
    smooth = cv2.GaussianBlur(field.astype(np.float64), (0, 0), 1)
    power = np.abs(np.fft.fft2(smooth - smooth.mean())) ** 2
    down, right = np.fft.fftfreq(len(field))[:, None], np.fft.fftfreq(field.shape[1])[None, :]
    mixed = (power * down * right).sum()
    tensor = np.array([[(power * down * down).sum(), mixed], [mixed, (power * right * right).sum()]])
    _, axes = np.linalg.eigh(tensor)
    return np.rad2deg(np.arctan(axes[1, 0] / axes[0, 0]))


@pytest.mark.parametrize("angle", [-60.0, -20.0, 0.0, 45.0])
@pytest.mark.parametrize(
    ("draw_field", "spec"),
    [
        (rain_streaks, {"name": "rain", "density": 0.002, "length": 40, "width": 2}),
        (snow_mask, {"name": "snow", "density": 0.002, "size": 2, "motion": 10}),
    ],
)
def test_streaks_and_flakes_are_drawn_out_along_their_fall(draw_field, spec, angle):
    params = build_degradation({**spec, "angle": angle}).draw(np.random.default_rng(0))

    assert direction(draw_field(600, 600, params)) == pytest.approx(angle, abs=2)
