"""From a clean picture, or from a pair on disk, to degraded/clean crops: the one function that every carrier runs.

Content is a pure function of (seed, step) and the pictures: never of workers, order or time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ipt_platform.data.bad import Bad
from ipt_platform.data.batch import Batch, Shapes, arrays_in, room_for
from ipt_platform.data.cache import PictureCache
from ipt_platform.data.degradations.base import Degradation
from ipt_platform.data.degradations.frame import Context, Frame
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.plan import Plan, Schedule, Stage, share
from ipt_platform.data.reader import Location, ShardSet
from ipt_platform.data.rng import keyed_digest, keyed_rng
from ipt_platform.errors import BadPictureError, DataError

CACHE_BYTES = 256 << 20
MAX_SUBSTITUTES = 16


@dataclass(frozen=True)
class TaskDraw:
    """What one task takes from each picture: `weight` crops, degraded by `degradation`, rounded to 8 bits or not."""

    name: str
    weight: int
    degradation: Degradation
    quantize: bool = False


@dataclass(frozen=True)
class PairedDraw:
    """What one task takes from pairs on disk: for each sample of the plan `weight` crops of one pair of its own `shards`."""

    name: str
    weight: int
    shards: ShardSet

    def plan(self, seed: int) -> Plan:
        """Which pair is which sample: an order of its own, for there are more or fewer of them than pictures."""
        return Plan(int.from_bytes(keyed_digest(8, "pairs", seed, self.name), "little"), self.shards.images)


@dataclass(frozen=True)
class Crop:
    """Where a crop lies: `side` pixels square at (`top`, `left`) of the picture as `turn` has it (transposed, rows and columns
    flipped).
    """

    turn: tuple[bool, bool, bool]
    top: int
    left: int
    side: int

    def params(self, task: str, degradation: dict) -> dict:
        """What is told of a pair: its task, place, turn and damage."""
        return {"task": task, "crop": [self.top, self.left], "turn": [*self.turn], "degradation": degradation}


@dataclass(frozen=True)
class Pair:
    """A crop before and after: degraded float32 [P, P, 3] (about [0, 1]; noise is not clipped unless the task
    quantizes), clean uint8 [P, P, 3], and the parameters that made it.
    """

    degraded: np.ndarray
    clean: np.ndarray
    params: dict


def draw_crop(height: int, width: int, patch: int, rng: np.random.Generator) -> Crop:
    """Draw a crop of a picture of `height` x `width` pixels, extended to `patch` where it is smaller.

    The picture is turned first (flips and transposition, each with probability 1/2), then cropped at a uniform place.
    """
    transpose, flip_rows, flip_columns = (bool(choice) for choice in rng.integers(0, 2, 3))
    rows, columns = max(height, patch), max(width, patch)
    if transpose:
        rows, columns = columns, rows
    top, left = int(rng.integers(rows - patch + 1)), int(rng.integers(columns - patch + 1))
    return Crop((transpose, flip_rows, flip_columns), top, left, patch)


def make_pair(picture: np.ndarray, patch: int, draw: TaskDraw, rng: np.random.Generator) -> Pair:
    """Cut one crop out of a picture (`draw_crop`) and degrade it.

    It is degraded after it was turned, so that rain falls down in every crop. A degradation that looks beyond the crop (to
    its `reach`) sees the picture there, and a reflection of it beyond its border.

    Args:
        picture: uint8 [H, W, 3] RGB; one smaller than the crop is extended by reflection.
        patch: Side of the crop, pixels.
        draw: The task.
        rng: Where every choice comes from (`keyed_rng`).
    """
    crop = draw_crop(picture.shape[0], picture.shape[1], patch, rng)
    drawn = draw.degradation.draw(rng)
    seen, frame = with_context(picture, crop, draw.degradation.reach(drawn))
    degraded = draw.degradation.apply(np.divide(seen, 255, dtype=np.float32), drawn, frame)
    if draw.quantize:
        degraded = quantize(degraded)
    clean = seen[frame.inner(*seen.shape[:2])]
    return Pair(degraded=degraded, clean=clean, params=crop.params(draw.name, drawn))


def with_context(picture: np.ndarray, crop: Crop, reach: int) -> tuple[np.ndarray, Frame]:
    """A crop and `reach` pixels round it, uint8 [P + 2 reach, P + 2 reach, 3]; where they lie, and what of them is context."""
    whole = _at_least(picture, crop.side)
    height, width = turn(whole, *crop.turn).shape[:2]
    frame = Frame(height, width, crop.top - reach, crop.left - reach, Context(reach, reach, reach, reach))
    return turned_window(whole, crop.turn, frame.top, frame.left, crop.side + 2 * reach), frame


def crop_pair(halves: np.ndarray, patch: int, task: str, key: str, rng: np.random.Generator) -> Pair:
    """Cut the same crop (`draw_crop`) out of both halves of a pair on disk.

    Args:
        halves: uint8 [2, H, W, 3] RGB, degraded and clean; smaller ones than the crop are extended by reflection.
        patch: Side of the crop, pixels.
        task: Name of the task.
        key: Key of the pair; the pair's one parameter.
        rng: Where every choice comes from (`keyed_rng`).
    """
    crop = draw_crop(halves.shape[1], halves.shape[2], patch, rng)
    degraded, clean = (turned_window(_at_least(half, patch), crop.turn, crop.top, crop.left, patch) for half in halves)
    params = crop.params(task, {"pair": key})
    return Pair(degraded=np.divide(degraded, 255, dtype=np.float32), clean=clean, params=params)


def turn(picture: np.ndarray, transpose: bool, flip_rows: bool, flip_columns: bool) -> np.ndarray:
    """Transpose and flip a [H, W, C] picture; a view."""
    if transpose:
        picture = picture.transpose(1, 0, 2)
    return picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def turned_window(picture: np.ndarray, how: tuple[bool, bool, bool], top: int, left: int, side: int) -> np.ndarray:
    """`window` of the picture as `turn` has it. Cut out first and turned afterwards, by OpenCV, which takes a tenth of the time
    that numpy takes to copy against the order of memory.
    """
    transpose, flip_rows, flip_columns = how
    height, width = picture.shape[1::-1] if transpose else picture.shape[:2]
    if not (0 <= top <= height - side and 0 <= left <= width - side):
        return window(turn(picture, *how), top, left, side)
    row, column = height - top - side if flip_rows else top, width - left - side if flip_columns else left
    if transpose:
        row, column = column, row
    pixels = picture[row : row + side, column : column + side]
    if transpose:
        pixels = cv2.transpose(pixels)
    if flip_rows or flip_columns:
        return np.asarray(cv2.flip(pixels, -1 if flip_rows and flip_columns else int(flip_columns)), np.uint8)
    return np.ascontiguousarray(pixels, np.uint8)


def window(picture: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """Square window of a [H, W, C] picture, contiguous; what lies outside the picture is its reflection."""
    height, width = picture.shape[:2]
    if top >= 0 and left >= 0 and top + side <= height and left + side <= width:
        return np.ascontiguousarray(picture[top : top + side, left : left + side])
    return picture[reflected(height, top, side)[:, None], reflected(width, left, side)]


def reflected(size: int, start: int, length: int) -> np.ndarray:
    """Places `start` to `start + length` of a line of `size` pixels, those beyond its ends reflected about the end pixels,
    again and again where that leads beyond the other end: int64 [length].
    """
    period = max(1, 2 * (size - 1))
    places = np.arange(start, start + length) % period
    return np.minimum(places, period - places)


def quantize(picture: np.ndarray) -> np.ndarray:
    """Round float32 values to the 256 levels of an 8-bit picture, clipped to [0, 1]."""
    return np.divide(np.rint(np.clip(picture, 0, 1) * 255), 255, dtype=np.float32)


def _at_least(picture: np.ndarray, patch: int) -> np.ndarray:
    """The picture, extended on both sides by reflection to at least `patch` rows and columns."""
    height, width = picture.shape[:2]
    rows, columns = max(0, patch - height), max(0, patch - width)
    if not (rows or columns):
        return picture
    return picture[reflected(height, -(rows // 2), height + rows)[:, None], reflected(width, -(columns // 2), width + columns)]


def shapes_of(stage: Stage, weights: Mapping[str, int], world: int) -> Shapes:
    """Shapes of one worker's crops of a step, for tasks of these weights."""
    each = stage.images // world
    return {name: (each * weight, stage.patch, stage.patch, 3) for name, weight in weights.items()}


