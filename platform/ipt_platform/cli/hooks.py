"""`hooks ...`: the webhooks of the configuration file."""

import secrets
from typing import Any

import typer

from ipt_platform.cli.output import Json, Run, Storage, emit, say, table
from ipt_platform.cluster.target import config_path
from ipt_platform.cluster.telling import hooks, notifiers
from ipt_platform.errors import InfrastructureError, NotFoundError
from ipt_platform.notify.message import test_message
from ipt_platform.notify.post import post
from ipt_platform.observe.events import utc_now
from ipt_platform.observe.feed import FeedError, tell
from ipt_platform.observe.storage import find_run

app = typer.Typer(name="hooks", no_args_is_help=True, add_completion=False)


@app.callback()
def _hooks_of_the_configuration() -> None:
    """Tell those who want to know of state changes."""


@app.command("test")
def send_test(as_json: Json = False) -> None:
    """Send a message to every hook of the configuration file, and say what each answers."""
    found: list[dict[str, Any]] = []
    for hook in _hooks():
        message = test_message(utc_now().isoformat(timespec="milliseconds"), secrets.token_hex(16))
        try:
            status = post(hook, message)
            answer, taken = f"{hook.host} answers {status}", 200 <= status < 300
        except FeedError as error:
            answer, taken = str(error), False
        found.append({"hook": hook.name, "id": message.id, "taken": taken, "answer": answer})
    emit(found, as_json, lambda to: table(to, ("hook", "answer"), [(each["hook"], each["answer"]) for each in found]))
    if refused := [each["hook"] for each in found if not each["taken"]]:
        raise InfrastructureError(f"not taken by {', '.join(refused)}")


@app.command("tell")
def tell_run(run: Run, storage: Storage = "runs", as_json: Json = False) -> None:
    """Tell every hook what it has not been told of a run."""
    _hooks()
    folder = find_run(storage, run)
    feeds = notifiers(folder, since=1)
    for feed in feeds:
        tell(feed)
    names = [feed.name for feed in feeds]
    words = f"{folder.id}: {' and '.join(names)} {'have' if len(names) > 1 else 'has'} been told everything"
    emit({"run": folder.id, "told": names}, as_json, lambda to: say(to, words))


def _hooks() -> list[Any]:
    if found := hooks():
        return found
    raise NotFoundError(f"there are no hooks: {config_path()} has no [notify.NAME]")
