"""Lost resolution: super-resolution's small pictures, and resizing on the way of a picture.

Degraded and clean pictures have the same size here: what was made smaller is enlarged again, so that one backbone
serves every task. The small picture's grid is that of the whole picture (`Frame`), so a crop with margin, wherever it
was cut, loses exactly what the whole picture would have lost there.
"""

from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from annotated_types import Len

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, uniform, whole, within
from ipt_platform.data.degradations.frame import Frame
from ipt_platform.data.degradations.resize import (
    FILTERS,
    IMRESIZE,
    Filter,
    Taps,
    resize_turned,
    resized,
    sum_rows,
    taps,
    turned,
)

Interpolation = Literal["area", "bilinear", "bicubic"]


class LowResolution(Degradation):
    """y = up(Q(down(x))): a picture made `scale` times smaller, stored, and enlarged to its size again by `imresize`.

    down and up are MATLAB's antialiased bicubic, the damage of the standard test beds of super-resolution; Q rounds to
    8 bits, as a file does. A side that is no multiple of the scale gives ceil(side/scale) pixels, as in MATLAB: the
    grid begins at the top left, and the last pixel sees the picture mirrored at its border.
    """

    name: ClassVar[str] = "low-resolution"

    scale: Annotated[Draw, within(1, 8), whole] = Draw(choices=(2, 3, 4))
    """How many times smaller each side is, a whole number."""
    quantize: bool = True
    """Round the small picture to 8 bits, clipping it, as a file does."""

    @property
    def margin(self) -> int:
        """Reach of the cubic kernels that make the smallest picture and enlarge it."""
        return _reach(self.scale.high, IMRESIZE, IMRESIZE)

    def reach(self, params: Params) -> int:
        """That of the drawn scale."""
        return _reach(params["scale"], IMRESIZE, IMRESIZE)

    @property
    def upscale(self) -> int:
        """The smallest scale that is drawn."""
        return int(self.scale.low)

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the scale."""
        return {"scale": int(self.scale.sample(rng))}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Make the picture smaller and larger again."""
        scale = params["scale"]
        frame = frame or Frame(*clean.shape[:2])
        inner = frame.inner(*clean.shape[:2])
        rows = _there_and_back(clean.shape[0], inner[0], frame.top, frame.height, scale, IMRESIZE, IMRESIZE)
        columns = _there_and_back(clean.shape[1], inner[1], frame.left, frame.width, scale, IMRESIZE, IMRESIZE)
        small = resize_turned(clean, rows.there, columns.there)
        if self.quantize:
            small = np.divide(np.rint(np.clip(small, 0, 1) * 255), 255, dtype=np.float32)
        return _enlarged(small, rows.back, columns.back)


class Resample(Degradation):
    """y = back(there(x)): resized to any real scale, and to its own size again, each by a filter drawn from a list.

    The resizing of Real-ESRGAN's chains (Wang et al., ICCVW 2021, section 3.2), each step of which gives its size back
    here. The filters are OpenCV's and PyTorch's (bicubic with a = -0.75, only area antialiased), so that a smaller
    picture is aliased as theirs is. The scaled size is rounded up to whole pixels; borders are mirrored.
    """

    name: ClassVar[str] = "resample"

    scale: Annotated[Draw, within(0.1, 2)] = uniform(0.15, 1.5)
    """Scale of each side; below 1 detail is lost, 1 changes nothing."""
    there: Annotated[tuple[Interpolation, ...], Len(1)] = ("area", "bilinear", "bicubic")
    """Filters to choose from on the way to that scale."""
    back: Annotated[tuple[Interpolation, ...], Len(1)] = ("area", "bilinear", "bicubic")
    """Filters to choose from on the way back."""

    @property
    def margin(self) -> int:
        """Reach of the widest filters at the smallest scale."""
        pairs = ((FILTERS[there], FILTERS[back]) for there in self.there for back in self.back)
        return max(_reach(1 / self.scale.low, *pair) for pair in pairs)

    def reach(self, params: Params) -> int:
        """Reach of the drawn filters at the drawn scale, where rounding its size up to whole pixels makes none smaller."""
        return _reach(1 / params["scale"], FILTERS[params["there"]], FILTERS[params["back"]])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the scale and both filters."""
        return {
            "scale": self.scale.sample(rng),
            "there": self.there[int(rng.integers(len(self.there)))],
            "back": self.back[int(rng.integers(len(self.back)))],
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Resize the picture there and back."""
        there, back = FILTERS[params["there"]], FILTERS[params["back"]]
        frame = frame or Frame(*clean.shape[:2])
        inner = frame.inner(*clean.shape[:2])
        ways = []
        for axis, (start, size) in enumerate(((frame.top, frame.height), (frame.left, frame.width))):
            step = size / resized(size, params["scale"])
            ways.append(_there_and_back(clean.shape[axis], inner[axis], start, size, step, there, back))
        rows, columns = ways
        return _enlarged(resize_turned(clean, rows.there, columns.there), rows.back, columns.back)


class _Ways(NamedTuple):
    """Along one axis: from an array to the part of the small picture that it needs, and from there to the array."""

    there: Taps
    back: Taps


def _there_and_back(length: int, inner: slice, start: int, size: int, step: float, there: Filter, back: Filter) -> _Ways:
    """The ways of the inner part of an array of `length` pixels which begins at `start` of an axis of `size` pixels; small
    pixels lie `step` pixels apart.
    """
    # What lies beyond the picture is context to whoever asks for it, whatever it gets.
    pixels = np.clip(np.arange(start + inner.start, start + inner.stop), 0, size - 1)
    up = taps((pixels + 0.5) / step - 0.5, resized(size, 1 / step), back, 1 / step)
    first, last = int(up.place.min()), int(up.place.max())
    down = taps((np.arange(first, last + 1) + 0.5) * step - 0.5, size, there, step)
    # Where an array comes without context, small pixels at its rim would see more than it holds.
    inside = np.clip(down.place - start, 0, length - 1)
    return _Ways(Taps(inside, down.weight), Taps(up.place - first, up.weight))


def _enlarged(small: Picture, rows: Taps, columns: Taps) -> Picture:
    """A small picture that lies turned, [w, h, 3], at its size again, [H, W, 3]."""
    return sum_rows(turned(sum_rows(small, columns)), rows)


def _reach(step: float, there: Filter, back: Filter) -> int:
    """Pixels from a pixel of the result to the farthest that it depends on, through small pixels `step` apart."""
    return int(np.ceil(step * back.reach(1 / step) + there.reach(step))) + 1
