"""`restore IN... -o OUT --task TASK`: pictures in, restored pictures out; by the tasks that are named, said, or seen."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, console, emit, say
from ipt_platform.cli.progress import progress_bar
from ipt_platform.errors import ExitCode, UsageError
from ipt_platform.restore.model import choose_device
from ipt_platform.restore.route.ask import route_by_text
from ipt_platform.restore.route.auto import Auto, in_words
from ipt_platform.restore.route.blind import load_blind_router
from ipt_platform.restore.route.route import Route, by_name
from ipt_platform.restore.route.store import routers_folder
from ipt_platform.restore.run import Choose, RestoreReport, Step, Work, plan_restore, restore_paths
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
    embedding: Annotated[
        Path | None,
        typer.Option("--embedding", metavar="FILE", help="With --say: word vectors (GloVe, fastText's .vec) to understand by."),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Let each picture choose its task, or none.")] = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="With --auto: mix the biases of all tasks that a picture may need.")
    ] = False,
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
    if (text is not None) + bool(tasks) + auto != 1:
        raise UsageError("say in one way what to undo: --task TASK, --say TEXT or --auto")
    if mix and not auto:
        raise UsageError("--mix mixes what --auto sees: give both")
    if embedding and text is None:
        raise UsageError("--embedding is for the words of --say: give both")
    work = plan_restore(inputs, out, overwrite)
    sources = Sources(storage, run, choose_device(device), tile, overlap)
    notes = console(stderr=True)
    for _, reason in sources.weights.passed_over if sources.weights else []:
        say(notes, f"passed over: {reason}")
    routes: dict[Work, Route] = {}
    if auto:
        choose = _by_picture(sources, mix, routes, notes)
    else:
        route = by_name(tasks) if tasks else _said(text or "", embedding, sources, notes)
        choose = _always(sources.steps(route.tasks))
        routes = dict.fromkeys(work, route)
    places = {each: place for place, each in enumerate(work)}
    with progress_bar("restoring pictures") as progress:

        def told(each: Work, done: int, total: int) -> None:
            # Fractions of a picture, so that the bar moves within a large one.
            progress(places[each] + (done / total if total else 1), len(work))

        report = restore_paths(work, choose, told)
    _emit(sources, routes, report, auto, as_json)
    if report.failed:
        raise typer.Exit(ExitCode.USAGE)


def _said(text: str, embedding: Path | None, sources: Sources, notes: Console) -> Route:
    """The tasks of an instruction, which are told before anything is done."""
    _pass_over(sources, notes)
    with progress_bar("learning what people say of these tasks") as progress:
        route = route_by_text(text, sources.offer, sources.storage, progress, lambda note: say(notes, note), embedding)
    say(notes, f"asked for: {', then '.join(map(str, route.steps))}")
    return route


def _always(steps: list[Step]) -> Choose:
    return lambda work, picture: steps


def _by_picture(sources: Sources, mix: bool, routes: dict[Work, Route], notes: Console) -> Choose:
    """What chooses for each picture by itself, and keeps what it chose."""
    _pass_over(sources, notes)
    auto = Auto(load_blind_router(routers_folder(sources.storage) / "blind"), sources.offer, mix)
    mixed = sources.mixer(auto.within_reach) if mix else None

    def choose(work: Work, picture: np.ndarray) -> list[Step]:
        route = routes[work] = auto.route(picture)
        if mixed and route.steps:
            return mixed({step.task: step.share for step in route.steps})
        return sources.steps(route.tasks)

    return choose


def _pass_over(sources: Sources, notes: Console) -> None:
    for reason in sources.offer.passed_over:
        say(notes, f"passed over: {reason}")


def _emit(sources: Sources, routes: Mapping[Work, Route], report: RestoreReport, auto: bool, as_json: bool) -> None:
    def about(work: Work) -> dict[str, Any]:
        route = routes[work]
        seen = {"seen": [asdict(share) for share in route.nearest]} if auto else {}
        return {"input": str(work.source), **seen, "steps": [sources.about(step) for step in route.steps]}

    data = {
        "checkpoint": sources.weights and str(sources.weights.checkpoint),
        "restored": [about(work) | {"output": str(work.target)} for work in report.done],
        "left": [about(work) | {"reason": routes[work].reason} for work in report.left],
        "failed": [{"input": str(path), "reason": reason} for path, reason in report.failed],
    }

    def render(to: Console) -> None:
        for work in [*report.done, *report.left] if auto else []:
            say(to, f"{work.source}: {in_words(routes[work])}")
        for path, reason in report.failed:
            say(console(stderr=True), f"not restored: {path}: {reason}")
        pictures = len(report.done) + len(report.left) + len(report.failed)
        by = "" if auto or not report.done else f" by {sources.in_words(routes[report.done[0]])}"
        targets = ", ".join(str(work.target) for work in report.done[:4]) + (" ..." if len(report.done) > 4 else "")
        say(to, f"{len(report.done)} of {pictures} restored{by}" + (f": {targets}" if targets else ""))

    emit(data, as_json, render)
