"""Tasks: those that are registered, with versions, aliases, gates and sheets; what two versions differ in; those that ship."""

import functools

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ipt_platform.errors import DataError, UsageError
from ipt_platform.registry.catalogue import PACK, SHEET, Catalogue, TaskView, Version
from ipt_platform.registry.compare import compare
from ipt_platform.registry.names import parse_reference
from ipt_platform.registry.words import (
    MEASURED,
    METRICS,
    change_in_words,
    degradation_in_words,
    described,
    mean_in_words,
    measured_in_words,
    sets_in_words,
    verdict_in_words,
)
from ipt_platform.spec.task import TaskSpec, load_task, task_names
from ipt_platform.web.render import page
from ipt_platform.web.services import services


def _tasks(request: Request) -> Response:
    found = services(request)
    return page(request, "tasks/tasks.html", storage=found.settings.storage, rows=found.registered.rows(), shipped=_shipped())


@functools.cache
def _shipped() -> list[TaskSpec]:
    return [load_task(name) for name in task_names()]


def _task(request: Request) -> Response:
    catalogue, view = _known(request)
    versions = [_version_row(catalogue, view, number) for number in reversed(view.versions)]
    changes = [(change, change_in_words(change)) for change in reversed(catalogue.changes(view.name))]
    return page(request, "tasks/task.html", view=view, versions=versions, changes=changes, metrics=METRICS)


def _version(request: Request) -> Response:
    catalogue, view = _known(request)
    version = _one(catalogue, view, request.path_params["version"])
    told = described(catalogue, view, version)
    numbers = (told["verdict"] or {"numbers": []})["numbers"]
    task = version.record.task
    return page(
        request,
        "tasks/version.html",
        view=view,
        version=version,
        told=told,
        columns=MEASURED,
        measured=[measured_in_words(each) for each in numbers],
        sets=sets_in_words(version),
        source=f"{version.record.pairs.pictures} pairs on disk"
        if version.record.pairs
        else degradation_in_words(task.degradation),
        verdict=verdict_in_words(told["passed"]),
        sheet=SHEET if SHEET in version.seal.files else "",
        pictures=sorted(name for name in version.seal.files if name.startswith(f"{PACK}/") and name.endswith(".png")),
        text=version.record.to_bytes().decode(),
    )


def _picture(request: Request) -> Response:
    """A picture of a version: its name is one that COMMIT has, and its bytes are those."""
    catalogue, view = _known(request)
    version = _one(catalogue, view, request.path_params["version"])
    name = request.path_params["name"]
    if name not in version.seal.files or not name.endswith(".png"):
        raise HTTPException(404, f"{version} has no picture {name!r}")
    data = catalogue.read(view.name, version.record.version, version.seal, name)
    headers = {"ETag": f'"{version.seal.files[name].sha256[:24]}"', "Cache-Control": "private, max-age=31536000, immutable"}
    return Response(data, media_type="image/png", headers=headers)


def _difference(request: Request) -> Response:
    catalogue, view = _known(request)
    sides = [_one(catalogue, view, request.query_params.get(side, "")) for side in ("before", "after")]
    return page(request, "tasks/difference.html", view=view, before=sides[0], after=sides[1], found=compare(catalogue, *sides))


def _known(request: Request) -> tuple[Catalogue, TaskView]:
    """The task of an address.

    Raises:
        NotFoundError: no such task is registered.
        HTTPException: that is no name of a task.
    """
    name = request.path_params["task"]
    try:
        plain = parse_reference(name).task == name
    except UsageError:
        plain = False
    if not plain:
        raise HTTPException(404, f"{name!r} is no name of a task")
    catalogue = services(request).registered.catalogue
    return catalogue, catalogue.known(name)


def _one(catalogue: Catalogue, view: TaskView, number: str) -> Version:
    """A version of a task that counts, by its number.

    Raises:
        HTTPException: there is none, or it is damaged.
    """
    if not (number.isascii() and number.isdecimal()) or len(number) > 9 or int(number) not in view.versions:
        raise HTTPException(404, f"{view.name} has no version {number!r}; there are {', '.join(map(str, view.versions))}")
    try:
        return catalogue.version(view.name, int(number))
    except DataError as error:  # not the fault of who asks
        raise HTTPException(500, str(error)) from error


def _version_row(catalogue: Catalogue, view: TaskView, number: int) -> dict[str, object]:
    try:
        told = described(catalogue, view, catalogue.version(view.name, number))
    except DataError as error:
        return {"number": number, "problem": str(error)}
    numbers = (told["verdict"] or {"numbers": []})["numbers"]
    return {
        "number": number,
        "problem": "",
        "told": told,
        "verdict": verdict_in_words(told["passed"]),
        "means": [mean_in_words(metric, numbers) for metric in METRICS],
    }


routes = [
    Route("/tasks", _tasks),
    Route("/tasks/{task}", _task),
    Route("/tasks/{task}/difference", _difference),
    Route("/tasks/{task}/{version}", _version),
    Route("/tasks/{task}/{version}/{name:path}", _picture),
]
