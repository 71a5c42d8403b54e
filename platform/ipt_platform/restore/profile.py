"""ICC profiles: taken out of a picture file and put into another, bytes to bytes; pixels are not touched.

Sources: PNG, ISO/IEC 15948, 11.3.3.3 (iCCP); JPEG, ICC.1:2022 annex B.4 (APP2 segments); WebP, RFC 9649, 2.7 (ICCP).
"""

import struct
import zlib
from collections.abc import Iterator

from ipt_platform.data.header import probe

MAX_PROFILE_BYTES = 16 << 20
HEADER_BYTES = 128
IS_GREY = {b"RGB ": False, b"GRAY": True}
JPEG_MARK = b"ICC_PROFILE\0"
JPEG_PART = 65_519  # what one segment of 65 535 bytes holds beside its length, the mark, and two counts
WEBP_HAS_PROFILE, WEBP_HAS_ALPHA = 0x20, 0x10


def usable_profile(data: bytes, form: str, grey: bool) -> bytes | None:
    """The ICC profile of an encoded picture, if it speaks of the colour space that the pixels are in; else None.

    Not so: the profile of a CMYK JPEG, whose pixels were converted; an RGB profile on a grey picture; a damaged one
    (ICC.1:2022, 7.2: size at byte 0, colour space at 16, signature at 36).

    Args:
        data: the encoded picture.
        form: "png", "jpeg" or "webp".
        grey: whether the pixels are grey.
    """
    profile = READERS[form](data)
    if profile is None or not HEADER_BYTES <= len(profile) <= MAX_PROFILE_BYTES:
        return None
    whole = struct.unpack_from(">I", profile)[0] == len(profile) and profile[36:40] == b"acsp"
    return profile if whole and IS_GREY.get(profile[16:20]) is grey else None


def with_profile(data: bytes, form: str, profile: bytes) -> bytes:
    """The encoded picture, which has no profile yet, with `profile` put in; `form` as in `usable_profile`."""
    return WRITERS[form](data, profile)


def png_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG that stand before its pixels, the first of each type."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"IDAT", b"IEND"):
            break
        chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 12 + length
    return chunks


def _from_png(data: bytes) -> bytes | None:
    # Name, zero, method 0, then a zlib stream, of which no more is unpacked than a profile may have.
    _, found, packed = png_chunks(data).get(b"iCCP", b"").partition(b"\0")
    if not found or packed[:1] != b"\0":
        return None
    try:
        return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None


def _into_png(data: bytes, profile: bytes) -> bytes:
    body = b"iCCP" + b"ICC Profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    after_ihdr = 33
    return data[:after_ihdr] + chunk + data[after_ihdr:]


def _from_jpeg(data: bytes) -> bytes | None:
    parts: dict[int, bytes] = {}
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, at)
        if marker in (0xD9, 0xDA):
            break
        body = data[at + 4 : at + 2 + length]
        if marker == 0xE2 and body.startswith(JPEG_MARK) and len(body) > len(JPEG_MARK) + 2:
            parts[body[len(JPEG_MARK)]] = body[len(JPEG_MARK) + 2 :]
        at += 2 + length
    return b"".join(parts[number] for number in sorted(parts)) or None


def _into_jpeg(data: bytes, profile: bytes) -> bytes:
    parts = [profile[at : at + JPEG_PART] for at in range(0, len(profile), JPEG_PART)]
    bodies = [JPEG_MARK + bytes((number, len(parts))) + part for number, part in enumerate(parts, 1)]
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    start = 2
    if data[2:4] == b"\xff\xe0":  # the JFIF segment insists on being the first
        start = 4 + struct.unpack_from(">H", data, 4)[0]
    return data[:start] + segments + data[start:]


def _from_webp(data: bytes) -> bytes | None:
    return next((body for kind, body in _webp_chunks(data) if kind == b"ICCP"), None)


def _into_webp(data: bytes, profile: bytes) -> bytes:
    chunks = list(_webp_chunks(data))
    if chunks[0][0] == b"VP8X":
        extended, chunks = bytearray(chunks[0][1]), chunks[1:]
        extended[0] |= WEBP_HAS_PROFILE
    else:
        header = probe(data)
        flags = WEBP_HAS_PROFILE | (WEBP_HAS_ALPHA if header.channels == 4 else 0)
        sides = b"".join((side - 1).to_bytes(3, "little") for side in (header.width, header.height))
        extended = bytearray(bytes((flags, 0, 0, 0)) + sides)
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
        for kind, part in [(b"VP8X", bytes(extended)), (b"ICCP", profile), *chunks]
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


READERS = {"png": _from_png, "jpeg": _from_jpeg, "webp": _from_webp}
WRITERS = {"png": _into_png, "jpeg": _into_jpeg, "webp": _into_webp}
