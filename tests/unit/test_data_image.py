"""Headers and pixels, against Pillow as the second implementation."""

import io
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from ipt_platform.data.header import exif_orientation, is_cut_off, probe
from ipt_platform.data.image import decode_rgb, encode_png, orient, to_uint8
from ipt_platform.errors import BadPictureError, DataError


def photo(height=37, width=53, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def encoded(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def by_pillow(data):
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


LOSSLESS = {
    "png rgb": ("PNG", "RGB", {}),
    "png grey": ("PNG", "L", {}),
    "png grey alpha": ("PNG", "LA", {}),
    "png rgba": ("PNG", "RGBA", {}),
    "png palette": ("PNG", "P", {}),
    "png one bit": ("PNG", "1", {}),
    "webp lossless": ("WEBP", "RGB", {"lossless": True}),
    "webp lossless alpha": ("WEBP", "RGBA", {"lossless": True, "exact": True}),
}
LOSSY = {
    "jpeg": ("JPEG", "RGB", {"quality": 90}),
    "jpeg progressive": ("JPEG", "RGB", {"quality": 90, "progressive": True}),
    "jpeg 4:4:4": ("JPEG", "RGB", {"quality": 90, "subsampling": 0}),
    "jpeg grey": ("JPEG", "L", {"quality": 90}),
    "jpeg cmyk": ("JPEG", "CMYK", {"quality": 90}),
    "webp": ("WEBP", "RGB", {"quality": 80}),
    "webp alpha": ("WEBP", "RGBA", {"quality": 80}),
}


def make(form, mode, options, orientation=1):
    picture = Image.fromarray(photo()).convert(mode)
    if picture.mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(photo(seed=1)[:, :, 0] // 2 + 100))
    more = {"exif": exif(orientation)} if orientation != 1 else {}
    return encoded(picture, form, **options, **more)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_pictures_look_as_pillow_shows_them(kind, orientation):
    form, mode, options = {**LOSSLESS, **LOSSY}[kind]
    data = make(form, mode, options, orientation)
    expected = by_pillow(data)
    expected_pixels = np.asarray(expected.convert("RGB")).astype(int)
    header = probe(data)
    pixels = decode_rgb(data)

    assert (header.format, header.width, header.height) == (form.lower(), expected.width, expected.height)
    assert (header.bits, header.orientation) == (1 if mode == "1" else 8, orientation)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.shape == (expected.height, expected.width, 3)
    assert np.abs(pixels - expected_pixels).max() <= (0 if kind in LOSSLESS else 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_rounded_to_eight(channels):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    _, buffer = cv2.imencode(".png", deep)
    data = buffer.tobytes()
    colours = np.repeat(deep, 3, axis=2) if channels == 1 else deep[:, :, 2::-1]  # OpenCV writes blue first

    assert probe(data).bits == 16
    assert np.array_equal(decode_rgb(data), np.rint(colours.astype(np.float64) * 255 / 65535).astype(np.uint8))


def test_every_sixteen_bit_level_goes_to_the_nearest_eight_bit_level():
    levels = np.arange(65536, dtype=np.uint16)

    assert np.array_equal(to_uint8(levels), np.rint(levels * (255 / 65535)).astype(np.uint8))


def test_channels_are_counted_without_decoding():
    kinds = {"png rgb": 3, "png grey": 1, "png grey alpha": 2, "png rgba": 4, "jpeg": 3, "jpeg grey": 1, "jpeg cmyk": 4}
    kinds |= {"webp": 3, "webp alpha": 4, "webp lossless alpha": 4}

    assert {kind: probe(make(*{**LOSSLESS, **LOSSY}[kind])).channels for kind in kinds} == kinds


def test_png_round_trip_and_orientations_are_exact():
    pixels = photo()

    assert np.array_equal(decode_rgb(encode_png(pixels)), pixels)
    assert np.array_equal(orient(pixels, 6), np.rot90(pixels, -1))
    assert np.array_equal(orient(pixels, 8), np.rot90(pixels))


@pytest.mark.parametrize("kind", ["png rgb", "webp lossless", "jpeg", "jpeg progressive", "jpeg cmyk", "webp"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.98])
def test_a_picture_that_is_cut_off_is_refused_and_never_half_grey(kind, kept):
    data = make(*{**LOSSLESS, **LOSSY}[kind])

    with pytest.raises(DataError):
        decode_rgb(data[: int(len(data) * kept)])


def test_damaged_png_pixels_are_refused():
    data = bytearray(make(*LOSSLESS["png rgb"]))
    data[len(data) // 2] ^= 0xFF

    with pytest.raises(BadPictureError, match="png does not decode") as caught:
        decode_rgb(bytes(data))
    assert caught.value.kind == "damaged"


def test_bytes_after_the_end_of_a_picture_do_no_harm():
    for kind in ("jpeg", "png rgb"):
        data = make(*{**LOSSLESS, **LOSSY}[kind])

        assert np.array_equal(decode_rgb(data + b"trailing"), decode_rgb(data))


def png_claiming(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_a_header_of_huge_dimensions_is_refused_before_anything_is_decoded():
    with pytest.raises(DataError, match=r"says 100000x100000 pixels; at most 200000000"):
        decode_rgb(png_claiming(100_000, 100_000))
    with pytest.raises(DataError, match="says 16383x16383"):
        probe(b"RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f" + struct.pack("<I", 16382 | 16382 << 14))
    with pytest.raises(DataError, match="says 65535x65535"):
        probe(b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03")
    with pytest.raises(DataError, match="at most 1000 are"):
        decode_rgb(make(*LOSSY["jpeg"]), max_pixels=1000)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", "cut-off", "is empty"),
        (b"hello world", "other-format", r"WebP picture \(it starts with b'hello wo'"),
        (b"GIF89a\x01\x00\x01\x00", "other-format", "Not a PNG, JPEG or WebP picture but a GIF"),
        (b"\x00\x00\x00\x18ftypheic", "other-format", "but a HEIC or AVIF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "cut-off", "cut off after 10 bytes"),
        (b"\xff\xd8\xff\xd9\x00\x04", "damaged", "no frame header"),
        (b"\xff\xd8\xff\xd9", "cut-off", "cut off after 4 bytes"),
        (b"\xff\xd8\xff\xe0\x00\x04ab\x00\x00", "damaged", "no marker at byte 8"),
        (b"\xff\xd8\xff\xc3\x00\x11\x08\x00\x01\x00\x01\x03", "other-format", "process 0xc3"),
        (b"\xff\xd8\xff\xc1\x00\x11\x0c\x00\x01\x00\x01\x03", "other-format", "12 bits"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "cut-off", "cut off"),
        (b"RIFF\x00\x00\x00\x00WEBPJUNK", "damaged", "unknown chunk b'JUNK'"),
        (png_claiming(0, 5), "damaged", "says 0x5 pixels"),
        (png_claiming(50_000, 50_000), "too-large", "says 50000x50000 pixels; at most 200000000"),
    ],
)
def test_what_is_not_a_picture_says_what_was_found(data, kind, says):
    with pytest.raises(BadPictureError, match=says) as caught:
        probe(data)
    assert caught.value.kind == kind


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_what_ends_too_early_is_told_from_what_is_damaged_within(kind):
    whole = make(*{**LOSSLESS, **LOSSY}[kind])

    with pytest.raises(BadPictureError) as cut:
        decode_rgb(whole[: len(whole) * 3 // 4])

    assert cut.value.kind == "cut-off"
    assert pickle.loads(pickle.dumps(cut.value)).kind == "cut-off"
    assert not is_cut_off(whole, probe(whole).format)


def test_animations_are_refused():
    frames = [Image.fromarray(photo(seed=seed)) for seed in (0, 1)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])

    with pytest.raises(DataError, match="animation"):
        decode_rgb(data)


def test_a_header_that_contradicts_the_pixels_is_refused():
    data = bytearray(make(*LOSSY["webp alpha"]))
    data[24:27] = (10).to_bytes(3, "little")  # the canvas of the VP8X chunk

    with pytest.raises(DataError):
        decode_rgb(bytes(data))


@pytest.mark.parametrize(
    "block", [b"", b"II", b"MM\0*\0\0\0\x08", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x09\0" + b"x" * 20]
)
def test_damaged_metadata_never_makes_a_picture_unusable(block):
    assert exif_orientation(block) == 1
