import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageCms, ImageOps

from ipt_platform.errors import DataError
from ipt_platform.restore.imageio import Picture, decode_picture, encode_picture, read_picture

RGB = skimage.data.chelsea()[:61, :83]
RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(pixels: np.ndarray | Image.Image, form: str, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(samples: np.ndarray, colour: int, bits: int, before_pixels: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow cannot write; `samples` [H, W, C], or packed rows of bytes for few bits."""
    height, width = samples.shape[:2]
    kind = ">u2" if bits == 16 else "u1"
    rows = b"".join(b"\0" + row.astype(kind).tobytes() for row in samples)
    if bits < 8:
        width = width * 8 // bits
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + before_pixels + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def read_png(data: bytes) -> tuple[int, int, np.ndarray]:
    """(bit depth, colour type, samples [H, W, C]) of a PNG whose rows may be filtered, read without any image library."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    packed, at = b"", 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        packed += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    pixel, stride = channels * bits // 8, width * channels * bits // 8
    raw, rows, above = zlib.decompress(packed), [], bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        for x in range(stride):
            a, b = line[x - pixel] if x >= pixel else 0, above[x]
            c = above[x - pixel] if x >= pixel else 0
            line[x] = line[x] + predict(raw[start], a, b, c) & 0xFF
        rows.append(bytes(line))
        above = line
    samples = np.frombuffer(b"".join(rows), ">u2" if bits == 16 else "u1")
    return bits, colour, samples.reshape(height, width, channels).astype(int)


def predict(method: int, a: int, b: int, c: int) -> int:
    nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
    return (0, a, b, (a + b) // 2, nearest)[method]


def test_a_colour_png_comes_back_bit_for_bit():
    picture = decode_picture(encoded(RGB, "PNG"))

    assert (picture.bits, picture.grey, picture.alpha, picture.icc) == (8, False, None, None)
    assert picture.rgb.dtype == np.float32
    np.testing.assert_array_equal(picture.rgb, RGB.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_picture(picture, ".png")))), RGB)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_come_back_bit_for_bit(colour, channels):
    samples = RNG.integers(0, 65536, (9, 13, channels))

    picture = decode_picture(png(samples, colour, 16))
    bits, colour_out, out = read_png(encode_picture(picture, ".PNG"))

    assert picture.bits == bits == 16
    assert picture.grey == (channels <= 2)
    if channels == 2:  # grey with alpha comes back as the same picture in colour with alpha
        assert colour_out == 6
        out = out[..., [0, 3]]
    else:
        assert colour_out == colour
    np.testing.assert_array_equal(out, samples)


def test_sixteen_bits_are_used_in_between_too():
    samples = np.full((4, 4, 3), 1000)
    picture = decode_picture(png(samples, 2, 16))

    out = read_png(encode_picture(picture.with_rgb(picture.rgb + np.float32(3 / 65535)), ".png"))[2]

    assert (out == 1003).all()


def test_grey_stays_grey_and_becomes_three_equal_channels_for_the_model():
    grey = RGB[..., 0]

    for form, suffix in (("PNG", ".png"), ("JPEG", ".jpg")):
        picture = decode_picture(encoded(grey, form, **({"quality": 100} if form == "JPEG" else {})))
        assert picture.grey
        assert (np.ptp(picture.rgb, axis=2) == 0).all()
        out = Image.open(io.BytesIO(encode_picture(picture, suffix)))
        assert out.mode == "L"
        difference = np.abs(np.asarray(out).astype(int) - grey)
        assert difference.max() <= (0 if form == "PNG" else 12)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_alpha_is_kept_untouched_and_colours_under_it_are_not_mixed(form):
    alpha = RNG.integers(0, 256, RGB.shape[:2], np.uint8)
    lossless = {"lossless": True, "exact": True} if form == "WEBP" else {}
    picture = decode_picture(encoded(np.dstack([RGB, alpha]), form, **lossless))

    np.testing.assert_array_equal(picture.alpha, alpha)
    np.testing.assert_array_equal(np.rint(picture.rgb * 255), RGB)
    inverted = encode_picture(picture.with_rgb(1 - picture.rgb), f".{form.lower()}")
    out = np.asarray(Image.open(io.BytesIO(inverted)))
    np.testing.assert_array_equal(out[..., 3], alpha)
    if form == "PNG":
        np.testing.assert_array_equal(out[..., :3], 255 - RGB)


def test_a_palette_becomes_colours_and_its_transparency_alpha():
    image = Image.fromarray(RGB).quantize(16)
    plain, see_through = encoded(image, "PNG"), encoded(image, "PNG", transparency=3)

    np.testing.assert_array_equal(np.rint(decode_picture(plain).rgb * 255), np.asarray(image.convert("RGB")))
    assert decode_picture(plain).alpha is None
    expected = np.where(np.asarray(image) == 3, 0, 255)
    np.testing.assert_array_equal(decode_picture(see_through).alpha, expected)


