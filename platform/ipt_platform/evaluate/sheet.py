"""A contact sheet: pairs side by side, degraded | clean, each above its task and the parameters that made it."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ipt_platform.evaluate.preview import Shown
from ipt_platform.evaluate.protocols import to_uint8
from ipt_platform.evaluate.triptych import INK, PAPER

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

GAP = 2
MARGIN = 12
FONT_SIZE = 13
LINE = 17
LINES = 3
FAINT = (165, 165, 165)
SHAPE = 1.5
"""Width over height that a sheet comes near where it may choose its columns."""
LEGIBLE = 96
"""Smaller pictures are shown enlarged, pixel by pixel, or their captions would have no room."""


def contact_sheet(pairs: Sequence[Shown], columns: int | None = None) -> bytes:
    """Draw pairs of one patch size and encode them as PNG.

    Args:
        pairs: In the order of reading.
        columns: Pairs beside each other; None for what gives the sheet a good shape.
    """
    font = ImageFont.load_default(FONT_SIZE)
    pixels = [np.hstack([to_uint8(pair.degraded), _gap(pair.clean), pair.clean]) for pair in pairs]
    pictures = [_enlarged(each, pairs[0].clean.shape[0]) for each in pixels]
    height, width = pictures[0].shape[:2]
    columns = min(columns or _columns(len(pairs), width, height + LINES * LINE), len(pairs))
    texts = [_text(pair, font, width) for pair in pairs]
    rows = [range(start, min(start + columns, len(pairs))) for start in range(0, len(pairs), columns)]
    tops = [MARGIN]
    for row in rows:
        tops.append(tops[-1] + height + max(len(texts[i]) for i in row) + MARGIN)
    sheet = np.full((tops[-1], MARGIN + (width + MARGIN) * columns, 3), PAPER, np.uint8)
    for row, top in zip(rows, tops, strict=False):
        for column, i in enumerate(row):
            left = MARGIN + column * (width + MARGIN)
            sheet[top : top + height, left : left + width] = pictures[i]
            sheet[top + height : top + height + len(texts[i]), left : left + width] = texts[i]
    small = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
    ok, buffer = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), small)
    assert ok
    return buffer.tobytes()


def caption(params: Mapping[str, Any], brief: bool = False) -> str:
    """The parameters of a degradation in a few words: `sigma 12.3, angle -25`; of several, step by step.

    Keys of generators and empty lists say nothing to people and are left out; lists of more than four numbers are counted.

    Args:
        params: What `Degradation.draw` drew.
        brief: Of steps, say the names alone.
    """
    if "steps" in params:
        told = [step for step in params["steps"] if step["params"] is not None]
        return " > ".join(_step(step, brief) for step in told) or "nothing"
    if {"choice", "name", "params"} <= params.keys():
        return _step(params, brief)
    return ", ".join(_words(params))


def _step(step: Mapping[str, Any], brief: bool) -> str:
    if step["params"] is None:
        return "nothing"
    nested = {"steps", "choice"} & step["params"].keys()
    inner = caption(step["params"], brief) if nested or not brief else ""
    return f"{step['name']} ({inner})" if inner else step["name"]


def _words(params: Mapping[str, Any]) -> Iterator[str]:
    for key, value in params.items():
        if key == "key":
            continue
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            inner = caption(value)
            yield f"{name} ({inner})" if inner else name
        elif isinstance(value, list) and value:
            plain = len(value) <= 4 and all(isinstance(each, int | float) for each in value)
            yield f"{name} {' '.join(map(_number, value))}" if plain else f"{len(value)} {name}"
        elif not isinstance(value, list):
            yield f"{name} {_number(value)}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _gap(picture: np.ndarray) -> np.ndarray:
    return np.full((len(picture), GAP, 3), PAPER, np.uint8)


def _enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    times = -(-LEGIBLE // side)
    return picture.repeat(times, 0).repeat(times, 1)


def _text(pair: Shown, font: Font, width: int) -> np.ndarray:
    """The caption of a pair, drawn: uint8 [height, width, 3]; the task stands out."""
    lines = caption_lines(pair, font, width)
    image = Image.new("RGB", (width, 4 + LINE * len(lines)), PAPER)
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        head = line[: len(pair.task)] if number == 0 else ""
        pen.text((0, 4 + LINE * number), head, INK, font)
        pen.text((font.getlength(head), 4 + LINE * number), line[len(head) :], FAINT, font)
    return np.asarray(image)


def caption_lines(pair: Shown, font: Font, width: int) -> list[str]:
    """The task and the parameters of a pair in at most `LINES` lines that fit into `width` pixels.

    Where the parameters of all steps are too much their names must do; and what is too much even so ends in dots.
    """
    params = pair.params["degradation"]
    lines = _broken(pair.task, caption(params), font, width)
    if len(lines) > LINES:
        lines = _broken(pair.task, caption(params, brief=True), font, width)
    if len(lines) > LINES:
        lines[LINES - 1 :] = [f"{lines[LINES - 1]} ..."]
    return [_cut(line, font, width) for line in lines]


def _broken(task: str, text: str, font: Font, width: int) -> list[str]:
    lines = [f"{task} "]
    for part in re.split(r"(?<=[,>]) ", text):  # a name and its number stay together
        for word in [part] if font.getlength(part) <= width else part.split(" "):
            if font.getlength(f"{lines[-1]} {word}") <= width:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
    return [line.rstrip() for line in lines]


def _cut(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line.rstrip(' .')}..."


def _columns(count: int, width: int, height: int) -> int:
    """Columns of equal cells that bring the sheet nearest to its shape, without a nearly empty last row where possible."""

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = columns * width / (rows * height)
        return abs(math.log(shape / SHAPE)) + (rows * columns - count) / (2 * count)

    return min(range(1, count + 1), key=badness)
