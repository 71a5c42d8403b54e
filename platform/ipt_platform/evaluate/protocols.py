"""Protocols: how a number is measured. They differ by over 1 dB, so no number goes without the name of its protocol.

| name        | values compared                                   | range | clipped | rounded            | cropped |
|-------------|---------------------------------------------------|-------|---------|--------------------|---------|
| `rgb-float` | RGB floats                                        | 1     | [0, 1]  | no                 | no      |
| `rgb-uint8` | RGB grey levels                                   | 255   | [0, 1]  | to 0..255          | no      |
| `y-uint8`   | BT.601 luma of the RGB grey levels (MATLAB's Y)   | 255   | [0, 1]  | RGB, then Y, again | no      |

The picture is clipped before it is measured, under every protocol: so do the papers behind each of them (the all-in-one
papers for `rgb-float`, which they call PSNR of RGB floats; Restormer for the other two). The degraded input is measured
in the same way, so that a gain compares like with like; a noisy input therefore reads a little better than
`20 log10(255 / sigma)`. Nothing is cropped: the crop to multiples of 16 of the all-in-one papers is a need of their
models, not of the measure, and the border of super-resolution papers belongs to super-resolution.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ipt_platform.errors import TrainingError, UsageError
from ipt_platform.evaluate.metrics import psnr, ssim


@dataclass(frozen=True)
class Protocol:
    """One way to measure.

    Attributes:
        name: the word used in job files, on the command line and beside every number.
        prepare: float `[H, W, 3]` in [0, 1], already clipped -> the values that are compared, `[H, W, 3]` or `[H, W]`.
        data_range: the largest possible difference of two prepared values.
    """

    name: str
    prepare: Callable[[np.ndarray], np.ndarray]
    data_range: float


def measure(protocol: str, restored: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of one picture under a named protocol.

    Args:
        protocol: a name in `PROTOCOLS`.
        restored: `[H, W, 3]` float in [0, 1]; values outside are clipped (see the table of this module).
        clean: `[H, W, 3]` uint8.

    Returns:
        `{"psnr": dB, "ssim": in [-1, 1]}`; the PSNR of identical values is `math.inf`.

    Raises:
        UsageError: no protocol of this name.
        TrainingError: the restored picture holds NaN or infinity.
        DataError: the shapes differ, or a side is shorter than 11 pixels.
    """
    chosen = find_protocol(protocol)
    broken = restored.size - int(np.isfinite(restored).sum())
    if broken:
        raise TrainingError(
            f"{broken} of {restored.size} restored values are not finite: the weights are broken; "
            "evaluate an earlier checkpoint"
        )
    a = chosen.prepare(np.clip(restored, 0, 1))
    b = chosen.prepare(clean / 255)
    return {"psnr": psnr(a, b, chosen.data_range), "ssim": ssim(a, b, chosen.data_range)}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        UsageError: no protocol of this name; the message suggests the nearest.
    """
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"unknown protocol {name!r}: expected one of {', '.join(PROTOCOLS)}{hint}")
    return PROTOCOLS[name]


def to_uint8(picture: np.ndarray) -> np.ndarray:
    """Float in [0, 1], any shape -> uint8, clipped and rounded to the nearest level (ties to even)."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def matlab_luma(rgb: np.ndarray) -> np.ndarray:
    """The Y of MATLAB's `rgb2ycbcr` for uint8: `round(16 + (65.481 R + 128.553 G + 24.966 B) / 255)`.

    `[H, W, 3]` uint8 -> `[H, W]` uint8, in integers, so that the rounding (half up, as MATLAB) is exact.
    """
    r, g, b = (rgb[..., channel].astype(np.int64) for channel in range(3))
    return (16 + (65_481 * r + 128_553 * g + 24_966 * b + 127_500) // 255_000).astype(np.uint8)


def _floats(picture: np.ndarray) -> np.ndarray:
    return picture


def _luma(picture: np.ndarray) -> np.ndarray:
    return matlab_luma(to_uint8(picture))


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("rgb-float", _floats, 1.0),
        Protocol("rgb-uint8", to_uint8, 255.0),
        Protocol("y-uint8", _luma, 255.0),
    )
}
