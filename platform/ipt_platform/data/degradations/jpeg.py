"""Compression by a real JPEG encoder, the damage of the jpeg task, on the block grid of the whole picture."""

from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, uniform, within
from ipt_platform.data.degradations.frame import Frame, Part, grown, seen_from

_BLOCK: dict[int, tuple[int, int]] = {444: (8, 8), 422: (8, 16), 420: (16, 16)}
"""Rows and columns that are coded together, by the subsampling of the colours."""

_FACTORS = {
    444: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    422: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    420: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}

_SPREAD = 2
"""Pixels from which halved colours are interpolated across the edge of a block when they are decoded."""


def _known(draw: Draw) -> Draw:
    found = [value for value in draw.choices or (draw.low, draw.high) if value not in _BLOCK]
    if draw.choices is None or found:
        raise ValueError("expected 444, 422 or 420, or {choices: [...]} of them")
    return draw


class Jpeg(Degradation):
    """y = decode(encode(round(255 x), quality)) / 255, by libjpeg-turbo: the baseline encoder that most pictures met.

    The picture is rounded to 8 bits first, then coded in blocks of 8x8 pixels, or 16x16 where the colours have half the
    resolution in both directions (4:2:0). The blocks lie where those of the whole picture lie, so the damage to a crop
    is what compressing the whole picture would have done to it. The encoder is OpenCV's, which takes the accurate integer
    transform as most do and so gives the same values on every machine; simplejpeg takes the fast, coarser one below
    quality 96. No quality leaves a picture as it was; 100 rounds once more.

    Qualities 10 to 95 as Jiang et al., "Towards Flexible Blind JPEG Artifacts Removal" (ICCV 2021); tests are customary
    at 10, 20, 30 and 40.
    """

    name: ClassVar[str] = "jpeg"

    quality: Annotated[Draw, within(1, 100)] = uniform(10, 95)
    """Quality setting of the encoder, the scale of the IJG; rounded to a whole number."""
    subsampling: Annotated[Draw, AfterValidator(_known)] = Draw(choices=(444, 422, 420))
    """Resolution of the colours: 444 in full, 422 half the columns, 420 half the columns and rows."""

    @property
    def margin(self) -> int:
        """The rest of a block, and where colours are interpolated the pixels beyond it that they come from."""
        return max(_reach(int(sampling)) for sampling in self._samplings)

    def reach(self, params: Params) -> int:
        """That of the drawn subsampling."""
        return _reach(params["subsampling"])

    @property
    def _samplings(self) -> tuple[float, ...]:
        assert self.subsampling.choices is not None
        return self.subsampling.choices

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the quality and the subsampling."""
        return {"quality": round(self.quality.sample(rng)), "subsampling": int(self.subsampling.sample(rng))}

    def looks_at(self, part: Part, params: Params, frame: Frame, limits: Part) -> Part:
        """The blocks that hold the part, and the pixels that its colours are interpolated from."""
        rows, columns = _BLOCK[params["subsampling"]]
        spread = _SPREAD if columns > 8 else 0
        return (
            _whole_blocks(part[0], frame.top, rows, spread, limits[0]),
            _whole_blocks(part[1], frame.left, columns, spread, limits[1]),
        )

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Encode and decode on the grid of the whole picture; context beyond its border is reflected anew."""
        frame = frame or Frame(*clean.shape[:2])
        asked, inside = frame.inner(*clean.shape[:2]), frame.inside(*clean.shape[:2])
        # What lies beyond the border was never there for the encoder, which repeats the last row and column instead.
        inner = grown(asked, 0, inside)
        rows, columns = _BLOCK[params["subsampling"]]
        part = self.looks_at(inner, params, frame, inside)
        pixels = np.rint(np.clip(clean[part], 0, 1) * 255).astype(np.uint8)
        # An array that comes without context may begin within a block.
        above, left = (frame.top + part[0].start) % rows, (frame.left + part[1].start) % columns
        if above or left:
            pixels = cv2.copyMakeBorder(pixels, above, 0, left, 0, cv2.BORDER_REPLICATE)
        coded = recode(np.asarray(pixels, np.uint8), **params)[above:, left:][seen_from(inner, part)]
        if inner != asked:
            beyond = [(own.start - at.start, at.stop - own.stop) for own, at in zip(inner, asked, strict=True)]
            coded = np.pad(coded, (*beyond, (0, 0)), mode="reflect")
        return np.divide(coded, 255, dtype=np.float32)


def _reach(subsampling: int) -> int:
    block = max(_BLOCK[subsampling])
    return block - 1 + (_SPREAD if block > 8 else 0)


def _whole_blocks(asked: slice, start: int, block: int, spread: int, limits: slice) -> slice:
    """The blocks which hold what is asked for and `spread` pixels round it; `start` is the array's place in the picture."""
    first = (start + asked.start - spread) // block * block - start
    last = -(-(start + asked.stop + spread) // block) * block - start
    return slice(max(first, limits.start), min(last, limits.stop))


def recode(pixels: NDArray[np.uint8], quality: int, subsampling: int) -> NDArray[np.uint8]:
    """Encode as JPEG and decode.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        quality: 1 to 100.
        subsampling: 444, 422 or 420.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FACTORS[subsampling]]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    assert done
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)
