"""`route train`: teach the router that chooses tasks by what a picture shows."""

from typing import Annotated

import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, console, emit, say
from ipt_platform.cli.progress import progress_bar
from ipt_platform.errors import storage_failed
from ipt_platform.evaluate.preview import open_photographs
from ipt_platform.restore.offer import offer_of_registry
from ipt_platform.restore.route.blind import save_blind_router
from ipt_platform.restore.route.store import routers_folder
from ipt_platform.restore.route.teach import draws_to_see, teach

app = typer.Typer(name="route", no_args_is_help=True, add_completion=False)


@app.callback()
def _route() -> None:
    """Look after what chooses tasks for `restore --auto`."""


@app.command()
def train(
    shards: Annotated[
        list[str] | None,
        typer.Option("--shards", metavar="SHARDS", help="Clean photographs; repeatable. Default: the sample set."),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help="Crops to learn from, of each task.")] = 128,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Teach the router for pictures all tasks that a picture can show; it replaces the one before."""
    notes = console(stderr=True)
    photographs = open_photographs(shards)
    draws = draws_to_see(offer_of_registry(storage).specs, lambda note: say(notes, note))
    with progress_bar("looking at damage") as progress:
        router = teach(photographs, draws, pictures, seed, progress)
    place = routers_folder(storage, new=True) / "blind"
    named = shards or ["the sample set"]
    try:
        save_blind_router(place, router, f"{photographs.images} photographs of {', '.join(named)}")
    except OSError as error:
        raise storage_failed(error, place) from error

    def render(to: Console) -> None:
        say(to, f"{place}: learned {', '.join(router.tasks)}, and when there is nothing to do")

    data = {"router": str(place), "tasks": list(router.tasks), "photographs": photographs.images, "pictures": pictures}
    emit(data, as_json, render)
