"""Lost pixels: holes drawn by a brush, scratches or letters, and margins cut off; the damage of inpaint and outpaint.

Both lie on the array that is degraded, not on the picture it was cut from: so every crop has something lost and something
kept, as every test picture has, and the share of it is the one that was drawn.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationInfo, field_validator

from ipt_platform.data.degradations.base import (
    Degradation,
    Draw,
    Params,
    Picture,
    constant,
    draw_key,
    keyed,
    uniform,
    whole,
    within,
)
from ipt_platform.data.degradations.frame import Frame

Fill = Literal["black", "grey", "white", "noise"]

LEVELS = {"black": 0.0, "grey": 128 / 255, "white": 1.0}
"""Value of what is lost, in all channels: one that a file of 8 bits can hold. Noise is uniform in [0, 1)."""

Mask = NDArray[np.bool_]
"""bool [H, W], true where pixels are lost."""

_BITS = 4
"""OpenCV is told where lines end in pixels / 2^4."""

_FONT_HEIGHT = 21.0
"""Height in pixels of a capital letter of OpenCV's fonts at scale 1."""

_SMALLEST = 6
"""Height in pixels below which letters become specks, or nothing."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,!?-"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _each_once(fills: tuple[str, ...]) -> tuple[str, ...]:
    if not fills or len({*fills}) < len(fills):
        raise ValueError(f"expected one or more of {', '.join(get_args(Fill))}, each once")
    return fills


Fills = Annotated[
    tuple[Fill, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=Fill | tuple[Fill, ...]),
    AfterValidator(_each_once),
    PlainSerializer(lambda fills: fills[0] if len(fills) == 1 else list(fills)),
]
"""A word, or several of which each pair gets one."""


class Inpaint(Degradation):
    """y = x outside a mask M, and a fill inside it; M is made of marks, one over the other, until it covers its share.

    A brush mark is a free-form stroke: round-ended segments that leave a heading to and fro (Yu et al., "Free-Form Image
    Inpainting with Gated Convolution", ICCV 2019: 4 to 12 vertices, angles of 2 pi / 5 +- 2 pi / 15 and, in pictures of 256
    pixels, widths of 12 to 40 and lengths about 45). Long, thin and straight strokes are scratches. A mark of letters is a
    word printed over the picture. The last mark ends where the share is reached, so the share is exact.
    """

    name: ClassVar[str] = "inpaint"

    share: Annotated[Draw, within(0, 0.9)] = uniform(0.05, 0.35)
    """Share of the pixels that is lost; 0 is none."""
    marks: Literal["brush", "letters"] = "brush"
    """What covers the picture; `length` and `angle` are without effect on letters."""
    width: Annotated[Draw, within(1, 200)] = uniform(8, 28)
    """Width in pixels of a brush stroke; of letters, their height."""
    length: Annotated[Draw, within(4, 1000)] = uniform(16, 60)
    """Typical length in pixels of a segment of a stroke."""
    angle: Annotated[Draw, within(0, 135)] = constant(72)
    """By how many degrees, give or take a third, segments leave the heading; near 0 for scratches."""
    vertices: Annotated[Draw, whole, within(1, 100)] = Draw(choices=(4, 6, 8, 10, 12))
    """Segments of a stroke, or letters of a word."""
    fill: Fills = ("black",)
    """What lost pixels show: black, grey, white or noise; of a list, each pair gets one."""

    @field_validator("width")
    @classmethod
    def _legible(cls, width: Draw, info: ValidationInfo) -> Draw:
        if info.data.get("marks") == "letters" and width.low < _SMALLEST:
            raise ValueError(f"letters cannot be drawn less than {_SMALLEST} pixels high, found {width.low:g}")
        return width

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the share, the shape of the marks, the fill and the key of the places."""
        fields = ("share", "width", "length", "angle", "vertices")
        drawn = {field: getattr(self, field).sample(rng) for field in fields}
        return {**drawn, "fill": _draw_fill(self.fill, rng), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Lose what the marks cover."""
        rng = keyed(params["key"])
        mask = strewn(clean.shape[0], clean.shape[1], params, MARKS[self.marks], rng)
        return lose(clean, mask, params["fill"], rng)


class Outpaint(Degradation):
    """y = x inside a box and a fill outside it: one to four sides of the picture are lost.

    With four sides of equal shares it is the centre box of UniControl (Qin et al., NeurIPS 2023), the outpainting task of
    Instruct-IPT.
    """

    name: ClassVar[str] = "outpaint"

    share: Annotated[Draw, within(0, 0.45)] = uniform(0.05, 0.3)
    """Share of the height (or width) that is lost at each side that loses, drawn for each; 0 is none."""
    sides: Annotated[Draw, whole, within(1, 4)] = Draw(choices=(1, 2, 3, 4))
    """How many sides lose; which ones is random."""
    equal: bool = False
    """Draw one share for all sides that lose."""
    fill: Fills = ("black",)
    """What lost pixels show: black, grey, white or noise; of a list, each pair gets one."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the shares of the four sides, the fill and the key of its noise."""
        sides = ("top", "bottom", "left", "right")
        losing = rng.permutation(4)[: int(self.sides.sample(rng))]
        shares = [self.share.sample(rng) for _ in losing]
        lost = {sides[side]: shares[0 if self.equal else place] for place, side in enumerate(losing)}
        return {**{side: lost.get(side, 0.0) for side in sides}, "fill": _draw_fill(self.fill, rng), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Lose what lies outside the box."""
        height, width = clean.shape[:2]
        mask = np.ones((height, width), bool)
        top, bottom = int(params["top"] * height), int(params["bottom"] * height)
        left, right = int(params["left"] * width), int(params["right"] * width)
        mask[top : height - bottom, left : width - right] = False
        return lose(clean, mask, params["fill"], keyed(params["key"]))


class Mark(NamedTuple):
    """Something to draw.

    Attributes:
        height: Rows that it may touch.
        width: Columns that it may touch.
        begin: Row and column where it begins.
        paint: `paint(canvas, top, left)` draws it in ones on a [H, W] uint8 array of which (top, left) is the first pixel.
    """

    height: int
    width: int
    begin: tuple[float, float]
    paint: Callable[[NDArray[np.uint8], int, int], object]


def strewn(
    height: int, width: int, params: Params, mark: Callable[[Params, np.random.Generator], Mark], rng: np.random.Generator
) -> Mask:
    """Draw marks, one over the other, until they cover their share.

    Args:
        height: rows.
        width: columns.
        params: what `Inpaint.draw` returned.
        mark: gives the next mark for the parameters and the generator.
        rng: draws the marks and their places.

    Returns:
        [height, width] bool; round(share * height * width) are true.
    """
    mask = np.zeros((height, width), np.uint8)
    missing = round(params["share"] * height * width)
    while missing > 0:
        drawn = mark(params, rng)
        # Anywhere where it touches the picture, so borders are covered as often as the middle is.
        top, left = int(rng.integers(1 - drawn.height, height)), int(rng.integers(1 - drawn.width, width))
        first_row, first_column = max(0, top), max(0, left)
        here = mask[first_row : top + drawn.height, first_column : left + drawn.width]
        before = here.copy()
        drawn.paint(here, first_row - top, first_column - left)
        new = cv2.countNonZero(here) - cv2.countNonZero(before)
        if new > missing:
            _keep_nearest(here, before, missing, drawn.begin[0] + top - first_row, drawn.begin[1] + left - first_column)
        missing -= new
    return mask.astype(bool)


def stroke(params: Params, rng: np.random.Generator) -> Mark:
    """A brush stroke: segments that leave a random heading to one side and the other in turn."""
    segments, width = int(params["vertices"]), round(params["width"])
    side = np.where(np.arange(segments) % 2, 1.0, -1.0)
    turn = np.deg2rad(params["angle"]) * rng.uniform(2 / 3, 4 / 3, segments) * side
    heading = rng.uniform(0, 2 * np.pi) + turn
    lengths = params["length"] * np.clip(1 + 0.5 * rng.standard_normal(segments), 0, 2)
    points = np.zeros((segments + 1, 2))
    np.cumsum(np.stack((np.cos(heading), np.sin(heading)), axis=1) * lengths[:, None], axis=0, out=points[1:])
    reach = width // 2 + 2
    points += reach - points.min(axis=0)
    columns, rows = np.ceil(points.max(axis=0)).astype(int) + reach
    # OpenCV draws a line of thickness t about t + 1 wide, but for the thinnest.
    thickness = width if width < 3 else width - 1

    def paint(canvas: NDArray[np.uint8], row: int, column: int) -> None:
        fixed = np.rint((points - (column, row)) * 2**_BITS).astype(np.int32)
        cv2.polylines(canvas, [fixed], isClosed=False, color=1, thickness=thickness, shift=_BITS)

    return Mark(int(rows), int(columns), (points[0, 1], points[0, 0]), paint)


def word(params: Params, rng: np.random.Generator) -> Mark:
    """A word of random letters in one of OpenCV's fonts, upright."""
    text = "".join(_LETTERS[int(letter)] for letter in rng.integers(len(_LETTERS), size=int(params["vertices"])))
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    scale, thickness = params["width"] / _FONT_HEIGHT, max(1, round(params["width"] / 10))
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    baseline = height + thickness

    def paint(canvas: NDArray[np.uint8], row: int, column: int) -> None:
        cv2.putText(canvas, text, (thickness - column, baseline - row), font, scale, color=1, thickness=thickness)

    return Mark(baseline + below + thickness, width + 2 * thickness, (baseline, 0), paint)


MARKS: dict[str, Callable[[Params, np.random.Generator], Mark]] = {"brush": stroke, "letters": word}
"""How each kind of marks is drawn."""


def lose(clean: Picture, mask: Mask, fill: str, rng: np.random.Generator) -> Picture:
    """A picture with the pixels of a mask replaced.

    Args:
        clean: [H, W, 3] float32.
        mask: [H, W] bool.
        fill: black, grey, white or noise.
        rng: draws the noise.

    Returns:
        [H, W, 3] float32, a new array; outside the mask equal to `clean`.
    """
    degraded = clean.copy()
    noise = fill == "noise"
    degraded[mask] = rng.random((int(mask.sum()), 3), dtype=np.float32) if noise else np.float32(LEVELS[fill])
    return degraded


def _draw_fill(fills: tuple[str, ...], rng: np.random.Generator) -> str:
    return fills[0] if len(fills) == 1 else fills[int(rng.integers(len(fills)))]


def _keep_nearest(painted: NDArray[np.uint8], before: NDArray[np.uint8], count: int, row: float, column: float) -> None:
    """Take back all but `count` of the newly painted pixels; those nearest to (row, column) stay."""
    rows, columns = np.nonzero(painted > before)
    distance = (rows - row) ** 2 + (columns - column) ** 2
    # A stable order, so that pixels equally far are the same ones everywhere.
    gone = np.argsort(distance, kind="stable")[count:]
    painted[rows[gone], columns[gone]] = 0
