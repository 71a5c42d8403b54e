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
PANELS = ("degraded", "restored", "clean")
FONT = (0.5, 1)
"""Scale and thickness of captions."""


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
    parts = [
        _panel(_as_uint8(picture)[top : top + height, left : left + width], caption)
        for picture, caption in zip(
            (degraded, restored, reference), zip(PANELS, (psnr_input, psnr, None), strict=True), strict=True
        )
    ]
    gap = np.full((parts[0].shape[0], SEPARATOR, 3), PAPER, np.uint8)
    drawn = np.hstack([parts[0], gap, parts[1], gap, parts[2]])
    ok, buffer = cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    assert ok
    return buffer.tobytes()


def panels(drawn: np.ndarray) -> dict[str, np.ndarray]:
    """The pictures of a triptych without captions, pixel for pixel: the reverse of `triptych`.

    Args:
        drawn: a triptych, `[H, W, 3]` uint8.

    Returns:
        `degraded`, `restored` and `clean`, each `[H - CAPTION_HEIGHT, w, 3]` uint8.

    Raises:
        DataError: it is none.
    """
    below = drawn[CAPTION_HEIGHT:]
    layout = _layout((below == PAPER).all(axis=(0, 2))) if below.size else None
    if layout is None:
        raise DataError(f"{drawn.shape[1]}x{drawn.shape[0]} pixels are no triptych: there are no three pictures side by side")
    starts, width = layout
    return {name: below[:, start : start + width] for name, start in zip(PANELS, starts, strict=True)}


def _layout(paper: np.ndarray) -> tuple[tuple[int, int, int], int] | None:
    """Where the three pictures begin, and how wide each is.

    Args:
        paper: for every column whether nothing is drawn there but the ground.
    """
    total = len(paper)
    width, rest = divmod(total - 2 * SEPARATOR, 3)
    if rest == 0 and width >= _caption_width("degraded -100.00 dB"):
        starts = (0, width + SEPARATOR, 2 * (width + SEPARATOR))
        return (starts, width) if all(paper[start - SEPARATOR : start].all() for start in starts[1:]) else None
    # Narrow panels are as wide as their captions need; that of the last one has no number, so its width is known.
    for width in range(1, total // 3):
        last = total - max(width, _caption_width(PANELS[2]))
        second = width + int(np.argmin(paper[width:])) if paper[width : width + SEPARATOR].all() else total
        if second + width + SEPARATOR <= last and paper[second + width : last].all() and paper[last + width :].all():
            return (0, second, last), width
    return None


def _caption_width(text: str) -> int:
    """Pixels that a panel needs for its caption."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, *FONT)
    return width + 12


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
    (_, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, *FONT)
    height, width = picture.shape[:2]
    panel = np.full((CAPTION_HEIGHT + height, max(width, _caption_width(text)), 3), PAPER, np.uint8)
    baseline = (CAPTION_HEIGHT + text_height) // 2
    cv2.putText(panel, text, (6, baseline), cv2.FONT_HERSHEY_SIMPLEX, FONT[0], INK, FONT[1], cv2.LINE_AA)
    panel[CAPTION_HEIGHT:, :width] = picture
    return panel


def _decibels(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.2f} dB"


def _as_uint8(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else to_uint8(picture)
