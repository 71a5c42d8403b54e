"""Pixels: encoded bytes to uint8 RGB and back."""

import cv2
import numpy as np
import simplejpeg

from ipt_platform.data.header import MAX_PIXELS, Header, is_cut_off, probe
from ipt_platform.errors import BadPictureError


def decode_rgb(data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a PNG, JPEG or WebP picture as training sees it: uint8 [H, W, 3] RGB, turned the way people see it.

    Grey is repeated over the three channels, CMYK converted, 16 bits rounded to 8, alpha dropped (the colours under it
    kept).

    Raises:
        BadPictureError: The header is refused (see `probe`) or the pixels do not decode, wholly and without a complaint.
    """
    header = probe(data, max_pixels)
    pixels = _decode_jpeg(data, header) if header.format == "jpeg" else _decode_opencv(data, header)
    pixels = orient(pixels, header.orientation)
    if pixels.shape != (header.height, header.width, 3):
        raise BadPictureError(
            "damaged",
            f"The {header.format} decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            f"its header says {header.width}x{header.height}.",
        )
    return np.ascontiguousarray(pixels)


def orient(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8) to [H, W, C] pixels; a view, nothing is copied."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] RGB as PNG."""
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    done, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert done
    return buffer.tobytes()


def _decode_jpeg(data: bytes, header: Header) -> np.ndarray:
    if header.channels == 4:
        return _decode_opencv(data, header)  # libjpeg-turbo does not turn CMYK into RGB, OpenCV does
    try:
        # strict: a cut or damaged scan would otherwise come back as a half-grey picture
        return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    except ValueError as error:
        raise _undecoded(data, header, str(error)) from error


def _decode_opencv(data: bytes, header: Header) -> np.ndarray:
    # the orientation is ours to apply: OpenCV applies it for some formats and versions and not for others
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    if header.bits == 16:
        flags |= cv2.IMREAD_ANYDEPTH
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise _undecoded(data, header, error.err) from error
    if pixels is None:
        raise _undecoded(data, header, "it is cut off or damaged")
    return to_uint8(pixels) if pixels.dtype == np.uint16 else pixels


def _undecoded(data: bytes, header: Header, words: str) -> BadPictureError:
    kind = "cut-off" if is_cut_off(data, header.format) else "damaged"
    return BadPictureError(kind, f"The {header.format} does not decode: {words}.")


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round uint16 grey levels (of 65535) to uint8 (of 255), exactly: 65535 is 257 times 255."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
