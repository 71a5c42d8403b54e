"""One picture that shows what a task does: degraded | restored | clean, with the dB of the first two."""

import math

import cv2
import numpy as np

from ipt_platform.errors import DataError
from ipt_platform.evaluate.protocols import to_uint8

SEPARATOR = 4
CAPTION_HEIGHT = 24
INK = (235, 235, 235)
PAPER = (24, 24, 24)
MAX_SIDE = 384


def triptych(
    degraded: np.ndarray,
    restored: np.ndarray,
    clean: np.ndarray,
    psnr_input: float,
    psnr: float,
    max_side: int = MAX_SIDE,
) -> bytes:
    """Draw the three pictures side by side, each under its caption, and encode them as PNG.

    A picture longer than `max_side` is shown by its most detailed region at full resolution, never scaled: scaling
    would hide noise and blur. The dB in the captions are given, not computed: they belong to the whole picture and to
    a protocol.

    Args:
        degraded: `[H, W, 3]` float in [0, 1] (values outside are clipped) or uint8.
        restored: the same shape.
        clean: the same shape.
        psnr_input: dB of the degraded picture.
        psnr: dB of the restored picture.
        max_side: longest side of each panel in pixels.

    Raises:
        DataError: the shapes differ.
    """
    if not degraded.shape == restored.shape == clean.shape:
        raise DataError(f"a triptych needs three pictures of one shape, got {degraded.shape}, {restored.shape}, {clean.shape}")
    reference = _as_uint8(clean)
    top, left, height, width = detailed_region(reference, max_side)
    panels = [
        _panel(_as_uint8(picture)[top : top + height, left : left + width], caption)
        for picture, caption in (
            (degraded, ("degraded", psnr_input)),
            (restored, ("restored", psnr)),
            (reference, ("clean", None)),
        )
    ]
    gap = np.full((panels[0].shape[0], SEPARATOR, 3), PAPER, np.uint8)
    drawn = np.hstack([panels[0], gap, panels[1], gap, panels[2]])
    ok, buffer = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    assert ok
    return buffer.tobytes()


def detailed_region(picture: np.ndarray, max_side: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the region of at most `max_side` pixels a side that holds the most edges."""
    full_height, full_width = picture.shape[:2]
    height, width = min(full_height, max_side), min(full_width, max_side)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    edges = np.abs(cv2.Sobel(grey, cv2.CV_64F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_64F, 0, 1))
    # Sums over every possible region from the integral image; a root keeps one hard edge from outvoting texture.
    table = cv2.integral(np.sqrt(edges))
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return int(top), int(left), height, width


def _panel(picture: np.ndarray, caption: tuple[str, float | None]) -> np.ndarray:
    """One picture with its caption strip above, so that no pixel is covered; as wide as both need."""
    name, decibels = caption
    text = name if decibels is None else f"{name} {_decibels(decibels)}"
    scale, thickness = 0.5, 1
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    height, width = picture.shape[:2]
    panel = np.full((CAPTION_HEIGHT + height, max(width, text_width + 12), 3), PAPER, np.uint8)
    baseline = (CAPTION_HEIGHT + text_height) // 2
    cv2.putText(panel, text, (6, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, thickness, cv2.LINE_AA)
    panel[CAPTION_HEIGHT:, :width] = picture
    return panel


def _decibels(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.2f} dB"


def _as_uint8(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else to_uint8(picture)
