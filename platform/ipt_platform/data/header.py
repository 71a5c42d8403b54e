"""What a picture says of itself in its first bytes: format, size, channels, orientation. Nothing is decoded.

Written here rather than asked of a decoder, because a decoder may set up buffers of the size that a hostile header
claims.
"""

import struct
from dataclasses import dataclass

from ipt_platform.errors import BadPictureError

MAX_PIXELS = 200_000_000
MAX_SEGMENTS = 4096  # a picture has tens of segments before its pixels; more is an attack on our patience
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_READ = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # neither lossless nor hierarchical ones
ORIENTATION_TAG = 0x0112
OTHERS = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (4, b"ftyp", "a HEIC or AVIF"),
)
"""What people call .jpg by mistake: where its mark stands, and its name."""


@dataclass(frozen=True)
class Header:
    """A picture's header; `width` and `height` are as people see it, its EXIF `orientation` (1 to 8) applied."""

    format: str
    width: int
    height: int
    channels: int
    bits: int
    orientation: int = 1


def probe(data: bytes, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header of a PNG, JPEG or WebP picture.

    Args:
        data: The encoded picture.
        max_pixels: Most pixels a picture may claim to have.

    Raises:
        BadPictureError: Not one of the three formats, a header that is cut or contradicts itself, or more than `max_pixels`.
    """
    try:
        header = _reader_of(data)(data)
    except (struct.error, IndexError) as error:
        raise BadPictureError("cut-off", f"The picture's header is cut off after {len(data)} bytes.") from error
    size = f"The {header.format} header says {header.width}x{header.height} pixels"
    if header.width < 1 or header.height < 1:
        raise BadPictureError("damaged", f"{size}.")
    if header.width * header.height > max_pixels:
        raise BadPictureError("too-large", f"{size}; at most {max_pixels} are allowed.")
    return header


def is_cut_off(data: bytes, form: str) -> bool:
    """Whether a picture that does not decode ends too early; where it does not, something within it is damaged."""
    if form == "png":
        return b"IEND" not in data[-4096:]  # some bytes may follow it
    if form == "webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return b"\xff\xd9" not in data[-4096:]


def _reader_of(data: bytes):
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if not data:
        raise BadPictureError("cut-off", "The file is empty.")
    other = next((f" but {name}" for at, mark, name in OTHERS if data.startswith(mark, at)), "")
    raise BadPictureError("other-format", f"Not a PNG, JPEG or WebP picture{other} (it starts with {data[:8]!r}).")


def _png(data: bytes) -> Header:
    """ISO/IEC 15948, 11.2.2: IHDR comes first; eXIf is looked for up to the first IDAT."""
    length, kind, width, height, bits, colour = struct.unpack_from(">I4sIIBB", data, 8)
    if kind != b"IHDR" or length != 13 or colour not in PNG_CHANNELS:
        raise BadPictureError("damaged", "The PNG does not begin with a valid IHDR chunk.")
    orientation, at = 1, 33
    for _ in range(MAX_SEGMENTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : at + 8 + length])
        if kind in (b"IDAT", b"IEND"):
            break
        at += 12 + length
    # a palette's entries are 8 bits deep, whatever the depth of the indices into it
    return _oriented("png", width, height, PNG_CHANNELS[colour], 8 if colour == 3 else bits, orientation)


def _jpeg(data: bytes) -> Header:
    """ITU T.81, annex B: walk the marker segments up to the frame header."""
    orientation, at = 1, 2
    for _ in range(MAX_SEGMENTS):
        if data[at] != 0xFF:
            raise BadPictureError("damaged", f"The JPEG has no marker at byte {at}.")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker in JPEG_FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 3)
            if bits != 8 or marker not in JPEG_READ:
                raise BadPictureError("other-format", f"A JPEG of {bits} bits and process {marker:#x}, which is not read.")
            return _oriented("jpeg", width, height, channels, bits, orientation)
        (length,) = struct.unpack_from(">H", data, at + 1)
        if length < 2 or marker in (0xD9, 0xDA):
            break
        if marker == 0xE1 and data[at + 3 : at + 9] == b"Exif\0\0":
            orientation = exif_orientation(data[at + 9 : at + 1 + length])
        at += 1 + length
    raise BadPictureError("damaged", "The JPEG has no frame header.")


def _webp(data: bytes) -> Header:
    """RFC 9649: a lossy (VP8), lossless (VP8L) or extended (VP8X) first chunk."""
    kind = data[12:16]
    if kind == b"VP8X":
        flags = data[20]
        if flags & 0x02:
            raise BadPictureError("other-format", "The WebP is an animation; only still pictures can be used.")
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        if len(data) < 30:
            raise IndexError
        orientation = _webp_orientation(data) if flags & 0x08 else 1
        return _oriented("webp", width, height, 4 if flags & 0x10 else 3, 8, orientation)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), 4 if bits >> 28 & 1 else 3, 8)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF, 3, 8)
    raise BadPictureError("damaged", f"The WebP begins with an unknown chunk {kind!r}.")


def _webp_orientation(data: bytes) -> int:
    at = 12
    for _ in range(MAX_SEGMENTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return exif_orientation(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    return 1


def exif_orientation(tiff: bytes) -> int:
    """Orientation (1 to 8) in an EXIF block that starts with its TIFF header; 1 where it does not say or is damaged.

    Metadata that cannot be read never makes a picture unusable: viewers show such a picture as it lies, and so do we.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(min(entries, MAX_SEGMENTS)):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if tag == ORIENTATION_TAG:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _oriented(form: str, width: int, height: int, channels: int, bits: int, orientation: int) -> Header:
    if orientation >= 5:  # a quarter turn
        width, height = height, width
    return Header(form, width, height, channels, bits, orientation)
