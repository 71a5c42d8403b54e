"""How often a look at a picture tells what is wrong with it: a router is trained on some photographs and tested on others.

Both are windows out of the stream of pairs, with the parameters of training: so the weakest damage is hardly there, and what
leaves the window within 40 dB of the clean one counts as none. A row of the table is what stands in a window, a column what the
router holds for likeliest, in percent.
"""

import argparse
import time
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from ipt_platform.data.reader import ShardSet
from ipt_platform.data.shards import expand_shards
from ipt_platform.restore.route.blind import NOTHING, THRESHOLD, BlindRouter, train_blind_router
from ipt_platform.restore.route.features import WINDOW, measure
from ipt_platform.restore.route.teach import draws_to_see, examples_from
from ipt_platform.spec.task import load_task, task_names

REPEATS = 20


def main() -> None:
    arguments = _parser().parse_args()
    before = machine()
    cv2.setNumThreads(1)
    draws = draws_to_see({name: load_task(name) for name in task_names()})
    tasks = [draw.name for draw in draws]
    train, test = (ShardSet.open(expand_shards(patterns)) for patterns in (arguments.shards, arguments.test))
    note(f"learning {len(tasks)} tasks from {arguments.pictures} crops each, of {train.images} photographs")
    began = time.perf_counter()
    router = train_blind_router(tasks, examples_from(train, draws, arguments.pictures, arguments.seed), arguments.seed)
    seconds = time.perf_counter() - began
    note(f"looking at {arguments.tested} crops each, of {test.images} photographs")
    tested = examples_from(test, draws, arguments.tested, arguments.seed + 1)
    shares = router.shares(tested.features)
    best, sure = shares.argmax(axis=1), shares.max(axis=1) >= THRESHOLD
    right, nothing = best == tested.classes, best == len(tasks)
    acts = sure & ~nothing
    harm = acts & (tested.classes == len(tasks))
    finish(
        arguments,
        before,
        [
            Figure("training", seconds, "s"),
            Figure("windows told right", float(right.mean())),
            Figure("right where a task is applied", float(right[acts].mean())),
            Figure("damaged windows to which a task is applied", float(acts[tested.classes < len(tasks)].mean())),
            Figure("clean windows to which one is applied", float(harm.sum() / (tested.classes == len(tasks)).sum())),
            Figure("one window", spread(_times(router)), "ms"),
        ],
        confusion_in_percent=confusion(tasks, tested.classes, best),
    )


def confusion(tasks: list[str], wanted: np.ndarray, found: np.ndarray) -> list[dict[str, Any]]:
    """A row for each class: how many windows there are of it, and as what they are seen, percent."""
    names = [*tasks, NOTHING]
    rows = []
    for number, name in enumerate(names):
        seen = np.bincount(found[wanted == number], minlength=len(names))
        percent = {each: round(100 * n / max(1, seen.sum())) for each, n in zip(names, seen.tolist(), strict=True)}
        rows.append({"is": name, "n": int(seen.sum()), **percent})
    return rows


def _times(router: BlindRouter) -> list[float]:
    window = np.random.default_rng(0).random((WINDOW, WINDOW, 3), np.float32)
    torch.set_num_threads(1)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        router.shares(measure(window)[None])
        times.append(1e3 * (time.perf_counter() - began))
    return times


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--shards", nargs="+", default=["datasets/sample/train-*.tar"], help="photographs to learn from")
    made.add_argument("--test", nargs="+", default=["datasets/sample/test-*.tar"], help="shards of other photographs")
    made.add_argument("--pictures", type=count, default=128, help="crops of each task to learn from")
    made.add_argument("--tested", type=count, default=64, help="crops of each task to look at")
    made.add_argument("--seed", type=int, default=0, help="of everything random")
    return made


if __name__ == "__main__":
    run_script(main)
