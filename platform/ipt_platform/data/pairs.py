"""From a clean picture to degraded/clean crops: the one function that every carrier runs.

Content is a pure function of (seed, step) and the pictures: never of workers, order or time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ipt_platform.data.batch import Batch
from ipt_platform.data.cache import PictureCache
from ipt_platform.data.degradations.base import Degradation, Frame
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.plan import Plan, Schedule, share
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.errors import DataError

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
class Pair:
    """A crop before and after: degraded float32 [P, P, 3] (about [0, 1]; noise is not clipped unless the task
    quantizes), clean uint8 [P, P, 3], and the parameters that made it.
    """

    degraded: np.ndarray
    clean: np.ndarray
    params: dict


def make_pair(picture: np.ndarray, patch: int, draw: TaskDraw, rng: np.random.Generator) -> Pair:
    """Cut one crop out of a picture and degrade it.

    The picture is turned first (flips and transposition, each with probability 1/2), then cropped at a uniform place,
    then degraded, so that rain falls down in every crop. A degradation that looks beyond the crop (its `margin`) sees
    the picture there, and a reflection of it beyond its border.

    Args:
        picture: uint8 [H, W, 3] RGB; one smaller than the crop is extended by reflection.
        patch: Side of the crop, pixels.
        draw: The task.
        rng: Where every choice comes from (`keyed_rng`).
    """
    transpose, flip_rows, flip_columns = (bool(choice) for choice in rng.integers(0, 2, 3))
    turned = turn(_at_least(picture, patch), transpose, flip_rows, flip_columns)
    height, width = turned.shape[:2]
    top, left = int(rng.integers(height - patch + 1)), int(rng.integers(width - patch + 1))
    margin = draw.degradation.margin
    context = window(turned, top - margin, left - margin, patch + 2 * margin)
    degraded, drawn = draw.degradation(
        np.divide(context, 255, dtype=np.float32),
        rng,
        Frame(height=height, width=width, top=top - margin, left=left - margin),
    )
    inside = slice(margin, margin + patch)
    degraded = degraded[inside, inside]
    if draw.quantize:
        degraded = quantize(degraded)
    params = {
        "task": draw.name,
        "crop": [top, left],
        "turn": [transpose, flip_rows, flip_columns],
        "degradation": drawn,
    }
    return Pair(degraded=degraded, clean=context[inside, inside], params=params)


def turn(picture: np.ndarray, transpose: bool, flip_rows: bool, flip_columns: bool) -> np.ndarray:
    """Transpose and flip a [H, W, C] picture; a view."""
    if transpose:
        picture = picture.transpose(1, 0, 2)
    return picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


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


class BatchMaker:
    """Makes the batch of any step of one worker, in any order, from any thread; travels between processes.

    Args:
        shards: Where the pictures are.
        plan: Which picture is which sample; made for `shards.images` pictures.
        schedule: Which samples make which step.
        draws: What each task takes from a picture.
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
        draws: Sequence[TaskDraw],
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
        self.seed = seed
        self.rank = rank
        self.world = world
        self.cache = PictureCache(cache_bytes)

    def make(self, step: int) -> Batch:
        """The batch of this worker for a step: every picture of its share gives `weight` crops to every task.

        Raises:
            ValueError: The step is outside the schedule.
            DataError: A shard changed while in use, or too many pictures in a row cannot be used.
        """
        located = self.schedule.locate(step)
        samples = share(located.first, located.stage.images, self.rank, self.world)
        arrays = {draw.name: _empty(len(samples) * draw.weight, located.stage.patch) for draw in self.draws}
        keys: list[str] = []
        params: list[dict] = []
        bad: list[tuple[str, str]] = []
        indices = self.plan.indices(samples.start, samples.stop)
        for row, (sample, index) in enumerate(zip(samples, indices, strict=True)):
            key, picture = self._picture(sample, int(index), bad)
            keys.append(key)
            for draw in self.draws:
                degraded, clean = arrays[draw.name]
                for copy in range(draw.weight):
                    rng = keyed_rng(self.seed, sample // self.plan.images, sample, draw.name, copy)
                    pair = make_pair(picture, located.stage.patch, draw, rng)
                    degraded[row * draw.weight + copy] = pair.degraded
                    clean[row * draw.weight + copy] = pair.clean
                    params.append({"sample": sample, "key": key, "copy": copy, **pair.params})
        return Batch(step=step, tasks=arrays, keys=keys, params=params, bad=bad)

    def _picture(self, sample: int, index: int, bad: list[tuple[str, str]]) -> tuple[str, np.ndarray]:
        """Key and pixels of a sample's picture, or of the first usable one after it in the plan; adds to `bad`."""
        substitutes = self.plan.substitutes(sample)
        refused: list[str] = []
        while len(refused) <= MAX_SUBSTITUTES:
            location = self.shards.locate(index)
            try:
                return location.key, self.cache.get(index, lambda at=location: decode_rgb(self.shards.read_range(at)))
            except DataError as error:
                bad.append((location.key, str(error)))
                refused.append(f"{location.shard.name}: {location.key}: {error}")
            following = next(substitutes, None)
            if following is None:
                break
            index = following
        raise DataError(
            f"Sample {sample}: {len(refused)} pictures in a row cannot be used; "
            "check them with `ipt-platform data verify`:\n" + "\n".join(refused)
        )


def _empty(crops: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((crops, patch, patch, 3), np.float32), np.empty((crops, patch, patch, 3), np.uint8)
