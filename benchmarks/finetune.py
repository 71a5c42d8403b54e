"""What a step costs when only biases learn: time and memory beside a full training step, on the same crops.

Both sides have the same backbone, tasks and ranks; the full side trains backbone and biases together. Steps go in turn. Memory
is what a fresh process takes for three steps beyond what it had before the model was built (the peak of its resident set).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, Trainer, in_turn, quickstart_job
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.batches import batch_maker

CPU = torch.device("cpu")
SIDES = ("full", "biases")
MEMORY_STEPS = 3


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        sys.stdout.write(json.dumps(_memory(arguments)))
        return
    before, job = machine(), _job(arguments)
    trainers = {side: _trainer(side, job) for side in SIDES}
    maker = batch_maker(job, Path(), rank=0, world=1)
    for step in range(arguments.warmup + arguments.steps):
        batch = maker.make(step)
        for trainer in in_turn(list(trainers.values()), step):
            trainer.step(batch)
        note(f"step {step + 1}/{arguments.warmup + arguments.steps}")
    times = {side: trainer.seconds[arguments.warmup :] for side, trainer in trainers.items()}
    ratios = [own / whole for own, whole in zip(times["biases"], times["full"], strict=True)]
    memory = {side: _memory_in_a_process(side) for side in SIDES}
    finish(
        arguments,
        before,
        [
            Figure("step time, biases over full", spread(ratios), at_most=0.9),
            Figure("peak memory of a step, biases over full", memory["biases"] / memory["full"], at_most=0.8),
            *(Figure(f"step time, {side}", spread([1000 * each for each in values]), "ms") for side, values in times.items()),
            *(Figure(f"peak memory of a step, {side}", value / 2**20, "MiB") for side, value in memory.items()),
        ],
    )


def _trainer(side: str, job: TrainJob) -> Trainer:
    if side == "full":
        return Trainer.of_job(job, CPU)
    torch.manual_seed(job.seed)
    return Trainer.of_biases(job, build_backbone(job.model.backbone).requires_grad_(False), CPU)


def _memory(arguments: argparse.Namespace) -> int:
    """Bytes at the peak of some steps of one side, beyond what this process had before."""
    job = _job(arguments)
    batch = batch_maker(job, Path(), rank=0, world=1).make(0)
    before = _status("VmRSS")
    trainer = _trainer(arguments.memory_of, job)
    for _ in range(MEMORY_STEPS):
        trainer.step(batch)
    return _status("VmHWM") - before


def _memory_in_a_process(side: str) -> int:
    words = [word for word in sys.argv[1:] if word != "--json"]
    command = [sys.executable, "-m", "benchmarks.finetune", *words, "--memory-of", side]
    return int(subprocess.run(command, capture_output=True, check=True, cwd=Path.cwd()).stdout)


def _status(name: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _job(arguments: argparse.Namespace) -> TrainJob:
    values: dict[str, Any] = {
        "model.backbone": arguments.backbone,
        "model.bias.rank": arguments.rank,
        "tasks": {task: {} for task in arguments.tasks},
        "data.shards": arguments.shards,
        "train.stages": [{"steps": arguments.warmup + arguments.steps, "patch": arguments.patch, "images": arguments.images}],
        "train.schedule.warmup": 0,
        "evaluate.sets": [],
    }
    return quickstart_job(values)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny", help="default: %(default)s")
    made.add_argument("--tasks", nargs="+", default=["derain", "dehaze"], help="default: %(default)s")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    whole = {"steps": 40, "warmup": 4, "images": 2, "patch": 128, "rank": 16, "threads": 2}
    for name, default in whole.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    made.add_argument("--memory-of", choices=SIDES, help="measure the memory of one side in this process, and print the bytes")
    return made


if __name__ == "__main__":
    run_script(main)