def largest_room(schedule: Schedule, weights: Mapping[str, int], world: int) -> int:
    """Bytes that the arrays of one worker's largest batch take, for tasks of these weights."""
    return max(room_for(shapes_of(stage, weights, world)) for stage in schedule.stages)


def new_buffer(size: int) -> np.ndarray:
    """A buffer of `size` bytes: uint8 [size]."""
    return np.empty(size, np.uint8)


class BatchMaker:
    """Makes the batch of any step of one worker, in any order, from any thread; travels between processes.

    Args:
        shards: Where the pictures are.
        plan: Which picture is which sample; made for `shards.images` pictures.
        schedule: Which samples make which step.
        draws: What each task takes from a picture, or from pairs of its own.
        seed: Seed of the job.
        rank: This worker's number.
        world: How many workers there are.
        cache_bytes: Decoded pictures kept in each process, bytes; 0 keeps none. Worth having where a process sees
            a picture
            again: a small set.

    Raises:
        DataError: The plan was made for another number of pictures.
    """

    def __init__(
        self,
        *,
        shards: ShardSet,
        plan: Plan,
        schedule: Schedule,
        draws: Sequence[TaskDraw | PairedDraw],
        seed: int,
        rank: int = 0,
        world: int = 1,
        cache_bytes: int = CACHE_BYTES,
    ):
        if plan.images != shards.images:
            raise DataError(f"The plan is for {plan.images} pictures, the shards hold {shards.images}.")
        self.shards = shards
        self.plan = plan
        self.schedule = schedule
        self.draws = tuple(draws)
        self._weights = {draw.name: draw.weight for draw in draws}
        self.seed = seed
        self.rank = rank
        self.world = world
        self.cache = PictureCache(cache_bytes)
        common = _Source("", shards, plan)
        pairs = {draw.name: _Source(draw.name, draw.shards, draw.plan(seed)) for draw in draws if isinstance(draw, PairedDraw)}
        self._source_of = {draw.name: pairs.get(draw.name, common) for draw in self.draws}
        self._sources = tuple(dict.fromkeys(self._source_of.values()))

    def room(self, step: int) -> int:
        """Bytes that the arrays of a step's batch take."""
        return room_for(self._shapes(self.schedule.locate(step).stage))

    @property
    def largest_room(self) -> int:
        """Bytes that the arrays of the largest batch of the schedule take."""
        return largest_room(self.schedule, self._weights, self.world)

    def make(self, step: int, allocate: Callable[[int], np.ndarray] = new_buffer) -> Batch:
        """The batch of this worker for a step: every sample of its share gives `weight` crops to every task, out of one
        picture to all that degrade, and out of a pair of its own to each that reads pairs.

        Args:
            step: Which.
            allocate: Gives the buffer of so many bytes, uint8, that the arrays are made in: where they travel on from.

        Raises:
            ValueError: The step is outside the schedule.
            DataError: A shard changed while in use, or too many pictures in a row cannot be used.
        """
        located = self.schedule.locate(step)
        samples = share(located.first, located.stage.images, self.rank, self.world)
        arrays = arrays_in(allocate(self.room(step)), self._shapes(located.stage))
        keys: list[str] = []
        params: list[dict] = []
        bad: list[Bad] = []
        indices = {source: source.plan.indices(samples.start, samples.stop) for source in self._sources}
        for source, wanted in indices.items():
            source.prefetch(index for index in map(int, wanted) if (source.pairs_of, index) not in self.cache)
        for row, sample in enumerate(samples):
            found = {source: self._pixels(source, sample, int(indices[source][row]), bad) for source in self._sources}
            keys.append(found[self._sources[0]][0])
            for draw in self.draws:
                degraded, clean = arrays[draw.name]
                source = self._source_of[draw.name]
                key, pixels = found[source]
                for copy in range(draw.weight):
                    rng = keyed_rng(self.seed, sample // source.plan.images, sample, draw.name, copy)
                    if isinstance(draw, PairedDraw):
                        pair = crop_pair(pixels, located.stage.patch, draw.name, key, rng)
                    else:
                        pair = make_pair(pixels, located.stage.patch, draw, rng)
                    degraded[row * draw.weight + copy] = pair.degraded
                    clean[row * draw.weight + copy] = pair.clean
                    params.append({"sample": sample, "key": key, "copy": copy, **pair.params})
        return Batch(step=step, tasks=arrays, keys=keys, params=params, bad=bad)

    def _shapes(self, stage: Stage) -> Shapes:
        return shapes_of(stage, self._weights, self.world)

    def _pixels(self, source: "_Source", sample: int, index: int, bad: list[Bad]) -> tuple[str, np.ndarray]:
        """Key and pixels of a sample's picture or pair, or of the first usable one after it in the plan; adds to `bad`."""
        substitutes = source.plan.substitutes(sample)
        refused: list[str] = []
        while len(refused) <= MAX_SUBSTITUTES:
            location = source.shards.locate(index)
            try:
                return location.key, self.cache.get((source.pairs_of, index), lambda at=location, i=index: source.load(at, i))
            except BadPictureError as error:
                bad.append(Bad.of(error, location.key, location.shard.name))
                refused.append(f"{location.shard.name}: {location.key}: {error}")
            following = next(substitutes, None)
            if following is None:
                break
            index = following
        what = f"pairs of task {source.pairs_of}" if source.pairs_of else "pictures"
        raise DataError(
            f"Sample {sample}: {len(refused)} {what} in a row cannot be used; "
            "check them with `ipt-platform data verify`:\n" + "\n".join(refused)
        )


@dataclass(frozen=True, eq=False)
class _Source:
    """Where pixels come from: the pairs of a task, or ("") the pictures that all other tasks share."""

    pairs_of: str
    shards: ShardSet
    plan: Plan

    def prefetch(self, indices: Iterable[int]) -> None:
        """Begin to fetch what of pictures or pairs lies on S3."""
        self.shards.prefetch(indices, degraded=bool(self.pairs_of))

    def load(self, at: Location, index: int) -> np.ndarray:
        """Pixels of a picture, uint8 [H, W, 3], or of a pair, [2, H, W, 3]; BadPictureError where it cannot be used."""
        clean = self.shards.read_range(at)
        if not self.pairs_of:
            return decode_rgb(clean)
        return decode_halves(self.shards.read_range(self.shards.locate_degraded(index)), clean)


def decode_halves(degraded: bytes, clean: bytes) -> np.ndarray:
    """Decode both halves of a pair: uint8 [2, H, W, 3] RGB, degraded and clean.

    Raises:
        BadPictureError: One does not decode, or they differ in size.
    """
    halves = []
    for name, data in (("degraded", degraded), ("clean", clean)):
        try:
            halves.append(decode_rgb(data))
        except BadPictureError as error:
            raise BadPictureError(error.kind, f"{name} half: {error}") from error
    sizes = [f"{half.shape[1]}x{half.shape[0]}" for half in halves]
    if sizes[0] != sizes[1]:
        raise BadPictureError("sizes-differ", f"its degraded half has {sizes[0]} pixels, its clean half {sizes[1]}.")
    return np.stack(halves)
