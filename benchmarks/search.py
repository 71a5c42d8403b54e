"""A search: how much sooner ASHA is done than every trial trained to its end, what that loses, and what Tune itself costs.

All searches try the same values (drawn at random from one seed) on the same jobs, through the command line. First every trial
is trained to its end; then ASHA chooses. For the cost of Tune one search runs its trials one at a time, and then the very same
jobs, as its runs hold them, are called one after another on one Ray. What both need until a job takes its first step
(processes, imports) is left out of the last figure and shown beside it.
"""

import argparse
import json
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from benchmarks.command import run_command
from benchmarks.measure import Figure, Rows, count, finish, machine, note, parser, run_script
from benchmarks.training import SHARDS
from ipt_platform.cluster.local import connected
from ipt_platform.observe.events import read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.load import load_job
from ipt_platform.spec.source import Document
from ipt_platform.train.driver import run_training
from ipt_platform.train.slots import needed
from ipt_platform.tune.members import give_run


def main() -> None:
    arguments = _parser().parse_args()
    before = machine()
    figures: list[Figure] = []
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        if "asha" in arguments.parts:
            whole, asha = (_search(arguments, Path(folder), scheduler) for scheduler in ("none", "asha"))
            rows += [*whole.pop("rows"), *asha.pop("rows")]
            figures += [
                Figure("time of ASHA over every trial trained to its end", asha["seconds"] / whole["seconds"], at_most=0.5),
                Figure("best of all trials over the best that ASHA finds", whole["psnr"] - asha["psnr"], "dB", at_most=0.05),
                Figure("steps trained by ASHA over all", asha["steps"] / whole["steps"]),
                Figure("every trial trained to its end", whole["seconds"], "s"),
                Figure("ASHA", asha["seconds"], "s"),
            ]
        if "overhead" in arguments.parts:
            figures += _overhead(arguments, Path(folder))
    finish(arguments, before, figures, trials=rows)


def _search(arguments: argparse.Namespace, folder: Path, scheduler: str) -> dict[str, Any]:
    """A whole search through the command line: seconds, best dB, steps."""
    note(f"{arguments.trials} trials, scheduler {scheduler}")
    file = _write_job(arguments, folder, scheduler, arguments.trials, None)
    began = time.perf_counter()
    report = run_command("submit", str(file), "--run", scheduler)
    seconds = time.perf_counter() - began
    finished = [trial for trial in report["trials"] if trial["state"] == "finished"]
    kept = ("trial", "state", "step", "psnr")
    rows = [{"scheduler": scheduler, **{key: trial[key] for key in kept}} for trial in report["trials"]]
    best = max(trial["psnr"] for trial in finished)
    return {"seconds": seconds, "psnr": best, "steps": report["steps"], "rows": rows}


def _overhead(arguments: argparse.Namespace, folder: Path) -> list[Figure]:
    """A search whose trials run one at a time, over the same jobs one after another."""
    note(f"{arguments.overhead_trials} trials one at a time, then called one after another")
    run_command("submit", str(_write_job(arguments, folder, "none", arguments.overhead_trials, 1)), "--run", "one-by-one")
    run = RunDir(folder / "runs" / "one-by-one")
    ends = [event for event in read_events(run) if event["type"] == "job"]
    of_search = _moment(ends[-1]) - _moment(ends[0])
    trials = sorted(run.members.glob("t*"))
    idle_of_search = sum(_until_started(RunDir(path), start) for path, start in zip(trials, ends[::2], strict=True))
    jobs = [load_job(path / "job.yaml").job.model_dump(mode="json") for path in trials]
    with connected(needed(load_job(trials[0] / "job.yaml").job), folder / "driver.log"):  # pyright: ignore[reportArgumentType]
        began, idle = time.perf_counter(), 0.0
        for path, job in zip(trials, jobs, strict=True):
            again = RunDir(folder / "again" / path.name)
            start = {"time": datetime.now().astimezone().isoformat()}
            run_training(give_run(Document(job, {}, "job.yaml"), again, Path()), again, Path())
            idle += _until_started(again, start)
        in_turn = time.perf_counter() - began
    return [
        Figure("Tune over calling its trials one after another", of_search / in_turn),
        Figure(
            "the same without what either needs until the first step",
            (of_search - idle_of_search) / (in_turn - idle),
            at_most=1.1,
        ),
        Figure("a trial of the search until its first step", idle_of_search / len(trials), "s"),
        Figure("a job that is called until its first step", idle / len(trials), "s"),
    ]


def _until_started(run: RunDir, start: dict[str, Any]) -> float:
    """Seconds from a moment until a run's session begins."""
    started = next(event for event in read_events(run) if event["type"] == "started")
    return _moment(started) - _moment(start)


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def _write_job(arguments: argparse.Namespace, folder: Path, scheduler: str, trials: int, at_a_time: int | None) -> Path:
    steps = arguments.steps
    value = {
        "apiVersion": "ipt/v1",
        "kind": "tune",
        "name": f"search-{scheduler}",
        "storage": str(folder / "runs"),
        "base": {
            "kind": "train",
            "model": {"backbone": arguments.backbone, "bias": {"rank": 8}},
            "tasks": {"denoise": {"params": {"sigma": 25}}, "deblur": None},
            "data": {"shards": arguments.shards, "carrier": "local"},
            "train": {
                "stages": [{"steps": steps, "patch": 32, "images": 4}],
                "optimizer": {"lr": 8e-3, "bias_lr": 8e-3, "grad_clip": 0.02, "bias_grad_clip": 0.02},
                "schedule": {"warmup": 20},
                "ema": 0.99,
                "samples": 0,
            },
            "evaluate": {"every": -(-steps // 9), "sets": [arguments.test]},
            "checkpoint": {"every": steps},
        },
        "search": {
            "space": {
                "model.bias.rank": {"choices": [2, 4, 8, 16]},
                "train.optimizer.lr": {"min": 3e-4, "max": 3e-2, "log": True},
                "train.optimizer.bias_lr": {"min": 1e-3, "max": 3e-2, "log": True},
            },
            "searcher": "random",
            "trials": trials,
            "scheduler": scheduler,
        },
        "cluster": {"max_concurrent": at_a_time},
    }
    path = folder / f"{scheduler}-{trials}-{at_a_time}.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(value))))
    return path


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--parts", nargs="+", choices=("asha", "overhead"), default=["asha", "overhead"])
    made.add_argument("--backbone", default="iptv2-nano")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--test", default="sample-test", help="pictures by which trials are compared (default: %(default)s)")
    for name, default in {"trials": 12, "steps": 1800, "overhead-trials": 4}.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    return made


if __name__ == "__main__":
    run_script(main)
