"""How fast a backbone learns, per step and per second, beside a plain U-Net of 0.54 M parameters.

Both are trained with task biases on the same batches, a step of one and a step of the other in turn, so that whatever else the
machine does hits both. Each has its own learning rates and clipping; loss, schedule and averaging are the same. At some steps
the averaged weights restore fixed centre crops of held-out photographs with frozen degradations.

For numbers worth comparing pack some hundred photographs (`ipt-platform data pack PHOTOS OUT`) and name them with `--shards`,
and photographs that are not among them with `--test` (a folder, shards, or the name of a set).

What the backbone reaches at equal time is read off its curve, straight between the points measured, at the step that it comes
to while the U-Net does its own; a step counts as the median step of its model.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.heldout import HeldOut, held_out
from benchmarks.measure import Figure, Rows, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, Trainer, in_turn, quickstart_job
from benchmarks.unet import biased_unet
from ipt_platform.errors import UsageError
from ipt_platform.evaluate.testset import frozen_task, open_testset
from ipt_platform.model.counts import count_parameters
from ipt_platform.spec.dataset import resolve_set
from ipt_platform.spec.job import TrainJob
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.state import new_state
from ipt_platform.train.step import StepSettings

TASKS = {"denoise": {"sigma": 25}, "deblur": {}}


def main() -> None:
    arguments = _parser().parse_args()
    before, job, device = machine(), _job(arguments), torch.device("cpu")
    torch.set_num_threads(arguments.threads)
    if arguments.crop % 4 or arguments.patch % 4:
        raise UsageError("the U-Net takes only sides that are multiples of 4; change --crop or --patch")
    testset = open_testset(arguments.test, resolve_set(arguments.test, Path()))
    tests = [held_out(testset, frozen_task(task, params), arguments.crop) for task, params in TASKS.items()]
    trainers = {"backbone": Trainer.of_job(job, device), "unet": _unet(arguments, job, device)}
    maker, curve = batch_maker(job, Path(), rank=0, world=1), []
    for step in range(arguments.steps):
        batch = maker.make(step)
        for trainer in in_turn(list(trainers.values()), step):
            trainer.step(batch)
        if (step + 1) % arguments.every == 0 or step + 1 == arguments.steps:
            curve += [_point(test, trainers, step + 1) for test in tests]
            note("  ".join(f"{name} {value}" for point in curve[-len(tests) :] for name, value in point.items()))
    ratios = [a / b for a, b in zip(trainers["backbone"].seconds, trainers["unet"].seconds, strict=True)]
    times = {name: spread([1e3 * each for each in trainer.seconds]) for name, trainer in trainers.items()}
    finish(
        arguments,
        before,
        [
            *_leads(curve, times["backbone"].median / times["unet"].median),
            Figure("step time, backbone over U-Net", spread(ratios)),
            *(Figure(f"step time, {name}", time, "ms") for name, time in times.items()),
        ],
        models=[{"model": name, **_parameters(trainer)} for name, trainer in trainers.items()],
        curve=curve,
    )


def _point(test: HeldOut, trainers: dict[str, Trainer], step: int) -> dict[str, Any]:
    """What both models reach on one task after a step, and after how many seconds of training."""
    psnr = {f"{name}_db": round(test.psnr(trainer.state.best_model), 3) for name, trainer in trainers.items()}
    seconds = {f"{name}_seconds": round(sum(trainer.seconds), 1) for name, trainer in trainers.items()}
    return {"step": step, "task": test.task, "input_db": round(test.psnr_input, 3), **psnr, **seconds}


def _leads(curve: Rows, ratio: float) -> list[Figure]:
    """How far the backbone is ahead of the U-Net at its worst point, per task: after equal steps, and after equal time.

    Args:
        curve: the points.
        ratio: step time of the backbone over that of the U-Net.
    """
    figures = []
    for task in TASKS:
        points = [point for point in curve if point["task"] == task]
        steps, backbone, unet = (np.array([point[name] for point in points]) for name in ("step", "backbone_db", "unet_db"))
        figures.append(Figure(f"{task}: smallest lead at equal steps", float(np.min(backbone - unet)), "dB", at_least=0))
        known = steps / ratio >= steps[0]  # before its first point nothing is known of the backbone
        if known.any():
            same_time = np.interp(steps / ratio, steps, backbone) - unet
            figures.append(Figure(f"{task}: smallest lead at equal time", float(np.min(same_time[known])), "dB", at_least=0))
    return figures


def _parameters(trainer: Trainer) -> dict[str, int]:
    model = trainer.state.model
    return {"parameters": count_parameters(model.backbone), "bias_parameters": count_parameters(model.biases)}


def _job(arguments: argparse.Namespace) -> TrainJob:
    return quickstart_job(
        {
            "seed": arguments.seed,
            "model.backbone": arguments.backbone,
            "model.bias.rank": arguments.rank,
            "tasks": {task: {"params": params} for task, params in TASKS.items()},
            "data.shards": arguments.shards,
            "train.stages": [{"steps": arguments.steps, "patch": arguments.patch, "images": arguments.images}],
            "train.optimizer.lr": arguments.lr,
            "train.optimizer.bias_lr": arguments.bias_lr,
            "train.optimizer.grad_clip": arguments.grad_clip,
            "train.optimizer.bias_grad_clip": arguments.bias_grad_clip,
            "train.schedule.warmup": min(arguments.warmup, arguments.steps - 1),
            "train.ema": arguments.ema,
            "evaluate.sets": [],
        }
    )


def _unet(arguments: argparse.Namespace, job: TrainJob, device: torch.device) -> Trainer:
    torch.manual_seed(arguments.seed)
    optimizer = job.train.optimizer
    state = new_state(
        biased_unet(list(TASKS), arguments.rank).to(device),
        lr=arguments.unet_lr,
        bias_lr=arguments.unet_bias_lr,
        weight_decay=optimizer.weight_decay,
        bias_weight_decay=optimizer.bias_weight_decay,
        betas=optimizer.betas,
        average=True,
    )
    clips = {"grad_clip": arguments.unet_grad_clip, "bias_grad_clip": arguments.unet_bias_grad_clip}
    settings = StepSettings(loss=job.train.loss, average_decay=arguments.ema, **clips)
    return Trainer(state, settings, job.train.schedule, arguments.steps, device)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny")
    made.add_argument("--shards", nargs="+", default=[SHARDS], help="shards of clean photographs (default: the sample set)")
    made.add_argument("--test", default="sample-test", help="held-out photographs (default: %(default)s)")
    made.add_argument(
        "--crop", type=count, default=160, help="side of the held-out crops, a multiple of 4 (default: %(default)s)"
    )
    whole = {"steps": 2000, "every": 500, "images": 4, "patch": 64, "rank": 16, "warmup": 20, "threads": 2}
    rates = {"lr": 2e-3, "bias-lr": 2e-3, "grad-clip": 0.02, "bias-grad-clip": 0.02, "ema": 0.99}
    reference = {"unet-lr": 2e-3, "unet-bias-lr": 2e-3, "unet-grad-clip": 1.0, "unet-bias-grad-clip": 1.0}
    for name, default in whole.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    for name, default in {**rates, **reference}.items():
        made.add_argument(f"--{name}", type=float, default=default, help="default: %(default)s")
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    run_script(main)
