"""Ways to turn photographs into crops, to be measured side by side. Each tells of one delivery after another how many crops.

All of them use the platform's own decoder and degradations but `peers`, which decodes as those projects do; `cv2` keeps to one
thread in every process, which is the faster setting for each of them.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as MapDataset

from benchmarks.photos import Photos
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.image import decode_rgb
from ipt_platform.data.pairs import BatchMaker, TaskDraw, make_pair
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.rng import keyed_rng
from ipt_platform.data.stream import ray_stream
from ipt_platform.spec.draws import draw_of

TASKS = ("denoise", "deblur", "derain", "dehaze", "desnow")
ENDLESS = 10_000_000
"""Steps of a schedule that no measurement comes to the end of."""


@dataclass(frozen=True)
class Setting:
    """What is streamed, and how much at a time: `images` pictures of a step, one crop of `patch` pixels for every task."""

    photos: Photos
    images: int
    patch: int
    processes: int
    prefetch: int

    def draws(self) -> list[TaskDraw]:
        """What each task takes from a picture."""
        draws = [draw_of(name, 1, {}) for name in TASKS]
        return [draw for draw in draws if isinstance(draw, TaskDraw)]

    def maker(self, steps: int = ENDLESS, cache_bytes: int = 0) -> BatchMaker:
        """What makes the batches; it keeps no decoded pictures, for whoever does not keep them either."""
        shards = ShardSet.open(self.photos.shards)
        return BatchMaker(
            shards=shards,
            plan=Plan(0, shards.images),
            schedule=Schedule((Stage(steps, self.patch, self.images),)),
            draws=self.draws(),
            seed=0,
            cache_bytes=cache_bytes,
        )


def local(setting: Setting) -> Iterator[int]:
    """The local carrier."""
    stream = local_stream(setting.maker(), 0, ENDLESS, setting.processes, setting.prefetch)
    return _crops(stream)


def ray_data(setting: Setting) -> Iterator[int]:
    """The Ray Data carrier; Ray runs already."""
    return _crops(ray_stream(setting.maker(), 0, ENDLESS, setting.processes, setting.prefetch))


def _crops(stream: Iterator[Batch]) -> Iterator[int]:
    with closing(stream):  # pyright: ignore[reportArgumentType] (both carriers are generators)
        for batch in stream:
            yield batch.crops


def dataloader(setting: Setting) -> Iterator[int]:
    """What a user would pick: webdataset in a torch DataLoader. One decode serves all tasks here too; a worker makes whole
    batches, so that nothing is collated twice.
    """
    loader = DataLoader(_WebDataset(setting), batch_size=None, num_workers=setting.processes, worker_init_fn=_one_thread)
    for batch in loader:
        yield sum(len(clean) for _, clean in batch.values())


class _WebDataset(IterableDataset):
    def __init__(self, setting: Setting):
        self.setting = setting

    def __iter__(self) -> Iterator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        import webdataset

        setting = self.setting
        draws, numbers = setting.draws(), iter(range(ENDLESS))
        tars = [str(shard) for shard in setting.photos.shards]
        dataset = webdataset.WebDataset(tars, shardshuffle=False).repeat()
        pictures = (next(sample[end] for end in ("jpg", "png", "webp") if end in sample) for sample in dataset)
        while True:
            made: dict[str, list] = {draw.name: [] for draw in draws}
            for data in (next(pictures) for _ in range(setting.images)):
                picture, number = decode_rgb(data), next(numbers)
                for draw in draws:
                    made[draw.name].append(make_pair(picture, setting.patch, draw, keyed_rng(0, 0, number, draw.name)))
            yield {
                name: (
                    torch.from_numpy(np.stack([pair.degraded for pair in pairs])),
                    torch.from_numpy(np.stack([pair.clean for pair in pairs])),
                )
                for name, pairs in made.items()
            }


def peers(setting: Setting) -> Iterator[int]:
    """A loop in the style of the peers (PromptIR, AirNet, AdaIR, MoCE-IR): a map-style dataset of (photograph, task), a file
    each; every item decodes its whole photograph with Pillow, then crops and degrades; tensors [3, P, P] in [0, 1], collated
    by torch. What they read from disk as a second picture (rain, haze) is made here on the fly, which spares them a decode.
    """
    items = _PeerItems(setting)
    size = setting.images * len(TASKS)
    while True:
        loader = DataLoader(
            items, size, shuffle=True, num_workers=setting.processes, worker_init_fn=_one_thread, drop_last=True
        )
        for _, clean in loader:
            yield len(clean)


class _PeerItems(MapDataset):
    def __init__(self, setting: Setting):
        self.setting, self.draws = setting, setting.draws()

    def __len__(self) -> int:
        return len(self.setting.photos.files) * len(self.draws)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        number, task = divmod(index, len(self.draws))
        draw = self.draws[task]
        picture = np.array(Image.open(self.setting.photos.files[number]).convert("RGB"))
        pair = make_pair(picture, self.setting.patch, draw, keyed_rng(0, 0, number, draw.name))
        degraded, clean = (
            torch.from_numpy(np.ascontiguousarray(each.transpose(2, 0, 1))) for each in (pair.degraded, pair.clean)
        )
        return degraded, clean.float().div_(255)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)


STREAMS: dict[str, Callable[[Setting], Iterator[int]]] = {
    "ray": ray_data,
    "local": local,
    "dataloader": dataloader,
    "peers": peers,
}


def rate(open_stream: Callable[[Setting], Iterator[int]], setting: Setting, warm: float, seconds: float) -> dict[str, float]:
    """Crops per second from the delivery that comes `warm` seconds after the first, over at least `seconds` seconds."""
    began = time.perf_counter()
    with closing(open_stream(setting)) as stream:  # pyright: ignore[reportArgumentType] (every side is a generator)
        next(stream)
        first = time.perf_counter()
        while time.perf_counter() < first + warm:
            next(stream)
        start = now = time.perf_counter()
        crops = 0
        while now < start + seconds:
            crops += next(stream)
            now = time.perf_counter()
    return {"crops_per_second": crops / (now - start), "first_batch_seconds": first - began}


def bare(setting: Setting, warm: float, seconds: float) -> dict[str, float]:
    """The physical limit: one process for each CPU that reads, decodes, crops and degrades, and gives nothing to anybody.

    All processes are at work from before the window in which they count until after it.
    """
    context = multiprocessing.get_context("spawn")
    ready, done = context.Queue(), context.Queue()
    window = context.Value("d", 0.0)
    work = partial(_bare, setting, window=window, ready=ready, done=done, seconds=seconds)
    processes = [context.Process(target=work, args=(part,), daemon=True) for part in range(setting.processes)]
    with _running(processes):
        for _ in processes:
            ready.get()
        window.value = time.monotonic() + warm
        counts = [done.get() for _ in processes]
    return {"crops_per_second": sum(counts) / seconds, "first_batch_seconds": 0.0}


@contextmanager
def _running(processes: list) -> Iterator[None]:
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _bare(setting: Setting, part: int, window, ready: Queue, done: Queue, seconds: float) -> None:
    _one_thread(0)
    maker, draws = setting.maker(), setting.draws()
    crops, told = 0.0, False
    indices = maker.plan.indices(0, 100_000)  # worked out beforehand: the plan is no part of the limit
    for sample in range(part, ENDLESS, setting.processes):
        before = time.monotonic()
        picture = decode_rgb(maker.shards.read(int(indices[sample % len(indices)])).data)
        for draw in draws:
            make_pair(picture, setting.patch, draw, keyed_rng(0, 0, sample, draw.name))
        now, start = time.monotonic(), window.value
        if start:  # of a picture at the edge of the window counts what share of its time lies inside
            inside = min(now, start + seconds) - max(before, start)
            crops += len(draws) * max(0.0, inside) / (now - before)
            if now > start + seconds and not told:
                done.put(crops)
                told = True
        elif sample == part:
            ready.put(part)
