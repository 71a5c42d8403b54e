"""What can be measured in a picture about its damage: numbers by hand, each with the damage that it speaks of.

All are computed on one square window, of any picture, at the picture's own scale, so that a pixel of noise or a block of eight
stays what it is.
"""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

WINDOW = 256
"""Side of the windows that are measured, pixels."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
TINY = 1e-6


def measure(window: np.ndarray) -> np.ndarray:
    """The features of a window.

    Args:
        window: float32 [P, P, 3] in [0, 1], 8-bit values.

    Returns:
        float32 [F], finite; `names()` says what stands where.
    """
    grey = window @ LUMA
    return np.concatenate([np.asarray(part(window, grey), np.float32) for part in PARTS])


def _extremes(window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest of each pixel's colours, [P, P]."""
    red, green, blue = cv2.split(window)
    return np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)


def exposure(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Darkness, clipping, contrast, colour: low light, haze, shadow.

    Percentiles of luma; shares of clipped values; the dark channel (minimum over colours and 15 x 15 pixels: He, Sun and Tang,
    "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009); saturation.
    """
    levels = np.percentile(grey, (1, 5, 25, 50, 75, 95, 99))
    low, high = _extremes(window)
    dark = cv2.erode(low, np.ones((15, 15), np.uint8))
    saturation = (high - low) / np.maximum(high, 0.02)
    means = window.mean(axis=(0, 1))
    blocks = cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA)
    local = cv2.resize(_local_deviation(grey, 15), (8, 8), interpolation=cv2.INTER_AREA)
    return [
        *levels,
        grey.std(),
        blocks.std(),
        *np.percentile(local, (10, 50, 90)),
        *np.percentile(dark, (5, 50, 95)),
        *np.percentile(saturation, (10, 50, 90)),
        *(means - means.mean()),
        _log(float((high > 0.998).mean())),
        _log(float((low < 0.002).mean())),
        float(np.corrcoef(blocks.ravel(), local.ravel())[0, 1]) if blocks.std() > TINY and local.std() > TINY else 0.0,
    ]


def flats(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Areas of one value: holes, letters and borders that were painted over.

    Shares of pixels whose 3 x 3 neighbourhood is black, grey or white to the last bit; how far such an area reaches in from
    each side of the window.
    """
    low, high = _extremes(window)
    square = np.ones((3, 3), np.uint8)
    # equal among its neighbours, and grey
    flat = cv2.dilate(high, square) - cv2.erode(low, square) < 0.5 / 255
    shares = [float((flat & (np.abs(grey - value) < 1.5 / 255)).mean()) for value in (0.0, 0.5, 1.0)]
    any_flat = flat.mean()
    sides = [float(edge.mean()) for edge in (flat[1], flat[-2], flat[:, 1], flat[:, -2])]
    rows, columns = flat.mean(axis=1) > 0.95, flat.mean(axis=0) > 0.95
    return [*map(_log, shares), _log(float(any_flat)), max(sides), float(np.mean(sides)), rows.mean(), columns.mean()]


def noise(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Noise: its strength, colour, tails, and how it grows with brightness.

    Strength by the median absolute deviation of the finest diagonal wavelet (Donoho and Johnstone, Biometrika 1994), over the
    whole window and where it is smoothest; kurtosis of that band; correlation between the colours.
    """
    diagonal = (window[:-1:2, :-1:2] - window[1::2, :-1:2] - window[:-1:2, 1::2] + window[1::2, 1::2]) / 2
    sigma = np.median(np.abs(diagonal), axis=(0, 1)) / 0.6745
    flat = diagonal.reshape(-1, 3)
    spread = flat.std(axis=0) + TINY
    kurtosis = float(np.mean((flat**4).mean(axis=0) / spread**4))
    correlation = np.atleast_2d(np.corrcoef(flat.T + 1e-9 * np.arange(3)[:, None])) if spread.min() > 1e-5 else np.eye(3)
    band = (diagonal @ LUMA).astype(np.float32)
    size = band.shape[0] // 16 * 16
    parts = np.abs(band[:size, :size]).reshape(size // 16, 16, -1, 16).mean(axis=(1, 3)).ravel()
    light = cv2.resize(grey, band.shape[::-1], interpolation=cv2.INTER_AREA)[:size, :size]
    light = light.reshape(size // 16, 16, -1, 16).mean(axis=(1, 3)).ravel()
    order = np.argsort(light)
    third = max(1, len(order) // 3)
    return [
        *(_log(float(value)) for value in sigma),
        *(_log(float(value)) for value in np.percentile(parts, (5, 25, 50, 75, 95))),
        _log(float(np.median(parts[order[:third]]))),
        _log(float(np.median(parts[order[-third:]]))),
        np.log(kurtosis + TINY),
        float(np.nan_to_num(correlation[0, 1])),
        float(np.nan_to_num(correlation[1, 2])),
    ]


def sharpness(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Blur, and drops that blur in places: how strong edges are, how energy falls from scale to scale; whole and in parts."""
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    strength = np.hypot(x, y)
    energies, level = [], grey
    spread = []
    for _ in range(4):
        smooth = cv2.GaussianBlur(level, (0, 0), 1.0)
        detail = np.abs(level - smooth)
        energies.append(_log(float(detail.mean())))
        parts = cv2.resize(detail, (8, 8), interpolation=cv2.INTER_AREA)
        low, middle, high = (_log(float(value)) for value in np.percentile(parts, (10, 50, 90)))
        spread += [high - middle, middle - low]
        level = smooth[::2, ::2]
    # Crete et al., "The Blur Effect" (SPIE 2007): how much of the variation a second blur takes away.
    lost = []
    for size in ((9, 1), (1, 9)):
        again = cv2.blur(grey, size)
        axis = 1 if size[0] > 1 else 0
        before, after = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(again, axis=axis))
        lost.append(float(np.maximum(0, before - after).sum() / (before.sum() + TINY)))
    xx, yy, xy = float((x * x).mean()), float((y * y).mean()), float((x * y).mean())
    anisotropy = float(np.hypot(xx - yy, 2 * xy) / (xx + yy + TINY))
    return [
        *(_log(float(value)) for value in np.percentile(strength, (50, 75, 90, 99))),
        *energies,
        *(first - second for first, second in pairwise(energies)),
        *spread,
        *lost,
        anisotropy,
        (xx - yy) / (xx + yy + TINY),
    ]


def spectrum(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Streaks and periodic patterns: energy by frequency and direction, and how far single frequencies stand out.

    Log energy of the windowed Fourier transform in 6 rings, its unevenness over 8 directions in each ring, and the highest peak
    over the ring's mean, for luma and for the two colour differences.
    """
    found: list[float] = []
    weight = np.outer(np.hanning(grey.shape[0]), np.hanning(grey.shape[1])).astype(np.float32)
    rings, sectors = _polar(grey.shape[0])
    for number, plane in enumerate((grey, window[..., 0] - window[..., 1], window[..., 2] - window[..., 1])):
        energy = np.abs(np.fft.rfft2((plane - plane.mean()) * weight)) ** 2
        logs = np.log(energy + 1e-4)
        count = np.bincount(rings.ravel(), minlength=7)
        mean = np.bincount(rings.ravel(), logs.ravel(), minlength=7) / count
        top = np.array([float(logs[rings == ring].max()) for ring in range(1, 7)])
        found += [*mean[1:7], *(top - mean[1:7])]
        if number == 0:
            both = rings * 8 + sectors
            by_sector = np.bincount(both.ravel(), logs.ravel(), minlength=56) / np.maximum(
                1, np.bincount(both.ravel(), minlength=56)
            )
            uneven = by_sector.reshape(7, 8)[1:7] - mean[1:7, None]
            found += [*uneven.std(axis=1), *uneven.max(axis=1), *uneven[2:5, (0, 4)].ravel()]
    return found


def blocks(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """JPEG: steps between blocks of 8 x 8 pixels where they are strongest, zero coefficients, missing colour detail."""
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, n=2, axis=axis)).mean(axis=1 - axis)
        size = len(steps) // 8 * 8
        phases = np.sort(steps[:size].reshape(-1, 8).mean(axis=0))
        found += [_log(phases[-1]) - _log(float(np.median(phases))), _log(phases[-2]) - _log(float(np.median(phases)))]
    size = grey.shape[0] // 8 * 8
    zeros = []
    for phase in range(8):
        tiles = np.roll(grey, (-phase, -phase), axis=(0, 1))[:size, :size]
        tiles = tiles.reshape(size // 8, 8, size // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
        coefficients = np.abs(_DCT @ tiles @ _DCT.T)
        zeros.append(float((coefficients[:, 4:, 4:] < 1.0 / 255).mean()))
    red, blue = window[..., 0] - grey, window[..., 2] - grey
    fine = [float(np.abs(plane - cv2.blur(plane, (3, 3))).mean()) for plane in (grey, red, blue)]
    return [
        *found,
        max(zeros),
        max(zeros) - float(np.median(zeros)),
        _log(fine[1]) - _log(fine[0]),
        _log(fine[2]) - _log(fine[0]),
    ]


def particles(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Rain, snow, drops: bright things that are narrow or small, their direction and colour.

    White and black top hats (what opening or closing takes away) with lines in 6 directions and with disks of 3 sizes.
    """
    found: list[float] = []
    # of 8 bits, for which OpenCV is ten times as fast
    levels = np.rint(grey * 255).astype(np.uint8)
    opened = {angle: cv2.morphologyEx(levels, cv2.MORPH_OPEN, _line(15, angle)) for angle in (0, 30, 60, 75, 90, 105, 120, 150)}
    along = np.array([_mean(levels - opened[angle]) for angle in range(0, 180, 30)])
    found += [_log(along.mean()), _log(along.min()) - _log(along.max()), *(along / (along.mean() + TINY))]
    # what a line upright (or nearly so) keeps and a line across takes away is a streak
    upright = max((opened[angle] for angle in (60, 75, 90, 105, 120)), key=lambda kept: kept.mean())
    streaks = upright - cv2.morphologyEx(upright, cv2.MORPH_OPEN, _line(9, 0))
    found += [_log(_mean(streaks)), *(_log(value / 255) for value in np.percentile(streaks, (50, 90, 99)))]
    low, high = _extremes(window)
    colour = high - low
    for radius in (2, 4, 8):
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        white = levels - cv2.morphologyEx(levels, cv2.MORPH_OPEN, disk)
        black = cv2.morphologyEx(levels, cv2.MORPH_CLOSE, disk) - levels
        found += [_log(_mean(white)), _log(_mean(black)), _log(float(np.percentile(white, 98)) / 255)]
        spots = white > max(25.0, float(np.percentile(white, 95)))
        found += [float(spots.mean()), float(colour[spots].mean() - colour.mean()) if spots.any() else 0.0]
    return found


def naturalness(window: np.ndarray, grey: np.ndarray) -> list[float]:
    """Shape of the locally normalised luma and of products of neighbours, at two scales.

    Source: Mittal, Moorthy and Bovik, "No-Reference Image Quality Assessment in the Spatial Domain" (TIP 2012), with moments in
    the place of fitted distributions.
    """
    found: list[float] = []
    level = grey * 255
    for _ in range(2):
        mean = cv2.GaussianBlur(level, (7, 7), 7 / 6)
        deviation = np.sqrt(np.maximum(cv2.GaussianBlur(level * level, (7, 7), 7 / 6) - mean * mean, 0))
        normal = (level - mean) / (deviation + 1)
        found += [_log(float(normal.var())), float(np.abs(normal).mean() / (normal.std() + TINY))]
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            products = normal * np.roll(normal, (down, right), axis=(0, 1))
            positive, negative = products[products > 0], products[products < 0]
            up, below = (float(np.sqrt((part**2).mean())) if part.size else 0.0 for part in (positive, negative))
            found += [float(products.mean()), up - below, float(np.abs(products).mean() / (products.std() + TINY))]
        level = cv2.resize(level, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return found


PARTS: tuple[Callable[[np.ndarray, np.ndarray], list[float]], ...] = (
    exposure,
    flats,
    noise,
    sharpness,
    spectrum,
    blocks,
    particles,
    naturalness,
)


def _mean(levels: np.ndarray) -> float:
    """Mean of 8-bit values, in [0, 1]."""
    return float(levels.mean()) / 255


def _log(value: float) -> float:
    return float(np.log(max(value, 0.0) + 1e-5))


def _local_deviation(grey: np.ndarray, side: int) -> np.ndarray:
    mean = cv2.blur(grey, (side, side))
    return np.sqrt(np.maximum(cv2.blur(grey * grey, (side, side)) - mean * mean, 0))


def _polar(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every frequency of `rfft2` of a square: its ring (1 to 6, 0 for the lowest), and its direction out of 8."""
    y, x = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    radius = np.hypot(x, y)
    ring = np.digitize(radius, (0.02, 0.06, 0.12, 0.2, 0.3, 0.42))
    angle = np.mod(np.arctan2(y, x) + np.pi / 16, np.pi)
    return ring, np.minimum(7, (angle / np.pi * 8).astype(int))


def _line(length: int, angle: float) -> np.ndarray:
    """A line as a structuring element; 0 lies, 90 stands."""
    kernel = np.zeros((length, length), np.uint8)
    middle = length // 2
    dx, dy = middle * np.cos(np.deg2rad(angle)), middle * np.sin(np.deg2rad(angle))
    cv2.line(kernel, (round(middle - dx), round(middle + dy)), (round(middle + dx), round(middle - dy)), 1)
    return kernel


_K = np.arange(8)
_DCT = (np.cos((2 * _K[None] + 1) * _K[:, None] * np.pi / 16) * np.where(_K[:, None] == 0, np.sqrt(1 / 8), 0.5)).astype(
    np.float32
)