@pytest.mark.parametrize(("bits", "transparent"), [(2, 2), (8, 7), (16, 7)])
def test_one_transparent_value_of_a_grey_png_becomes_alpha(bits, transparent):
    if bits == 2:
        samples, expected = np.array([[[0b00011011]]]), [[255, 255, 0, 255]]
    else:
        samples, expected = np.array([[[7], [8]]]), [[0, 2**bits - 1]]

    picture = decode_picture(png(samples, 0, bits, chunk(b"tRNS", struct.pack(">H", transparent))))

    assert picture.alpha is not None
    assert picture.alpha.tolist() == expected


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_and_the_output_needs_no_tag(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}[form]
    rgba = form != "JPEG"
    source = np.dstack([RGB, RNG.integers(0, 256, RGB.shape[:2], np.uint8)]) if rgba else RGB
    data = encoded(source, form, exif=exif, **lossless)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    picture = decode_picture(data)
    out = Image.open(io.BytesIO(encode_picture(picture, ".png")))

    assert not out.getexif()
    shown = np.asarray(upright)
    if rgba:
        np.testing.assert_array_equal(np.asarray(out)[..., 3], shown[..., 3])
        visible = shown[..., 3] > 0
        np.testing.assert_array_equal(np.asarray(out)[visible], shown[visible])
    else:
        assert np.abs(np.asarray(out).astype(int) - shown).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("kind", ["small", "large", "with alpha"])
def test_the_profile_comes_along(form, kind):
    profile = SRGB
    if kind == "large":
        profile = SRGB + RNG.bytes(150_000)
        profile = struct.pack(">I", len(profile)) + profile[4:]
    pixels = np.dstack([RGB, RGB[..., 0]]) if kind == "with alpha" and form != "JPEG" else RGB

    picture = decode_picture(encoded(pixels, form, icc_profile=profile))
    out = Image.open(io.BytesIO(encode_picture(picture, f".{form.lower()}")))

    assert picture.icc == profile
    assert out.info["icc_profile"] == profile
    out.load()
    assert out.size == (83, 61)
    assert out.mode == ("RGBA" if pixels.shape[2] == 4 else "RGB")


def test_a_profile_of_another_colour_space_or_a_damaged_one_is_left_behind():
    grey_with_rgb_profile = encoded(RGB[..., 0], "PNG", icc_profile=SRGB)
    cmyk = encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", icc_profile=SRGB[:16] + b"CMYK" + SRGB[20:])
    damaged = encoded(RGB, "JPEG", icc_profile=SRGB[:-1])

    for data in (grey_with_rgb_profile, cmyk, damaged):
        assert decode_picture(data).icc is None


def test_jpeg_and_webp_are_written_at_high_quality():
    picture = decode_picture(encoded(RGB, "PNG"))

    for suffix in (".jpg", ".JPEG", ".webp"):
        data = encode_picture(picture, suffix)
        out = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
        assert np.sqrt(np.mean((out - RGB) ** 2)) < 5, suffix
        assert len(data) < RGB.size


def test_what_a_format_cannot_hold_is_refused_by_name():
    deep = Picture(np.zeros((2, 2, 3), np.float32), bits=16)
    clear = Picture(np.zeros((2, 2, 3), np.float32), alpha=np.zeros((2, 2), np.uint8))

    for picture, suffix, message in (
        (deep, ".jpg", "16 bits"),
        (deep, ".webp", "16 bits"),
        (clear, ".jpeg", "alpha"),
        (clear, ".tiff", "expected one of"),
        (clear, "", "without suffix"),
    ):
        with pytest.raises(DataError, match=message):
            encode_picture(picture, suffix)


def test_values_outside_the_range_are_clipped():
    picture = Picture(np.array([[[-0.5, 0.5, 1.5]]], np.float32))

    out = np.asarray(Image.open(io.BytesIO(encode_picture(picture, ".png"))))

    assert out.tolist() == [[[0, 128, 255]]]


def test_bad_files_are_refused_with_a_reason(tmp_path: Path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    cases = {
        "empty": b"",
        "text": b"not a picture",
        "gif": encoded(RGB, "GIF"),
        "cut png": half(encoded(RGB, "PNG")),
        "cut jpeg": half(encoded(RGB, "JPEG")),
        "cut webp": half(encoded(RGB, "WEBP")),
        "animated png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "animated webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    }

    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError) as caught:
            read_picture(tmp_path / name)
        assert not name.startswith("animated") or "animation" in str(caught.value)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]
