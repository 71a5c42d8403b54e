"""From a worker's death to the next step, over what Ray Train itself needs to start an empty loop again.

On one Ray, in turn: a training whose worker is killed (SIGKILL) some steps after a checkpoint, until the first step that the
next attempt reports; and a loop that does nothing but say that it was entered, killed alike, until it is entered again. What
the training does in between: it learns of the loss, reads its newest checkpoint, opens shards and stream. Steps done again are
counted from the same files.
"""

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, quickstart_job
from ipt_platform.cluster.local import connected
from ipt_platform.errors import InfrastructureError, IptError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.storage import create
from ipt_platform.train.driver import run_training
from ipt_platform.train.slots import needed

T = TypeVar("T")

WORKER = "ray::RayTrainWor"
"""What Linux has of the name of a process in which Ray Train runs a worker."""
PATIENCE = 180.0
"""Seconds until something that should happen is given up."""


def main() -> None:
    arguments = _parser().parse_args()
    before, rows = machine(), []
    job = quickstart_job(
        {
            "model.backbone": arguments.backbone,
            "data.shards": [SHARDS],
            "data.carrier": arguments.carrier,
            "train.stages": [{"steps": 100_000, "patch": 64, "images": 4}],
            "train.log_every": 1,
            "evaluate.sets": [],
            "checkpoint.every": arguments.every,
        }
    )
    with tempfile.TemporaryDirectory() as folder, connected(needed(job), Path(folder) / "driver.log"):
        for pair in range(arguments.pairs):
            for way in ("training", "empty")[:: 1 if pair % 2 == 0 else -1]:
                note(f"pair {pair + 1} of {arguments.pairs}: {way}")
                place = Path(folder) / f"{way}-{pair}"
                seconds, again = _of_training(job, place, arguments.every) if way == "training" else (_of_empty(place), 0)
                rows.append({"pair": pair, "way": way, "seconds": seconds, "steps_again": again})
    times = {way: [row["seconds"] for row in rows if row["way"] == way] for way in ("training", "empty")}
    ratios = [own / empty for own, empty in zip(times["training"], times["empty"], strict=True)]
    again = max(row["steps_again"] for row in rows)
    figures = [
        Figure("from a worker's death to the next step over an empty loop's restart", spread(ratios), at_most=1.5),
        Figure("steps done again", again, at_most=arguments.every),
        Figure("from a worker's death to the next step", spread(times["training"]), "s"),
        Figure("an empty loop's restart", spread(times["empty"]), "s"),
    ]
    finish(arguments, before, figures, deaths=rows)


def _of_training(job: Any, folder: Path, every: int) -> tuple[float, int]:
    """Seconds from a worker's death to the first step of the next attempt, and how many steps it did again."""
    run = create(folder, "run")
    with _running(lambda: run_training(job, run, Path())):
        _until(lambda: [line for line in read_metrics(run) if line["step"] > 2 * every + every // 2], "training")
        died = _kill()
        line = _until(lambda: next((line for line in read_metrics(run) if line["attempt"] == 2), None), "the next attempt")
        steps = [each["step"] for each in read_metrics(run) if each["attempt"] == 1]
        run.request_stop("it was measured")
        _until(lambda: [event for event in read_events(run) if event["type"] == "cancelled"], "its end")
    return datetime.fromisoformat(line["time"]).timestamp() - died, max(steps) - line["step"] + 1


def _of_empty(folder: Path) -> float:
    """Seconds from the death of a worker that does nothing until it does it again."""
    folder.mkdir()
    trainer = TorchTrainer(
        _say_so,
        train_loop_config={"folder": str(folder)},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="empty", storage_path=str(folder), failure_config=FailureConfig(max_failures=1)),
    )
    with _running(trainer.fit):
        _until(lambda: (folder / "entered").is_file(), "the empty loop")
        died = _kill()
        _until(lambda: len(_entered(folder)) > 1, "the empty loop, again")
        (folder / "over").touch()
    return _entered(folder)[1] - died


def _say_so(config: dict[str, Any]) -> None:
    folder = Path(config["folder"])
    with (folder / "entered").open("a") as said:
        said.write(f"{json.dumps(time.time())}\n")
    while not (folder / "over").exists():
        time.sleep(0.02)


def _entered(folder: Path) -> list[float]:
    return [json.loads(line) for line in (folder / "entered").read_text().splitlines()]


@contextlib.contextmanager
def _running(what: Callable[[], Any]) -> Iterator[None]:
    """Something that goes on in a thread of its own while the block is at work, and is waited for at its end."""

    def do() -> None:
        try:
            what()
        except IptError as error:  # a training that is stopped says so
            note(str(error))

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)


def _kill() -> float:
    """Kill the worker; when that was."""
    worker = next(each for each in psutil.Process().children(recursive=True) if each.name().startswith(WORKER))
    worker.kill()
    return time.time()


def _until(true: Callable[[], T | None], what: str) -> T:
    end = time.monotonic() + PATIENCE
    while not (value := true()):
        if time.monotonic() > end:
            raise InfrastructureError(f"{what} did not come within {PATIENCE:g} s")
        time.sleep(0.01)
    return value


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny")
    made.add_argument("--carrier", choices=("ray", "local"), default="ray")
    for name, default in {"pairs": 3, "every": 10}.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    return made


if __name__ == "__main__":
    run_script(main)
