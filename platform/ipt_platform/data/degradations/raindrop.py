"""Drops on a window before the camera, the damage of the raindrop task: each shows what is behind it upside down."""

from typing import Annotated, ClassVar, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, draw_key, keyed, uniform, within
from ipt_platform.data.degradations.boxes import box_pixels
from ipt_platform.data.degradations.fractal import Map
from ipt_platform.data.degradations.frame import Frame

_SMALLEST, _LARGEST = 0.35, 1.5
"""Radii of the smallest and the largest drop over the typical one."""

_OUTLINE = 1.25
"""How far from its middle the outline of merged circles may reach, in radii, before it is drawn out."""

_STRETCH = 1.3
"""Height over width of the most drawn-out drop: water hangs down."""

_FAR = _LARGEST * _OUTLINE * _STRETCH
"""How far from its middle any drop may reach, in typical radii."""

_MERGE = 0.1
"""Over how many radii circles flow into each other."""

_RIM = 0.4
"""Width of the rim in radii."""

_GRID = 1024
"""Drops stand on whole numbers of such parts of a pixel: moving them by whole pixels then rounds nothing."""

_STEPS = 32
"""Places to look up are whole numbers of such parts of a pixel: OpenCV would round to them, and not alike in a crop."""

_PIXELS_AT_ONCE = 1 << 21
"""Pixels of drops outlined in one go: bounds memory where a picture is large."""


class Raindrop(Degradation):
    """y = (1-M) x + M R, darkened and lit along the rim: drops of mask M that show a refracted background R.

    The decomposition of Qian et al., "Attentive Generative Adversarial Network for Raindrop Removal" (CVPR 2018). R is
    the picture turned by 180 degrees about the middle of the drop, scaled, and blurred, for a drop is a lens close to a
    camera that is focused on what lies far behind it; a share `glow` of R is even light of brightness `sky`, which a drop
    gathers from all around. The edge sends light elsewhere: with e falling from one at the outline to zero a rim's width
    inside, and c the cosine between the way out of the drop and the light, y loses the share M e max(0, -c) dark of its
    light and goes the share M e max(0, c) bright of the way to white.
    """

    name: ClassVar[str] = "raindrop"

    density: Annotated[Draw, within(0, 0.02)] = uniform(0.0006, 0.0013)
    """Drops per pixel; 0 is none."""
    size: Annotated[Draw, within(1, 40)] = uniform(5, 13)
    """Typical radius of a drop in pixels; drops have a third of it up to half as much again."""
    softness: Annotated[Draw, within(0.5, 20)] = uniform(1.5, 5.0)
    """Width in pixels over which an edge fades: how far out of focus the window is."""
    zoom: Annotated[Draw, within(0.5, 10)] = uniform(0.7, 1.2)
    """How many times larger than without it a drop shows what is behind it."""
    blur: Annotated[Draw, within(0, 20)] = uniform(2, 5)
    """Radius in pixels, rounded, of the box that the background in drops is averaged over twice."""
    dark: Annotated[Draw, within(0, 1)] = uniform(0.4, 0.9)
    """Share of its light that the darkest place of a rim loses."""
    bright: Annotated[Draw, within(0, 1)] = uniform(0.2, 0.6)
    """Share of the way to white that the brightest place of a rim goes."""
    glow: Annotated[Draw, within(0, 1)] = constant(0.0)
    """Share of what a drop shows that is light from all around, gathered by its curved back; 0 is none."""
    sky: Annotated[Draw, within(0, 1)] = constant(0.8)
    """Brightness of that light, the same in all channels."""

    @property
    def margin(self) -> int:
        """From one side of the largest drop to what it refracts from beyond its other side, and the blur of that."""
        return _reach(self.size.high, self.softness.high, self.zoom.low, self.blur.high)

    def reach(self, params: Params) -> int:
        """The same for the drawn window."""
        return _reach(params["size"], params["softness"], params["zoom"], params["blur"])

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the window, the direction of the light in radians from downwards, and the key of the drops."""
        fields = ("density", "size", "softness", "zoom", "blur", "dark", "bright", "glow", "sky")
        window = {field: getattr(self, field).sample(rng) for field in fields}
        # A drop shows the sky at its lower rim.
        return {**window, "light": float(rng.normal(0, 0.5)), "key": draw_key(rng)}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Put the drawn window before the picture; drops have their places in the whole picture."""
        frame = frame or Frame(*clean.shape[:2])
        inner = frame.inner(*clean.shape[:2])
        wet = clean[inner].copy()
        water = _water(wet.shape[0], wet.shape[1], params, frame.of_part(inner, inner))
        if len(water.inside) == 0:
            return wet
        back = 1 + 1 / params["zoom"]
        refracted = _look_up(
            _blurred(clean, round(params["blur"])),
            inner[0].start + water.rows - back * water.down,
            inner[1].start + water.columns - back * water.right,
        )
        if params["glow"] > 0:
            refracted *= np.float32(1 - params["glow"])
            refracted += np.float32(params["glow"] * params["sky"])
        pixels = wet.reshape(-1, 3)
        shown = pixels[water.inside]
        shown += water.mask[:, None] * (refracted - shown)
        facing = water.rim * water.facing(params["light"])
        shown *= (1 - params["dark"] * np.maximum(0, -facing)).astype(np.float32)[:, None]
        shown += (params["bright"] * np.maximum(0, facing)).astype(np.float32)[:, None] * (1 - shown)
        pixels[water.inside] = shown
        return wet


