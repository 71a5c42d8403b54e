"""From a picture to what is wrong with it: `BlindRouter`, what it learns from, and its training.

It learns from the stream of pairs that tasks are trained on: each degraded crop is an example of its task; a clean crop, or one
whose damage nobody would see, of that there is nothing to do. Numbers are measured in each window (`features`), and a small
network gives each task its share; of a picture, the mean over its windows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ipt_platform.data.batch import Batch
from ipt_platform.data.pairs import quantize, reflected
from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.restore.route.features import WINDOW, measure
from ipt_platform.restore.route.route import Route, Share
from ipt_platform.restore.route.store import read_router, write_router

FORMAT = "ipt-blind-router/1"
NOTHING = "nothing to do"
"""What stands beside the tasks; no task can have this name."""

THRESHOLD = 0.6
"""A task is applied from this share on; of a mixture, the tasks together."""

LEAST = 0.05
"""Tasks with a smaller share are left out of a mixture."""

UNSEEN = 40.0
"""Damage that leaves a crop so close to the clean one, dB, is none."""

SIDE = 3
"""A picture is looked at through so many windows along each side at most."""

CLEAN_EACH = 4
"""For so many damaged crops there is a clean one: far more than of any one task, for harm is done where there was none."""

CLEAN_WEIGHT = 2.0
"""Weight of all examples of nothing to do together, over that of a task's."""

HIDDEN, DROPPED, STEPS, RATE, DECAY = 96, 0.3, 400, 0.01, 0.02


@dataclass(frozen=True)
class Examples:
    """Windows as they were measured: features float32 [N, F], and what stands in each, int64 [N] (places in the classes)."""

    features: np.ndarray
    classes: np.ndarray


class BlindModel(nn.Module):
    """Features `[N, F]` to a logit for each class."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.layers = nn.Sequential(
            nn.Dropout(DROPPED / 3), nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(HIDDEN, classes)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits `[N, classes]`; a number far outside of all that was learned from counts as one just outside."""
        return self.layers(((features - self.mean) / self.deviation).clamp(-5, 5))


class BlindRouter:
    """Chooses tasks by what a picture shows.

    Args:
        tasks: what it knows, in the order of the model's outputs; the last output is `NOTHING`.
        model: gives each of them a logit.
    """

    def __init__(self, tasks: Sequence[str], model: BlindModel):
        self.tasks = tuple(tasks)
        self.model = model

    @torch.no_grad()
    def shares(self, features: np.ndarray) -> np.ndarray:
        """How probably each task, and at last nothing, stands in each window: float32 [N, tasks + 1] from [N, F]."""
        return torch.softmax(self.model(torch.from_numpy(features)), dim=1).numpy()

    def look(self, picture: np.ndarray) -> tuple[Share, ...]:
        """What is wrong with a picture: every task and `NOTHING` with its share, likeliest first; the shares sum to 1.

        Args:
            picture: float32 [H, W, 3] in [0, 1].
        """
        shares = self.shares(np.stack([measure(window) for window in windows(picture)])).mean(axis=0)
        names = (*self.tasks, NOTHING)
        return tuple(Share(names[number], float(shares[number])) for number in np.argsort(-shares, kind="stable"))

    def route(self, picture: np.ndarray, mix: bool = False) -> Route:
        """The task to apply to a picture.

        Args:
            picture: as in `look`.
            mix: choose every task with a share that counts, for a mixture of their biases.
        """
        seen = self.look(picture)
        if seen[0].task == NOTHING:
            return Route((), seen, NOTHING)
        chosen = [share for share in seen if share.task != NOTHING and share.share >= LEAST] if mix else [seen[0]]
        if sum(share.share for share in chosen) < THRESHOLD:
            return Route((), seen, f"none is as sure as {THRESHOLD:g}")
        return Route(tuple(chosen), seen)


