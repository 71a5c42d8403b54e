"""`evaluate RUN|CHECKPOINT`: PSNR and SSIM on frozen test sets, under a named protocol."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cli.output import Json, Storage, console, emit, say, table
from ipt_platform.cli.progress import progress_bar
from ipt_platform.errors import UsageError
from ipt_platform.evaluate.params import parse_params, task_with_params
from ipt_platform.evaluate.protocols import find_protocol
from ipt_platform.evaluate.report import HEADINGS, rows_of
from ipt_platform.evaluate.run import evaluate_sets
from ipt_platform.evaluate.testset import FrozenTask, TestItem, TestSet, open_testsets
from ipt_platform.evaluate.triptych import triptych
from ipt_platform.restore.model import choose_device, find_weights, load_restorer, registered_for, tasks_of
from ipt_platform.restore.tiles import DEFAULT_OVERLAP, DEFAULT_TILE, check_sizes, restore_array


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="Run id, or folder of a run or checkpoint.")],
    sets: Annotated[
        list[str], typer.Option("--set", metavar="SET", help="Folder of pictures, shard glob, or card name; repeatable.")
    ],
    tasks: Annotated[
        list[str] | None, typer.Option("--task", metavar="TASK", help="Task to measure; repeatable. Default: all of the run.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="KEY=VALUE",
            help="Parameter of the degradation, sigma=25, or of a step, rain.density=0.01; repeatable.",
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="rgb-float, rgb-uint8 or y-uint8.")] = "rgb-uint8",
    samples: Annotated[Path | None, typer.Option(help="Write triptychs degraded | restored | clean here.")] = None,
    tile: Annotated[int, typer.Option(help="Longest side given to the model, pixels.")] = DEFAULT_TILE,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = DEFAULT_OVERLAP,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Measure a trained model: pictures are degraded the same way every time, restored, and compared."""
    find_protocol(protocol)
    check_sizes(tile, overlap)
    where = choose_device(device)
    weights = find_weights(storage, run)
    for _, reason in weights.passed_over:
        say(console(stderr=True), f"passed over: {reason}")
    chosen = _tasks(tasks or tasks_of(weights.checkpoint), params or [], registered_for(weights.checkpoint, storage))
    testsets = open_testsets(_distinct(sets), Path(), chosen)
    if params and (paired := next((testset for testset in testsets if testset.paired), None)):
        raise UsageError(f"--param has no effect on the pairs of {paired.name}, which are measured as they are: leave it out")

    def restore_fn_of(task: str):
        model = load_restorer(weights.checkpoint, task, where)
        return lambda degraded: restore_array(model, degraded, where, tile, overlap)

    total = sum(len(testset) * len(testset.measured(chosen)) for testset in testsets)
    with progress_bar("measuring pictures") as progress:
        done = 0

        def told(testset: TestSet, task: FrozenTask, item: TestItem, restored: np.ndarray, scores: Mapping[str, float]) -> None:
            nonlocal done
            done += 1
            progress(done, total)
            if samples:
                _write_triptych(samples, f"{Path(testset.name).name}-{task.name}-{item.key}", item, restored, scores)

        found = evaluate_sets(restore_fn_of, testsets, chosen, protocol, told)
    data = {
        "checkpoint": str(weights.checkpoint),
        "protocol": protocol,
        "sets": found,
        "params": {task.name: task.params for task in chosen},
        "pairs": [testset.name for testset in testsets if testset.paired],
        "digests": {
            testset.name: {task.name: testset.digest(task) for task in testset.measured(chosen)} for testset in testsets
        },
    }
    emit(data, as_json, lambda to: _render(to, data))


def _tasks(names: list[str], params: list[str], registered: Path | None) -> list[FrozenTask]:
    if not names:
        raise UsageError("this checkpoint does not name its tasks (one model was trained for all): name one with --task")
    if params and len(names) > 1:
        raise UsageError(f"--param belongs to one task, and there are {', '.join(names)}: name one with --task")
    values = parse_params(params)
    return [task_with_params(name, values, registered=registered) for name in _distinct(names)]


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _write_triptych(folder: Path, name: str, item: TestItem, restored: np.ndarray, scores: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = triptych(item.degraded, restored, item.clean, scores["psnr_input"], scores["psnr"])
    replace_file(folder / f"{re.sub(r'[^a-zA-Z0-9._-]+', '_', name)}.png", picture)


def _render(to: Console, data: Mapping[str, Any]) -> None:
    table(to, HEADINGS, [row.cells() for row in rows_of(data["sets"])], right=HEADINGS[2:])
    say(to, f"protocol {data['protocol']}, {data['checkpoint']}")
    for name, digests in data["digests"].items():
        for task, digest in digests.items():
            how = "pairs as they are" if name in data["pairs"] else data["params"][task]
            say(to, f"test set {name}, {task} {how}: {digest[:16]}")