def _reach(size: float, softness: float, zoom: float, blur: float) -> int:
    far = _FAR * size + softness / 2
    return int(np.ceil(far * (1 + 1 / zoom))) + 2 * round(blur) + 1


def drop_mask(height: int, width: int, params: Params, frame: Frame) -> Map:
    """The mask M of the drops.

    Args:
        height: rows of the array.
        width: columns of the array.
        params: what `Raindrop.draw` returned.
        frame: where the array lies in the whole picture.

    Returns:
        [height, width] float32 in [0, 1], 0 where there is no drop.
    """
    water = _water(height, width, params, frame)
    mask = np.zeros(height * width, np.float32)
    mask[water.inside] = water.mask
    return mask.reshape(height, width)


class _Drops(NamedTuple):
    """N drops: their middles in the array and radii in pixels, heights over widths, and the circles that merge into them.

    All [N], but `lobes` [N, 2, 3]: bearing, distance and size of two circles beside the main one, each in [0, 1].
    """

    top: NDArray[np.float64]
    left: NDArray[np.float64]
    radius: NDArray[np.float64]
    stretch: NDArray[np.float64]
    lobes: NDArray[np.float64]

    def take(self, which: NDArray) -> Self:
        """The drops of the given numbers."""
        return type(self)(*(values[which] for values in self))


class _Water(NamedTuple):
    """The N pixels of an array that drops cover: all [N].

    `inside` numbers them row by row, at `rows` and `columns`; `down` and `right` lead there from the middle of the drop;
    `mask` is its cover M there, and `rim` the product M e.
    """

    inside: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    down: NDArray[np.float64]
    right: NDArray[np.float64]
    mask: NDArray[np.float32]
    rim: NDArray[np.floating]

    def facing(self, light: float) -> NDArray[np.float64]:
        """[N] cosine between the way from the middle of the drop and the light, `light` radians from downwards."""
        towards = self.down * np.cos(light) + self.right * np.sin(light)
        return towards / np.sqrt(self.down**2 + self.right**2 + 1e-6)


