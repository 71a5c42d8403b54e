"""`registry rebuild`: the index of the registered tasks, made anew from their files."""

import os
from datetime import UTC, datetime

import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, emit, say
from ipt_platform.errors import ExitCode
from ipt_platform.registry.store import VARIABLE, open_registry

app = typer.Typer(name="registry", no_args_is_help=True, add_completion=False)


@app.callback()
def _registry() -> None:
    """Look after the index of the registered tasks."""


@app.command()
def rebuild(storage: AnyStorage = "runs", as_json: Json = False) -> None:
    """Make the index anew from the files, and clear away what was given up or removed; damaged versions are named."""
    registry = open_registry(storage, os.environ.get(VARIABLE), new=False)
    damaged, cleared = registry.rebuild(datetime.now(UTC))
    versions = [row for row in registry.index.rows() if row.committed]

    def render(to: Console) -> None:
        for problem in damaged:
            say(to, f"left out: {problem}")
        for place in cleared:
            say(to, f"cleared away: {registry.files.at(place)}")
        say(to, f"{len(versions)} versions of {len({row.task for row in versions})} tasks in the index")

    data = {"versions": len(versions), "tasks": sorted({row.task for row in versions}), "damaged": damaged, "cleared": cleared}
    emit(data, as_json, render)
    if damaged:
        raise typer.Exit(ExitCode.USAGE)
