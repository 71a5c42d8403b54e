"""Steps per second of a job under Ray over the same training called directly.

Under Ray: `ipt-platform submit`, with Ray Train's worker and the Ray Data carrier. Directly: the same session in this process,
fed by processes (`data.carrier: local`). Same job, same steps, same number of torch threads, no evaluation and no checkpoint
between; each pair of runs is done in turn, every other pair backwards. Steps and seconds are read from the times of the lines
in metrics.jsonl, so whatever happens between steps counts; the first lines are left out, and with them the start-up.
"""

import argparse
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import run_command
from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import QUICKSTART, SHARDS, quickstart_job, settings_of
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import UsageError
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session


def main() -> None:
    arguments = _parser().parse_args()
    before, runs = machine(), []
    if arguments.steps < (arguments.skip + 2) * arguments.every:
        raise UsageError(f"{arguments.steps} steps leave nothing to measure after {arguments.skip} lines of {arguments.every}")
    with tempfile.TemporaryDirectory() as storage:
        for pair in range(arguments.pairs):
            ways = {"ray": _under_ray, "direct": _directly}
            for way in list(ways)[:: 1 if pair % 2 == 0 else -1]:
                note(f"pair {pair + 1} of {arguments.pairs}: {arguments.steps} steps, {way}")
                run = ways[way](_settings(arguments, storage), f"{way}-{pair}", storage)
                runs.append({"pair": pair, "way": way, **_pace(run, arguments.skip)})
    paces = {way: [run["steps_per_second"] for run in runs if run["way"] == way] for way in ("ray", "direct")}
    waits = [run["data_wait_share"] for run in runs if run["way"] == "ray"]
    ratios = [ray / direct for ray, direct in zip(paces["ray"], paces["direct"], strict=True)]
    finish(
        arguments,
        before,
        [
            Figure("steps/s under Ray over called directly", spread(ratios), at_least=0.95),
            Figure("share of time waiting for data under Ray", spread(waits), at_most=0.05),
            Figure("steps/s under Ray", spread(paces["ray"]), "1/s"),
            Figure("steps/s called directly", spread(paces["direct"]), "1/s"),
        ],
        runs=runs,
    )


def _settings(arguments: argparse.Namespace, storage: str) -> dict[str, Any]:
    return {
        "storage": storage,
        "model.backbone": arguments.backbone,
        "data.shards": arguments.shards,
        "data.carrier": arguments.carrier,
        "train.stages": [{"steps": arguments.steps, "patch": arguments.patch, "images": arguments.images}],
        "train.log_every": arguments.every,
        "evaluate.sets": [],
        "checkpoint.every": arguments.steps,
        "cluster.cpus_per_worker": arguments.threads,
    }


def _under_ray(settings: dict[str, Any], name: str, storage: str) -> RunDir:
    changes = [word for each in settings_of(settings) for word in ("--set", each)]
    run_command("submit", str(QUICKSTART), "--run", name, *changes)
    return RunDir(Path(storage) / name)


def _directly(settings: dict[str, Any], name: str, storage: str) -> RunDir:
    job = quickstart_job({**settings, "data.carrier": "local"})
    run = create(storage, name)

    def from_processes(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        return local_stream(maker, start, stop, prefetch=job.data.prefetch)

    torch.set_num_threads(int(job.cluster.cpus_per_worker))
    place = Place(run, run.new_attempt(), Path(), ALONE, torch.device("cpu"))
    Session(job, place, from_processes).train()
    return run


def _pace(run: RunDir, skip: int) -> dict[str, Any]:
    """Steps per second and share of waiting between line `skip` of metrics.jsonl and its last one."""
    lines = [line for line in read_metrics(run) if "loss" in line]
    first, last = lines[skip], lines[-1]
    seconds = (datetime.fromisoformat(last["time"]) - datetime.fromisoformat(first["time"])).total_seconds()
    steps = last["step"] - first["step"]
    # every line tells of as many images, so its time in steps is as the inverse of its rate
    spent = [1 / line["images_per_second"] for line in lines[skip + 1 :]]
    waited = [line["data_wait_share"] * each for line, each in zip(lines[skip + 1 :], spent, strict=True)]
    return {"steps": steps, "steps_per_second": steps / seconds, "data_wait_share": sum(waited) / sum(spent)}


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--carrier", default="ray", choices=["ray", "local"], help="carrier under Ray (default: %(default)s)")
    made.add_argument("--pairs", type=count, default=3, help="runs of each way (default: %(default)s)")
    made.add_argument("--steps", type=count, default=300, help="steps of each run (default: %(default)s)")
    made.add_argument("--every", type=count, default=10, help="steps between lines of metrics.jsonl (default: %(default)s)")
    made.add_argument("--skip", type=int, default=5, help="lines left out at the start (default: %(default)s)")
    made.add_argument("--images", type=count, default=4, help="images per step (default: %(default)s)")
    made.add_argument("--patch", type=count, default=64, help="side of the crops in pixels (default: %(default)s)")
    made.add_argument("--threads", type=count, default=2, help="torch's threads either way (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
