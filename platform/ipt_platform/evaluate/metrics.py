"""PSNR and SSIM of one picture, in float64; what is clipped, rounded or converted before is the protocol's business."""

import math

import cv2
import numpy as np

from ipt_platform.errors import DataError

WINDOW = 11
WINDOW_SIGMA = 1.5
K1 = 0.01
K2 = 0.03


def psnr(restored: np.ndarray, clean: np.ndarray, data_range: float) -> float:
    """The peak signal-to-noise ratio `10 log10(data_range² / MSE)`, the mean taken over every pixel and channel.

    Args:
        restored: `[H, W]` or `[H, W, C]`, any real type.
        clean: the same shape.
        data_range: the largest possible difference of two values: 1 for floats in [0, 1], 255 for grey levels.

    Returns:
        dB; `math.inf` for identical pictures (`json_number` says how that is written to JSON).

    Raises:
        DataError: the shapes differ.
    """
    _require_same_shape(restored, clean)
    difference = restored.astype(np.float64) - clean.astype(np.float64)
    mse = float(np.mean(difference * difference))
    return math.inf if mse == 0 else 10 * math.log10(data_range**2 / mse)


def ssim(restored: np.ndarray, clean: np.ndarray, data_range: float) -> float:
    """The structural similarity of Wang et al. (2004), eq. 13, in a Gaussian 11×11 window of sigma 1.5.

    K1 = 0.01, K2 = 0.03; population moments (not the sample covariance); the mean over the valid region only (the 5
    outermost pixels on each side have no whole window), per channel, then over the channels. scikit-image gives the
    same number with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`; its default (7×7 uniform) is
    another number.

    Args:
        restored: `[H, W]` or `[H, W, C]`, C at most 4, both sides at least 11 pixels.
        clean: the same shape.
        data_range: as in `psnr`.

    Raises:
        DataError: the shapes differ, or the picture is smaller than one window.
    """
    _require_same_shape(restored, clean)
    if min(clean.shape[:2]) < WINDOW:
        height, width = clean.shape[:2]
        raise DataError(f"SSIM needs pictures of at least {WINDOW}×{WINDOW} pixels; this one has {width}×{height}")
    x, y = restored.astype(np.float64), clean.astype(np.float64)
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    variance_x = _local_mean(x * x) - mean_x * mean_x
    variance_y = _local_mean(y * y) - mean_y * mean_y
    covariance = _local_mean(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x * mean_x + mean_y * mean_y + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean(luminance * structure))


def json_number(value: float) -> float | None:
    """A metric as JSON can hold it: `null` stands for infinity (identical pictures), since JSON has no Infinity.

    `null` never stands for "not measured": what was not measured has no entry.

    Raises:
        ValueError: the value is NaN, which no metric here can give.
    """
    if math.isnan(value):
        raise ValueError("a metric is NaN")
    return None if math.isinf(value) else value


def from_json_number(value: float | None) -> float:
    """The reverse of `json_number`."""
    return math.inf if value is None else value


def _local_mean(x: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means of the windows that lie wholly inside; `[H, W, ...]` -> `[H - 10, W - 10, ...]`."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-0.5 * (offsets / WINDOW_SIGMA) ** 2)
    kernel /= kernel.sum()
    border = WINDOW // 2
    return cv2.sepFilter2D(x, cv2.CV_64F, kernel, kernel)[border:-border, border:-border]


def _require_same_shape(restored: np.ndarray, clean: np.ndarray) -> None:
    if restored.shape != clean.shape:
        raise DataError(f"the restored picture has shape {restored.shape}, the clean one {clean.shape}: they must agree")