def _water(height: int, width: int, params: Params, frame: Frame) -> _Water:
    """Where an array is covered, and by what. Each pixel belongs to the drop in which it lies deepest: touching ones merge."""
    softness = params["softness"]
    drops = _draw_drops(height, width, params, frame)
    nearest = np.full(height * width, np.inf, np.float32)
    owner = np.zeros(height * width, np.int64)
    area = np.cumsum(np.square(2 * _OUTLINE * _STRETCH * drops.radius + softness + 2))
    chunk = (area // _PIXELS_AT_ONCE).astype(np.int64)
    for part in range(chunk[-1] + 1 if len(chunk) else 0):
        index, drop, distance = _outline(drops, np.flatnonzero(chunk == part), softness, height, width)
        np.minimum.at(nearest, index, distance)
        wins = nearest[index] == distance
        owner[index[wins]] = drop[wins]
    inside = np.flatnonzero(nearest < softness / 2)
    distance, own = nearest[inside], drops.take(owner[inside])
    rows, columns = np.divmod(inside, width)
    rise = np.clip(np.float32(0.5) - distance / np.float32(softness), 0, 1)
    mask = np.asarray(rise * rise * (3 - 2 * rise), np.float32)
    rim = mask * np.square(np.clip(1 + distance / (_RIM * own.radius), 0, 1))
    return _Water(inside, rows, columns, rows - own.top, columns - own.left, mask, rim)


def _draw_drops(height: int, width: int, params: Params, frame: Frame) -> _Drops:
    """The drops of the whole picture that reach into an array."""
    rng = keyed(params["key"])
    far = _FAR * params["size"] + params["softness"] / 2
    count = int(rng.poisson(params["density"] * (frame.height + 2 * far) * (frame.width + 2 * far)))
    drops = _Drops(
        top=np.rint(rng.uniform(-far, frame.height + far, count) * _GRID) / _GRID - frame.top,
        left=np.rint(rng.uniform(-far, frame.width + far, count) * _GRID) / _GRID - frame.left,
        # Small drops are many, large ones few.
        radius=params["size"] * (_SMALLEST + (_LARGEST - _SMALLEST) * rng.random(count) ** 1.6),
        stretch=1 + (_STRETCH - 1) * rng.random(count) ** 2,
        lobes=rng.random((count, 2, 3)),
    )
    near = (drops.top > -far) & (drops.top < height + far) & (drops.left > -far) & (drops.left < width + far)
    return drops.take(near)


def _outline(
    drops: _Drops, which: NDArray[np.int64], softness: float, height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """All pixels near some drops, [N] each: number of the pixel, number of its drop, distance to the outline in pixels.

    The distance is negative inside. A drop is three circles that flow into each other, drawn out downwards.
    """
    drop = drops.take(which)
    wide = _OUTLINE * drop.radius + softness / 2
    row, column, of = box_pixels(drop.top, drop.left, drop.stretch * wide, wide, height, width)
    # Places in radii.
    down = ((row - drop.top[of]) / (drop.stretch * drop.radius)[of]).astype(np.float32)
    right = ((column - drop.left[of]) / drop.radius[of]).astype(np.float32)
    total = np.exp((np.float32(0.75) - np.sqrt(down * down + right * right)) / np.float32(_MERGE))
    for bearing, out, size in drop.lobes.transpose(1, 2, 0).astype(np.float32):
        bearing, out, size = 2 * np.pi * bearing, np.float32(0.6) * out, np.float32(0.25) + np.float32(0.3) * size
        apart = np.sqrt(np.square(down - (out * np.sin(bearing))[of]) + np.square(right - (out * np.cos(bearing))[of]))
        total += np.exp((size[of] - apart) / np.float32(_MERGE))
    distance = drop.radius.astype(np.float32)[of] * np.float32(-_MERGE) * np.log(total)
    return row * width + column, which[of], distance


def _blurred(picture: Picture, radius: int) -> Picture:
    """Average over a box twice; nothing beyond the border but reflections."""
    box = (2 * radius + 1, 2 * radius + 1)
    for _ in range(2):
        picture = np.asarray(cv2.blur(picture, box, borderType=cv2.BORDER_REFLECT_101), np.float32)
    return picture


def _look_up(picture: Picture, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """[N, 3] the picture at N places, bilinear; beyond its border lies its reflection."""
    height, width = picture.shape[:2]
    side = 1024
    places = np.zeros((-(-len(rows) // side) * side, 2), np.float32)
    places[: len(rows), 0] = _folded(columns, width)
    places[: len(rows), 1] = _folded(rows, height)
    # Folded here, for with BORDER_REFLECT_101 the remap of OpenCV 5.0.0 at times takes a thousand times as long.
    at = places.reshape(-1, side, 2)
    found = cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return np.asarray(found, np.float32).reshape(-1, 3)[: len(rows)]


def _folded(at: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Places on a line of pixels, those beyond its ends reflected about the end pixels."""
    period = max(1, 2 * (size - 1))
    at = np.mod(np.rint(at * _STEPS) / _STEPS, period)
    return np.minimum(at, period - at)
