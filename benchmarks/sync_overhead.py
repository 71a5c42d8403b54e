"""Step time of synchronous training over that of the plain backbone, on the same crops.

Both are whole steps as training takes them (forward, loss, gradients, clipping, AdamW, average), in turn in one process: plain
is one forward pass over the crops of all tasks, synchronous is one per task through that task's merged weights. The ratio is
taken within each round, where both meet the same machine, and its median over the rounds is what counts.
"""

import argparse
from itertools import cycle, islice
from pathlib import Path

import torch

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, Trainer, in_turn, quickstart_job
from ipt_platform.model.counts import count_parameters
from ipt_platform.restore.model import choose_device
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.batches import batch_maker

MODES = {"plain": "mixed", "synchronous": "synchronous"}
BATCHES = 8
"""Batches that the rounds go through again and again; they are made before, data is not what is measured."""


def main() -> None:
    arguments = _parser().parse_args()
    before, device = machine(), choose_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    jobs = {name: _job(arguments, mode) for name, mode in MODES.items()}
    rounds = arguments.warmup + arguments.rounds
    maker = batch_maker(jobs["plain"], Path(), rank=0, world=1)
    batches = [maker.make(step) for step in range(min(BATCHES, rounds))]
    trainers = {name: Trainer.of_job(job, device) for name, job in jobs.items()}
    note(f"{arguments.warmup} rounds to warm up, then {arguments.rounds} rounds of {arguments.block} steps each")
    for number, batch in enumerate(islice(cycle(batches), rounds)):
        for trainer in in_turn(list(trainers.values()), number):
            for _ in range(arguments.block):
                trainer.step(batch)
    seconds = {name: _per_round(trainer.seconds, arguments.block)[arguments.warmup :] for name, trainer in trainers.items()}
    ratios = [synchronous / plain for plain, synchronous in zip(seconds["plain"], seconds["synchronous"], strict=True)]
    finish(
        arguments,
        before,
        [
            Figure("synchronous over plain step time", spread(ratios), at_most=1.05),
            *(Figure(f"{name} step", spread([1e3 * each for each in seconds[name]]), "ms") for name in MODES),
        ],
        models=[
            {
                "mode": name,
                "backbone_parameters": count_parameters(trainer.state.model.backbone),
                "bias_parameters": count_parameters(trainer.state.model.biases),
                "fastest_step_ms": 1e3 * min(seconds[name]),
            }
            for name, trainer in trainers.items()
        ],
    )


def _per_round(seconds: list[float], block: int) -> list[float]:
    """Mean step of each round."""
    return [sum(seconds[first : first + block]) / block for first in range(0, len(seconds), block)]


def _job(arguments: argparse.Namespace, mode: str) -> TrainJob:
    steps = max(
        100, (arguments.warmup + arguments.rounds) * arguments.block
    )  # at least the steps of the learning rate's warm-up
    return quickstart_job(
        {
            "model.backbone": arguments.backbone,
            "data.shards": arguments.shards,
            "train.mode": mode,
            "train.precision": arguments.precision,
            "train.stages": [{"steps": steps, "patch": arguments.patch, "images": arguments.images}],
            "evaluate.sets": [],
        }
    )


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--rounds", type=count, default=150, help="rounds that count (default: %(default)s)")
    made.add_argument("--warmup", type=int, default=10, help="rounds before them (default: %(default)s)")
    made.add_argument("--block", type=count, default=1, help="steps of one model in a round (default: %(default)s)")
    made.add_argument(
        "--images", type=count, default=4, help="images per step, each gives a crop per task (default: %(default)s)"
    )
    made.add_argument("--patch", type=count, default=64, help="side of the crops in pixels (default: %(default)s)")
    made.add_argument("--threads", type=count, default=2, help="torch's threads (default: %(default)s)")
    made.add_argument("--device", default="cpu", help="cpu, cuda or auto (default: %(default)s)")
    made.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    return made


if __name__ == "__main__":
    run_script(main)
