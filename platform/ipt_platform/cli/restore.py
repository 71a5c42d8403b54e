"""`restore IN... -o OUT --task TASK`: pictures in, restored pictures out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, console, emit, say
from ipt_platform.cli.progress import progress_bar
from ipt_platform.errors import ExitCode
from ipt_platform.restore.model import choose_device
from ipt_platform.restore.run import Work, plan_restore, restore_paths
from ipt_platform.restore.source import find_source
from ipt_platform.restore.tiles import DEFAULT_OVERLAP, DEFAULT_TILE, check_sizes, restore_array


def restore(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures (PNG, JPEG, WebP) and folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder; for one picture also an output file.")],
    task: Annotated[
        str,
        typer.Option(metavar="TASK", help="Task to undo: of the run; without --run a registered one, NAME[@VERSION|@ALIAS]."),
    ],
    run: Annotated[str | None, typer.Option(metavar="RUN|CHECKPOINT", help="Run id, or folder of a run or checkpoint.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    tile: Annotated[int, typer.Option(help="Longest side given to the model, pixels.")] = DEFAULT_TILE,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.")] = DEFAULT_OVERLAP,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Restore pictures of any size; bad ones are named and the others restored (exit code 2).

    A super-resolution task (sr2, sr3, sr4) gives pictures so many times as wide and high.
    """
    check_sizes(tile, overlap)
    work = plan_restore(inputs, out, overwrite)
    where = choose_device(device)
    source = find_source(storage, run, task, where)
    notes = console(stderr=True)
    for _, reason in source.passed_over:
        say(notes, f"passed over: {reason}")
    places = {each: place for place, each in enumerate(work)}
    with progress_bar("restoring pictures") as progress:

        def told(each: Work, done: int, total: int) -> None:
            # Fractions of a picture, so that the bar moves within a large one.
            progress(places[each] + (done / total if total else 1), len(work))

        report = restore_paths(
            work,
            lambda picture, on_tile: restore_array(source.model, picture, where, tile, overlap, on_tile),
            told,
            source.scale,
        )
    data = {
        "checkpoint": source.checkpoint and str(source.checkpoint),
        "task": source.task,
        "version": source.version,
        "scale": source.scale,
        "restored": [{"input": str(each.source), "output": str(each.target)} for each in report.done],
        "failed": [{"input": str(path), "reason": reason} for path, reason in report.failed],
    }

    def render(to: Console) -> None:
        for path, reason in report.failed:
            say(notes, f"not restored: {path}: {reason}")
        larger = f", {source.scale} times as wide and high" if source.scale > 1 else ""
        by = f" by {source.version}" if source.version else ""
        say(
            to,
            f"{len(report.done)} of {len(work)} restored{by}{larger}: {', '.join(str(each.target) for each in report.done[:4])}"
            + (" ..." if len(report.done) > 4 else ""),
        )

    emit(data, as_json, render)
    if report.failed:
        raise typer.Exit(ExitCode.USAGE)
