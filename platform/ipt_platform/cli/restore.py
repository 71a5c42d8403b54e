"""`restore IN... -o OUT --task TASK`: pictures in, restored pictures out; by the tasks that are named, said, or seen."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, console, emit, say
from ipt_platform.cli.progress import progress_bar
from ipt_platform.errors import ExitCode, UsageError
from ipt_platform.restore.model import choose_device
from ipt_platform.restore.route.ask import route_by_text
from ipt_platform.restore.route.route import Route, by_name
from ipt_platform.restore.run import RestoreReport, Work, plan_restore, restore_paths
from ipt_platform.restore.sources import Sources
from ipt_platform.restore.tiles import DEFAULT_OVERLAP, DEFAULT_TILE, check_sizes


def restore(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures (PNG, JPEG, WebP) and folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder; for one picture also an output file.")],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Task to undo: of the run; without --run a registered one, NAME[@VERSION|@ALIAS]. Repeatable.",
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--say", metavar="TEXT", help="What you want, in your own words: chooses the tasks.")
    ] = None,
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
    if (text is None) == (not tasks):
        raise UsageError("say what to undo in one way: --task TASK or --say TEXT")
    work = plan_restore(inputs, out, overwrite)
    sources = Sources(storage, run, choose_device(device), tile, overlap)
    notes = console(stderr=True)
    for _, reason in sources.weights.passed_over if sources.weights else []:
        say(notes, f"passed over: {reason}")
    route = by_name(tasks) if tasks else _asked(text or "", sources, notes)
    steps = sources.steps(route.tasks)
    places = {each: place for place, each in enumerate(work)}
    with progress_bar("restoring pictures") as progress:

        def told(each: Work, done: int, total: int) -> None:
            # Fractions of a picture, so that the bar moves within a large one.
            progress(places[each] + (done / total if total else 1), len(work))

        report = restore_paths(work, lambda each, picture: steps, told)
    _emit(sources, route, report, len(work), as_json)
    if report.failed:
        raise typer.Exit(ExitCode.USAGE)


def _asked(text: str, sources: Sources, notes: Console) -> Route:
    """The tasks of an instruction, which are said before anything is done."""
    for reason in sources.offer.passed_over:
        say(notes, f"passed over: {reason}")
    with progress_bar("learning what people say of these tasks") as progress:
        route = route_by_text(text, sources.offer, sources.storage, progress, lambda note: say(notes, note))
    say(notes, f"asked for: {', then '.join(map(str, route.steps))}")
    return route


def _emit(sources: Sources, route: Route, report: RestoreReport, pictures: int, as_json: bool) -> None:
    used = [sources.source(task) for task in route.tasks]
    scale = math.prod(source.scale for source in used)
    data = {
        "checkpoint": sources.weights and str(sources.weights.checkpoint),
        "steps": [
            {"task": source.task, "share": step.share, "version": source.version, "scale": source.scale}
            for source, step in zip(used, route.steps, strict=True)
        ],
        "scale": scale,
        "restored": [{"input": str(each.source), "output": str(each.target)} for each in report.done],
        "failed": [{"input": str(path), "reason": reason} for path, reason in report.failed],
    }

    def render(to: Console) -> None:
        for path, reason in report.failed:
            say(console(stderr=True), f"not restored: {path}: {reason}")
        larger = f", {scale} times as wide and high" if scale > 1 else ""
        by = ", then ".join(source.version or source.task for source in used)
        say(
            to,
            f"{len(report.done)} of {pictures} restored by {by}{larger}: "
            + ", ".join(str(each.target) for each in report.done[:4])
            + (" ..." if len(report.done) > 4 else ""),
        )

    emit(data, as_json, render)
