"""Picture files as restoration needs them: nothing of a picture is lost but its metadata.

Kept: 16 bits of a PNG, grey, alpha (bit for bit), an ICC profile of the colour space that the pixels are in. Applied: the
EXIF orientation, so that the output needs no tag. Not kept: other EXIF and text metadata. JPEG and WebP are written at
quality 95, JPEG without chroma subsampling. Animations are refused: only their first picture would come back.
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ipt_platform.data.degradations.resize import imresize
from ipt_platform.data.header import MAX_PIXELS, Header, probe
from ipt_platform.data.image import decode_rgb, orient
from ipt_platform.errors import DataError
from ipt_platform.restore.profile import png_chunks, usable_profile, with_profile

QUALITY = 95
LARGEST_SIDE = {"png": 1_000_000, "jpeg": 65_500, "webp": 16_383}
FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


@dataclass(frozen=True)
class Picture:
    """A picture as read, upright.

    Attributes:
        rgb: `[H, W, 3]` float32 in [0, 1]; a grey picture three times the same.
        alpha: `[H, W]` uint8 or uint16 as in the file, or None.
        bits: 8 or 16 per value.
        grey: whether the file holds one value per pixel.
        icc: the ICC profile, or None.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None

    def with_rgb(self, rgb: np.ndarray) -> "Picture":
        """The same picture with other colours, `[H, W, 3]` float32."""
        return replace(self, rgb=rgb)

    def enlarged(self, scale: int) -> "Picture":
        """The same picture with both sides `scale` times as long, by `imresize`; alpha too."""
        if scale == 1:
            return self
        alpha = self.alpha
        if alpha is not None:
            larger = imresize(alpha[..., None].astype(np.float32), scale)[..., 0]
            alpha = np.rint(np.clip(larger, 0, np.iinfo(alpha.dtype).max)).astype(alpha.dtype)
        return replace(self, rgb=imresize(self.rgb, scale), alpha=alpha)


def read_picture(path: Path) -> Picture:
    """Read a PNG, JPEG or WebP file.

    Raises:
        DataError: not a picture of these formats, damaged, an animation, or over the pixel cap.
        OSError: the file cannot be read.
    """
    return decode_picture(path.read_bytes())


def decode_picture(data: bytes) -> Picture:
    """Decode the bytes of a PNG, JPEG or WebP file; `read_picture` of a file."""
    header = probe(data)
    if header.format == "jpeg":
        values, alpha = decode_rgb(data), None
    else:
        values, alpha = _decode_unchanged(data, header)
    grey = header.channels <= 2
    return Picture(
        rgb=np.divide(values, np.iinfo(values.dtype).max, dtype=np.float32),
        alpha=alpha,
        bits=values.dtype.itemsize * 8,
        grey=grey,
        icc=usable_profile(data, header.format, grey),
    )


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """Encode a picture in the format of a suffix; values are clipped to [0, 1] and rounded to the picture's bits.

    Args:
        picture: what to write; a grey picture's value is the mean of the three.
        suffix: `.png`, `.jpg`, `.jpeg` or `.webp`, in any case.

    Raises:
        DataError: the format of the suffix cannot hold the picture (16 bits or alpha), or there is no such format.
    """
    form = format_of(suffix)
    if picture.bits == 16 and form != "png":
        raise DataError(f"16 bits per value do not fit into {suffix}: name the output .png")
    if picture.alpha is not None and form == "jpeg":
        raise DataError(f"an alpha channel does not fit into {suffix}: name the output .png or .webp")
    options = {
        "png": [],
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, QUALITY],
    }[form]
    done, buffer = cv2.imencode(f".{form}", _pixels(picture), options)
    assert done
    return with_profile(buffer.tobytes(), form, picture.icc) if picture.icc else buffer.tobytes()


def format_of(suffix: str) -> str:
    """The format of a suffix: "png", "jpeg" or "webp".

    Raises:
        DataError: none of the three.
    """
    if suffix.lower() not in FORMATS:
        raise DataError(f"cannot write {suffix or 'a file without suffix'}: expected one of {', '.join(FORMATS)}")
    return FORMATS[suffix.lower()]


def check_fits(height: int, width: int, suffix: str) -> None:
    """Raise DataError if a picture of this size is over the pixel cap, or too long for the format of the suffix."""
    if height * width > MAX_PIXELS:
        raise DataError(f"the restored picture would have {width}x{height} pixels; at most {MAX_PIXELS} are allowed")
    largest = LARGEST_SIDE[format_of(suffix)]
    if max(height, width) > largest:
        raise DataError(f"{width}x{height} pixels do not fit into {suffix}, which holds sides of up to {largest}: name it .png")


def _decode_unchanged(data: bytes, header: Header) -> tuple[np.ndarray, np.ndarray | None]:
    """Upright RGB values `[H, W, 3]` uint8 or uint16, and alpha `[H, W]` of the same type where there is any."""
    chunks = png_chunks(data) if header.format == "png" else {}
    if b"acTL" in chunks:
        raise DataError("The PNG is an animation; only still pictures can be used.")
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DataError(f"The {header.format} does not decode: {error.err}.") from error
    if stored is None:
        raise DataError(f"The {header.format} does not decode: it is cut off or damaged.")
    stored = np.atleast_3d(orient(np.atleast_3d(stored), header.orientation))
    if stored.shape[:2] != (header.height, header.width):
        height, width = stored.shape[:2]
        raise DataError(f"The {header.format} decodes to {width}x{height} pixels, not {header.width}x{header.height}.")
    if stored.shape[2] == 1:
        return np.repeat(stored, 3, axis=2), _grey_transparency(stored[..., 0], chunks.get(b"tRNS"), header.bits)
    alpha = np.ascontiguousarray(stored[..., 3]) if stored.shape[2] == 4 else None
    return np.ascontiguousarray(stored[..., 2::-1]), alpha


def _grey_transparency(grey: np.ndarray, trns: bytes | None, bits: int) -> np.ndarray | None:
    """Alpha of a grey PNG that names one transparent value (OpenCV passes over it); ISO/IEC 15948, 11.3.2.1."""
    if trns is None or len(trns) != 2:
        return None
    full = np.iinfo(grey.dtype).max
    # Fewer than 8 bits were stretched over 0..255 by the decoder.
    transparent = struct.unpack(">H", trns)[0] * (255 // (2**bits - 1) if bits < 8 else 1)
    return np.where(grey == transparent, 0, full).astype(grey.dtype)


def _pixels(picture: Picture) -> np.ndarray:
    """What OpenCV writes: `[H, W]`, `[H, W, 3]` BGR or `[H, W, 4]` BGRA in the picture's integer type."""
    full = 2**picture.bits - 1
    kind = np.uint8 if picture.bits == 8 else np.uint16
    values = picture.rgb.astype(np.float64)
    if picture.grey:
        values = values.mean(axis=2, keepdims=True)
    integers = np.rint(np.clip(values, 0, 1) * full).astype(kind)[..., ::-1]
    if picture.alpha is None:
        return np.ascontiguousarray(integers[..., 0] if picture.grey else integers)
    # Grey with alpha is written as colour with alpha: the encoder knows no other way, and the pixels are the same.
    colours = np.repeat(integers, 3, axis=2) if picture.grey else integers
    return np.dstack([colours, picture.alpha])