def windows(picture: np.ndarray) -> list[np.ndarray]:
    """Square windows of `WINDOW` pixels, evenly spread over a picture, as few as cover it but no more than `SIDE` x `SIDE`.

    Args:
        picture: float32 [H, W, 3]; one that is smaller than a window is extended by reflection.
    """
    height, width = picture.shape[:2]
    if min(height, width) < WINDOW:
        rows, columns = reflected(height, 0, max(height, WINDOW)), reflected(width, 0, max(width, WINDOW))
        picture = picture[rows[:, None], columns]
        height, width = picture.shape[:2]
    tops, lefts = (np.linspace(0, size - WINDOW, min(SIDE, -(-size // WINDOW))).round().astype(int) for size in (height, width))
    return [quantize(picture[top : top + WINDOW, left : left + WINDOW]) for top in tops for left in lefts]


def examples_of(batches: Iterable[Batch], tasks: Sequence[str], told: Callable[[int], None] = lambda done: None) -> Examples:
    """What a router learns from, or is tested by: every degraded crop of some batches, and some clean ones.

    Args:
        batches: crops of `WINDOW` pixels.
        tasks: names of all their tasks, in the order of the classes.
        told: told how many batches are done.
    """
    features: list[np.ndarray] = []
    classes: list[int] = []
    for number, batch in enumerate(batches):
        for place, task in enumerate(tasks):
            degraded, clean = batch.tasks[task]
            for row in range(len(clean)):
                before, after = clean[row] / np.float32(255), quantize(degraded[row])
                features.append(measure(after))
                classes.append(place if float(np.mean((after - before) ** 2)) > 10 ** (-UNSEEN / 10) else len(tasks))
                # of the crops of all tasks in turn
                if (number + row + place) % min(CLEAN_EACH, len(tasks)) == 0:
                    features.append(measure(before))
                    classes.append(len(tasks))
        told(number + 1)
    return Examples(np.stack(features), np.array(classes))


def train_blind_router(tasks: Sequence[str], examples: Examples, seed: int = 0) -> BlindRouter:
    """Train a router: AdamW on the cross-entropy of all examples at once, every task with the same weight in all.

    The same seed gives the same router on the same machine.
    """
    features, classes = torch.from_numpy(examples.features), torch.from_numpy(examples.classes)
    counts = torch.bincount(classes, minlength=len(tasks) + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BlindModel(features.shape[1], len(tasks) + 1).train()
        model.mean.copy_(features.mean(dim=0))
        model.deviation.copy_(features.std(dim=0) + 1e-3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        weights = len(classes) / (counts.clamp(min=1) * len(counts))
        weights[-1] *= CLEAN_WEIGHT
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            loss = nn.functional.cross_entropy(model(features), classes, weight=weights, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return BlindRouter(tasks, model.eval())


def save_blind_router(folder: Path, router: BlindRouter, learned_from: str) -> None:
    """Keep a router in the place of the one that is there.

    Args:
        folder: where to.
        router: what to keep.
        learned_from: which photographs it learned from, for people.

    Raises:
        OSError: the disk is full or refuses.
    """
    about = {"tasks": list(router.tasks), "features": len(router.model.mean), "learned_from": learned_from}
    write_router(folder, FORMAT, router.model.state_dict(), about)


def load_blind_router(folder: Path) -> BlindRouter:
    """The router that is kept in a folder.

    Raises:
        NotFoundError: none was trained yet.
        DataError: it is damaged, or of another version of the platform.
    """
    try:
        about, tensors = read_router(folder, FORMAT)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{folder}: no router for pictures was trained yet; `ipt-platform route train` makes one in about a minute"
        ) from error
    try:
        tasks, features = [str(task) for task in about["tasks"]], int(about["features"])
        model = BlindModel(features, len(tasks) + 1)
        model.load_state_dict(tensors)
        if features != len(measure(np.zeros((WINDOW, WINDOW, 3), np.float32))):
            raise ValueError(f"it was made for {features} features")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{folder}: not a router of this version: {error}; `ipt-platform route train` makes one") from error
    return BlindRouter(tasks, model.eval())
