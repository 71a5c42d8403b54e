"""Milliseconds of one core: of each degradation for a crop, of each decoder for a picture."""

import io
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.photos import Photos
from ipt_platform.data.degradations import DEGRADATIONS, Degradation
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.pairs import TaskDraw, draw_crop, with_context
from ipt_platform.data.rng import keyed_rng
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.task import task_names


def degradation_costs(photos: Photos, patch: int, crops: int) -> list[dict[str, Any]]:
    """Of every shipped task, and of every family with its own defaults: median and largest of `crops` crops, ms."""
    cv2.setNumThreads(1)
    pictures = [decode_rgb(path.read_bytes()) for path in photos.files[:: max(1, len(photos.files) // crops)][:crops]]
    rows = []
    for kind, name, degradation in _degradations():
        times = [_degrade(degradation, picture, patch, number) for number, picture in enumerate(pictures)]
        rows.append({"kind": kind, "name": name, "ms": statistics.median(times), "largest_ms": max(times)})
    return rows


def _degradations() -> Iterator[tuple[str, str, Degradation]]:
    for name in task_names():
        draw = draw_of(name, 1, {})
        if isinstance(draw, TaskDraw):
            yield "task", name, draw.degradation
    for name, family in DEGRADATIONS.items():
        yield "family", name, family()


def _degrade(degradation: Degradation, picture: np.ndarray, patch: int, number: int) -> float:
    """The faster of two times, in ms: what interrupts the first seldom interrupts the second. Drawing and applying count;
    cutting the crop out of the picture, which a task without damage needs too, does not.
    """
    crop = draw_crop(*picture.shape[:2], patch, keyed_rng(0, 0, number, degradation.name))
    times = []
    for _ in range(2):
        began = time.perf_counter()
        params = degradation.draw(keyed_rng(0, 0, number, degradation.name))
        reach = degradation.reach(params)
        drawn = time.perf_counter()
        pixels, frame = with_context(picture, crop, reach)
        context = np.divide(pixels, 255, dtype=np.float32)
        cut = time.perf_counter()
        degradation.apply(context, params, frame)
        times.append(1e3 * (time.perf_counter() - cut + drawn - began))
    return min(times)


Decoder = Callable[[bytes], np.ndarray]

DECODERS: dict[str, Decoder] = {
    "simplejpeg": lambda data: simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True),
    "opencv": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION),
    "pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
}

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 90, "method": 2}),
}


def decoder_costs(photos: Photos, repeats: int) -> list[dict[str, Any]]:
    """Of each decoder for a picture in each format: the fastest of some times, ms."""
    cv2.setNumThreads(1)
    pixels = Image.fromarray(decode_rgb(photos.files[0].read_bytes()))
    rows = []
    for name, (form, options) in FORMATS.items():
        buffer = io.BytesIO()
        pixels.save(buffer, form, **options)
        data = buffer.getvalue()
        able = {decoder: run for decoder, run in DECODERS.items() if form == "JPEG" or decoder != "simplejpeg"}
        costs = {decoder: min(_time(run, data) for _ in range(repeats)) for decoder, run in able.items()}
        rows.append({"pictures": photos.name, "format": name, **{decoder: costs.get(decoder) for decoder in DECODERS}})
    return rows


def _time(run: Decoder, data: bytes) -> float:
    began = time.perf_counter()
    run(data)
    return 1e3 * (time.perf_counter() - began)
