"""Every kind of odd picture, as real bytes, and tars of them as somebody else's programs write them."""

import hashlib
import io
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.cli.main import app
from ipt_platform.data.bad import Bad
from ipt_platform.data.index import MemberEntry, ShardIndex, write_index

PATCH = 32
TEN_GB = 10 << 30


def noise(seed: int, height: int = 40, width: int = 48, channels: int = 3) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 7, channels), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)).reshape(height, width, channels)


def encoded(pixels: np.ndarray, form: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def deep(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 65536, (40, 48, 3), dtype=np.uint16)
    return cv2.imencode(".png", pixels)[1].tobytes()


def torn(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def hurt(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 9]) + data[middle + 9 :]


HANDLED = {
    "cmyk.jpg": encoded(noise(1), "JPEG", "CMYK"),
    "deep.png": deep(2),
    "grey.png": encoded(noise(3), mode="L"),
    "veil.png": encoded(noise(4), mode="LA"),
    "alpha.png": encoded(noise(5), mode="RGBA"),
    "palette.png": encoded(noise(6), mode="P"),
    "pixel.png": encoded(noise(7, 1, 1)),
    "line.png": encoded(noise(8, 1, 60)),
    "small.png": encoded(noise(9, PATCH - 9, PATCH - 15)),
    "plain.webp": encoded(noise(10), "WEBP"),
}
"""What a photographer expects to be used."""

FAULTY = {
    "half.jpg": ("cut-off", torn(encoded(noise(11), "JPEG", quality=95))),
    "torn.png": ("cut-off", torn(encoded(noise(12)))),
    "empty.png": ("cut-off", b""),
    "hurt.png": ("damaged", hurt(encoded(noise(13)))),
    "huge.png": ("too-large", png_claiming(50_000, 50_000)),
    "gif.jpg": ("other-format", encoded(noise(14), "GIF")),
    "page.jpg": ("other-format", b"<html>404 Not Found</html>"),
}
"""What cannot be used, and how it is counted."""

BY_HEADER = {"empty.png", "huge.png", "gif.jpg", "page.jpg"}
"""What needs no decoding to be found out."""


@dataclass
class Tar:
    """A tar of members as somebody else's program wrote them."""

    path: Path

    def write(self, members: dict[str, bytes], links: tuple[str, ...] = ()) -> Path:
        with tarfile.open(self.path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for name in links:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, next(iter(members))
                tar.addfile(info)
        return self.path


def kinds(found: list[Bad]) -> dict[str, str]:
    return {Path(bad.name).name: bad.kind for bad in found}


EVERYTHING = {**HANDLED, **{name: data for name, (_, data) in FAULTY.items()}}
KINDS = {name: kind for name, (kind, _) in FAULTY.items()}


def by_hand(tar: Path, names: set[str] | None = None) -> Path:
    """An index that somebody else's program made, which looked at nothing."""
    members = []
    with tarfile.open(tar) as file:
        for info in file:
            if names is None or info.name in names:
                data = (file.extractfile(info) or io.BytesIO()).read()
                entry = {"name": info.name, "offset": info.offset_data, "size": info.size}
                digest = hashlib.sha256(data).hexdigest()
                members.append(
                    MemberEntry(key=info.name.replace(".", "_"), width=48, height=40, sha256=digest, **entry)  # pyright: ignore
                )
    write_index(tar, ShardIndex(shard=tar.name, bytes=tar.stat().st_size, members=members))
    return tar


def run(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
