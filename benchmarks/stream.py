"""How fast batches come, without any training: the local carrier and the Ray carrier in turn.

Each round opens a fresh stream of either carrier, with nothing decoded yet, and takes its batches as fast as they come; time to
the first batch and rate from there on are told apart. Ray itself is started once, before.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, quickstart_job
from ipt_platform.cluster.local import connected
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.data.stream import ray_stream
from ipt_platform.errors import UsageError
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.setup import batch_maker


def main() -> None:
    arguments = _parser().parse_args()
    if arguments.steps <= arguments.skip:
        raise UsageError(f"{arguments.steps} steps leave nothing to measure after {arguments.skip}")
    before, job = machine(), _job(arguments)
    streams: dict[str, Callable[[BatchMaker, int, int], Iterator[Batch]]] = {
        "local": lambda maker, start, stop: local_stream(maker, start, stop, prefetch=job.data.prefetch),
        "ray": lambda maker, start, stop: ray_stream(maker, start, stop, cpus=job.data.cpus, prefetch=job.data.prefetch),
    }
    rounds = []
    with tempfile.TemporaryDirectory() as folder, connected(job.data.cpus, 0, Path(folder) / "ray.log"):
        for number in range(arguments.rounds):
            for name in list(streams)[:: 1 if number % 2 == 0 else -1]:
                note(f"round {number + 1} of {arguments.rounds}: {arguments.steps} steps, {name}")
                stream = streams[name](batch_maker(job, Path(), rank=0, world=1), 0, arguments.steps)
                rounds.append({"round": number, "carrier": name, **_drain(stream, arguments.skip)})
    figures = []
    for name in streams:
        mine = [each for each in rounds if each["carrier"] == name]
        figures.append(Figure(f"{name}: steps/s", spread([each["steps_per_second"] for each in mine]), "1/s"))
        figures.append(Figure(f"{name}: first batch", spread([each["first_batch_seconds"] for each in mine]), "s"))
    finish(arguments, before, figures, rounds=rounds)


def _drain(stream: Iterator[Batch], skip: int) -> dict[str, float]:
    """Seconds to the first batch; steps, crops and bytes per second after the first `skip` + 1 batches."""
    began = time.perf_counter()
    times, crops, size = [], 0, 0
    for batch in stream:
        times.append(time.perf_counter())
        if len(times) > skip + 1:
            crops += batch.crops
            size += sum(array.nbytes for pair in batch.tasks.values() for array in pair)
    seconds = times[-1] - times[skip]
    return {
        "first_batch_seconds": times[0] - began,
        "steps_per_second": (len(times) - 1 - skip) / seconds,
        "crops_per_second": crops / seconds,
        "megabytes_per_second": size / 1e6 / seconds,
    }


def _job(arguments: argparse.Namespace) -> TrainJob:
    return quickstart_job(
        {
            "data.shards": arguments.shards,
            "data.cpus": arguments.cpus,
            "data.prefetch": arguments.prefetch,
            "train.stages": [{"steps": max(100, arguments.steps), "patch": arguments.patch, "images": arguments.images}],
            "evaluate.sets": [],
        }
    )


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--rounds", type=count, default=3, help="streams of each carrier (default: %(default)s)")
    made.add_argument("--steps", type=count, default=600, help="steps of each stream (default: %(default)s)")
    made.add_argument("--skip", type=int, default=20, help="steps after the first that do not count (default: %(default)s)")
    made.add_argument("--images", type=count, default=4, help="images per step (default: %(default)s)")
    made.add_argument("--patch", type=count, default=64, help="side of the crops in pixels (default: %(default)s)")
    made.add_argument("--prefetch", type=count, default=4, help="steps made ahead (default: %(default)s)")
    made.add_argument("--cpus", type=float, default=0.5, help="cores reserved for the Ray carrier (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
