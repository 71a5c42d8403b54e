"""`job diff A B`: what two jobs differ in, each a file or what a run was started with."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, Storage, emit, say, table
from ipt_platform.observe.storage import find_run
from ipt_platform.spec.load import job_changes, read_job

app = typer.Typer(name="job", no_args_is_help=True, add_completion=False)


@app.callback()
def _job() -> None:
    """Compare jobs."""


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Job file, or run.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Job file, or run.")],
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Say what two jobs differ in, with every default written out."""
    changes = job_changes(*(read_job(_file(each, storage)) for each in (before, after)))

    def render(to: Console) -> None:
        if changes:
            table(to, ("", before, after), [(each.path, each.before, each.after) for each in changes])
        else:
            say(to, f"{before} and {after} are the same job")

    emit({"before": before, "after": after, "differences": [vars(each) for each in changes]}, as_json, render)


def _file(name: str, storage: str) -> Path:
    """A file itself; else the resolved job of the run of this name.

    Raises:
        NotFoundError: there is neither.
    """
    return Path(name) if Path(name).is_file() else find_run(storage, name).job
