"""What another task costs a process that restores: changing it over loading a model, and merged weights over plain ones.

A checkpoint of an untrained model with several task biases is written to a temporary folder and lies in the page cache when
it is loaded: with the digests of its files, as `ipt-platform restore` does, and without. A change is one to a task whose merged
weights are not kept; `kept` is one to a task whose weights are. The plain side is the backbone alone, its branches fused, on
the same picture. All sides go in turn.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.load import load_model, merged_for
from ipt_platform.checkpoint.state import load_biased_model, state_files
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.restore.switch import TaskSwitch
from ipt_platform.spec.parts import BiasSpec
from ipt_platform.train.layout import bias_layout

TASKS = ("derain", "dehaze", "desnow")


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = _write(Path(folder), _model(arguments), arguments.backbone)
        changes = _in_turn(_changes(checkpoint), arguments.rounds)
        runs = _in_turn(_runs(checkpoint, arguments.size), arguments.rounds)
    finish(
        arguments,
        before,
        [
            Figure("changing the task over loading a model", _ratio(changes, "change", "load"), at_most=0.05),
            Figure("changing the task over loading without digests", _ratio(changes, "change", "load, no digests")),
            Figure("merged inference over the plain backbone", _ratio(runs, "merged", "plain"), at_most=1.02),
            Figure("inference after a change over the plain backbone", _ratio(runs, "switched", "plain"), at_most=1.02),
            *(Figure(name, spread([1000 * each for each in values]), "ms") for name, values in (changes | runs).items()),
        ],
    )


def _changes(checkpoint: Path) -> dict[str, Callable[[], Any]]:
    model = load_biased_model(checkpoint)
    anew, kept = TaskSwitch(model, keep=1), TaskSwitch(model, keep=len(TASKS))
    for task in TASKS:
        kept.restorer(task)
    first, second = cycle(TASKS), cycle(TASKS)
    return {
        "load": lambda: load_model(checkpoint, TASKS[0]),
        "load, no digests": lambda: merged_for(load_biased_model(checkpoint), TASKS[0]),
        "change": lambda: anew.restorer(next(first)),
        "change, kept": lambda: kept.restorer(next(second)),
    }


def _runs(checkpoint: Path, size: int) -> dict[str, Callable[[], Any]]:
    model = load_biased_model(checkpoint)
    picture = torch.rand(1, 3, size, size)
    sides: dict[str, nn.Module] = {
        "plain": merged_for(BiasedModel(model.backbone, {}), ""),
        "merged": merged_for(model, TASKS[0]),
        "switched": TaskSwitch(model).restorer(TASKS[0]),
    }

    @torch.inference_mode()
    def run(side: nn.Module) -> torch.Tensor:
        return side(picture)

    return {name: lambda side=side: run(side) for name, side in sides.items()}


def _in_turn(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, every other round backwards; a round before them is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in list(sides.items())[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - began)
        note(f"round {number}/{rounds}: {', '.join(f'{name} {1000 * each[-1]:.1f} ms' for name, each in seconds.items())}")
    return {name: each[1:] for name, each in seconds.items()}


def _ratio(seconds: Mapping[str, list[float]], side: str, other: str) -> Any:
    return spread([one / two for one, two in zip(seconds[side], seconds[other], strict=True)])


def _model(arguments: argparse.Namespace) -> BiasedModel:
    torch.manual_seed(0)
    backbone = build_backbone(arguments.backbone).requires_grad_(False)
    layout = bias_layout(backbone, BiasSpec(rank=arguments.rank))
    biases = {task: TaskBias(backbone, layout) for task in TASKS}
    for bias in biases.values():
        for factor in bias.parameters():
            factor.data.normal_(0, 0.01)
    return BiasedModel(backbone, biases)


def _write(folder: Path, model: BiasedModel, backbone: str) -> Path:
    optimizer = torch.optim.AdamW(model.parameters())
    files = state_files(model, None, optimizer, step=1, backbone=backbone, progress={})
    return commit(folder, 1, files, nullcontext)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-base", help="default: %(default)s")
    whole = {"rounds": 12, "size": 128, "rank": 16, "threads": 2}
    for name, default in whole.items():
        made.add_argument(f"--{name}", type=count, default=default, help="default: %(default)s")
    return made


if __name__ == "__main__":
    run_script(main)
