"""Whatever bytes come: a header, a picture, or a DataError, and nothing else."""

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ipt_platform.data.header import exif_orientation, probe
from ipt_platform.data.image import decode_rgb
from ipt_platform.errors import DataError


def encoded(form, **options):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    ramp = np.linspace(0, 255, 24 * 16 * 3).astype(np.uint8).reshape(24, 16, 3)
    Image.fromarray(ramp).save(buffer, form, exif=exif, **options)
    return buffer.getvalue()


SEEDS = [encoded("PNG"), encoded("JPEG"), encoded("WEBP"), encoded("WEBP", lossless=True)]


def outcome(function, data):
    try:
        return function(data)
    except DataError:
        return None


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=300)
def test_damaged_pictures_decode_as_announced_or_are_refused(seed, data):
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(0, len(damaged)))]) if data.draw(st.booleans()) else bytes(damaged)
    header = outcome(lambda given: probe(given, max_pixels=10_000), damaged)
    pixels = outcome(lambda given: decode_rgb(given, max_pixels=10_000), damaged)

    assert pixels is None or pixels.shape == (header.height, header.width, 3)
    assert header is None or header.width * header.height <= 10_000


@given(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X"]), st.binary(max_size=200))
@settings(max_examples=300)
def test_random_bytes_are_a_header_or_refused(start, rest):
    header = outcome(probe, start + rest)

    assert header is None or (header.width > 0 and header.height > 0)


@given(st.sampled_from([b"II*\0", b"MM\0*", b""]), st.binary(max_size=100))
@settings(max_examples=300)
def test_random_metadata_is_an_orientation(start, rest):
    assert exif_orientation(start + rest) in range(1, 9)
