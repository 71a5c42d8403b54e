"""`task register`, `ls`, `show`, `diff`, `verify`, `promote`, `rollback`, `rm`, `export` and `import`: tasks of one's own."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.output import AnyStorage, Json, console, emit, pairs, say, table
from ipt_platform.cli.progress import progress_bar
from ipt_platform.cli.versions import change_line, instead, show_numbers, show_version, version_row
from ipt_platform.errors import ExitCode, NotFoundError, UsageError
from ipt_platform.observe.machine import user_name
from ipt_platform.registry.catalogue import SHEET, TASKS, Catalogue, Row, Version
from ipt_platform.registry.compare import compare
from ipt_platform.registry.history import By
from ipt_platform.registry.names import check_alias, parse_reference, parse_versioned
from ipt_platform.registry.store import VARIABLE, Registry, open_catalogue, open_registry
from ipt_platform.registry.words import METRICS, described, sets_in_words

app = typer.Typer(name="task", no_args_is_help=True, add_completion=False)

Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; the history keeps it.")]
Alias = Annotated[str, typer.Option("--as", metavar="ALIAS", help="Name that points to a version, such as prod.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
One = Annotated[str, typer.Argument(metavar="NAME@V", help="Task and version.")]
Some = Annotated[str, typer.Argument(metavar="NAME[@V]", help="Task; or one version of it, or an alias.")]


@app.callback()
def _task() -> None:
    """Register tasks, look at their versions, and say which of them people restore with."""


@app.command()
def register(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Task file (YAML).")],
    shards: Annotated[
        list[str] | None,
        typer.Option("--shards", metavar="SHARDS", help="Clean photographs for the sheet; default: the sample set."),
    ] = None,
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Check a task file, draw eight of its pairs to look at, and store it as the next version of the task."""
    from ipt_platform.evaluate.preview import open_photographs
    from ipt_platform.registry.register import register_file
    from ipt_platform.spec.task import load_task_file

    photographs = None if load_task_file(file).pairs else open_photographs(shards)
    registry = _registry(storage, new=True)
    found = register_file(registry, file, Path(), photographs, user_name(), _now())
    notes = console(stderr=True)
    for bad in found.bad:
        say(notes, f"passed over: {bad.name}: {bad.reason}")
    record = found.version.record
    sheet = _sheet(registry.catalogue, found.version)

    def render(to: Console) -> None:
        if not found.new:
            say(to, f"{found.version} says the same as {file}; nothing was stored")
        else:
            say(to, f"{found.version} registered")
            pairs(
                to,
                [
                    ("pairs to look at", sheet),
                    ("measured on", sets_in_words(found.version)),
                    ("gates", ", ".join(record.task.gates)),
                ],
            )

    emit({**_name(found.version), "new": found.new, "sheet": sheet, "record": record.model_dump(mode="json")}, as_json, render)


@app.command()
def ls(storage: AnyStorage = "runs", as_json: Json = False) -> None:
    """List the tasks that are registered: versions, aliases, owner."""
    try:
        data = _tasks(_registry(storage))
    except NotFoundError:  # nothing was ever registered there, which is no error
        data = []

    def render(to: Console) -> None:
        if not data:
            say(to, f"no tasks are registered in {storage}; `ipt-platform task register FILE` makes the first")
            return
        columns = ("task", "newest", "with a pack", "passed", "aliases", "owner", "since", "description")
        table(to, columns, [_listed(each) for each in data], right=("newest",))

    emit(data, as_json, render)


@app.command()
def show(task: Some, storage: AnyStorage = "runs", as_json: Json = False) -> None:
    """Show a task with its versions and its history, or one version of it."""
    catalogue = open_catalogue(storage)
    reference = parse_reference(task)
    view = catalogue.known(reference.task)
    if reference.task != str(reference):
        version = catalogue.version(reference.task, catalogue.number(reference))
        data = described(catalogue, view, version)
        emit(data, as_json, lambda to: show_version(to, version, data, _sheet(catalogue, version)))
        return
    versions = [described(catalogue, view, catalogue.version(view.name, number)) for number in view.versions]
    changes = catalogue.changes(view.name)
    history = [change.model_dump(mode="json") for change in changes]
    data = {"task": view.name, "aliases": dict(view.aliases), "versions": versions, "history": history}

    def render(to: Console) -> None:
        say(to, f"{view.name}: {versions[-1]['record']['task']['description']}")
        columns = ("version", "aliases", "created", "owner", "pack of run", "gates", *METRICS)
        table(to, columns, [version_row(each) for each in versions], right=("version",))
        for change in changes:
            say(to, change_line(change))

    emit(data, as_json, render)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="Task and version, or alias: my-derain@1.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The same: my-derain@2.")],
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Say what two versions differ in: degradation, data, gates, pack, numbers."""
    catalogue = open_catalogue(storage)
    old, new = (
        catalogue.version(reference.task, catalogue.number(reference))
        for reference in (parse_reference(before), parse_reference(after))
    )
    found = compare(catalogue, old, new)

    def render(to: Console) -> None:
        if not found:
            say(to, f"{old} and {new} say the same")
            return
        table(to, ("", str(old), str(new)), [(each.what, each.before, each.after) for each in found])

    emit({"before": str(old), "after": str(new), "differences": [vars(each) for each in found]}, as_json, render)


@app.command()
def verify(task: Some, storage: AnyStorage = "runs", as_json: Json = False) -> None:
    """Check a version, or all of a task: every digest, and that each pack loads on its backbone in a fresh process."""
    from ipt_platform.registry.verify import verify_version

    catalogue = open_catalogue(storage)
    reference = parse_reference(task)
    view = catalogue.known(reference.task)
    numbers = view.versions if str(reference) == reference.task else (catalogue.number(reference),)
    found = {number: verify_version(catalogue, view.name, number) for number in numbers}
    problems = sum(map(len, found.values()))

    def render(to: Console) -> None:
        for number, said in found.items():
            for problem in said:
                say(to, f"{view.name}@{number}: {problem}")
        say(to, f"{len(found)} versions of {view.name}: {f'{problems} problems' if problems else 'all whole'}")

    data = {"task": view.name, "versions": [{"version": number, "problems": said} for number, said in found.items()]}
    emit(data, as_json, render)
    if problems:
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def promote(
    version: One,
    alias: Alias,
    force: Annotated[bool, typer.Option("--force", help="Also where a gate is missed; needs --reason.")] = False,
    reason: Reason = None,
    device: Device = "auto",
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Let an alias point to a version: measured anew, its gates passed, not worse than the version before."""
    from ipt_platform.registry.gates import Judgement, judge
    from ipt_platform.registry.promote import promote as promote_version
    from ipt_platform.registry.serve import Candidate
    from ipt_platform.restore.model import choose_device, restorers

    check_alias(alias)
    reference = parse_versioned(version)
    restorer_of = restorers(choose_device(device))
    registry = _registry(storage)
    with progress_bar("measuring pictures") as progress:

        def judged(candidate: Candidate, holder: Candidate | None) -> Judgement:
            return judge(candidate, holder, Path(), restorer_of, progress)

        change = promote_version(registry, reference, alias, judged, _by(reason), force)

    def render(to: Console) -> None:
        if not change:
            say(to, f"{alias} points to {reference} already; nothing was changed")
            return
        show_numbers(to, change.numbers)
        for missed in change.missed:
            say(to, f"although {missed}")
        if not change.numbers and not change.missed:
            say(to, "nothing was measured: the task names no test sets")
        say(to, f"{alias} points to {reference} now{instead(change)}")

    emit({"promoted": change is not None, "change": change and change.model_dump(mode="json")}, as_json, render)


@app.command()
def rollback(
    task: Annotated[str, typer.Argument(metavar="NAME", help="Task.")],
    alias: Alias,
    reason: Reason = None,
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Let an alias point to the version that it pointed to before."""
    from ipt_platform.registry.promote import rollback as roll_back

    name = _task_alone(task)
    change = roll_back(_registry(storage), name, check_alias(alias), _by(reason))
    emit(
        {"change": change.model_dump(mode="json")},
        as_json,
        lambda to: say(to, f"{alias} points to {name}@{change.version} again{instead(change)}"),
    )


@app.command()
def rm(
    which: Annotated[str, typer.Argument(metavar="NAME@V", help="Task and version; or task and alias, which is taken away.")],
    reason: Reason = None,
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Remove a version that no alias points to, or take an alias away; its number is not used again."""
    from ipt_platform.registry.promote import drop, remove

    reference = parse_reference(which)
    if reference.alias:
        change = drop(_registry(storage), reference.task, reference.alias, _by(reason))
        said = f"{reference.task} has no alias {reference.alias} any more; it pointed to version {change.previous}"
    else:
        change = remove(_registry(storage), parse_versioned(which), _by(reason))
        said = f"{reference} was removed"
    emit({"change": change.model_dump(mode="json")}, as_json, lambda to: say(to, said))


@app.command()
def export(
    version: Some,
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Tar to write.")],
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Write a version, with its pack and backbone, into one plain tar; of a task alone, the newest."""
    from ipt_platform.registry.archive import export_version

    catalogue = open_catalogue(storage)
    reference = parse_reference(version)
    found = catalogue.version(reference.task, catalogue.number(reference))
    manifest = export_version(catalogue, found, out)
    size = out.stat().st_size
    data = {**_name(found), "file": str(out), "bytes": size, "files": sorted(manifest.files)}
    emit(data, as_json, lambda to: say(to, f"{out}: {found}, {len(manifest.files)} files, {size:,} bytes"))


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tar that `task export` wrote.")],
    device: Device = "auto",
    storage: AnyStorage = "runs",
    as_json: Json = False,
) -> None:
    """Make the version in a tar the next version of its task here, after checking everything in it."""
    from ipt_platform.registry.archive import import_version
    from ipt_platform.restore.model import choose_device, restorers

    restorer_of = restorers(choose_device(device))
    trained, manifest = import_version(_registry(storage, new=True), file, Path(), restorer_of, _now())
    there = f"{manifest.task}@{manifest.version}"

    def render(to: Console) -> None:
        if not trained.new:
            say(to, f"{there} of {file} is {trained.version} here already; nothing was stored")
            return
        say(to, f"{there} of {file} is {trained.version} here")
        if trained.judgement:
            show_numbers(to, trained.judgement.numbers)
            for missed in trained.judgement.missed:
                say(to, f"gate: {missed}")

    verdict = trained.judgement and {"passed": trained.judgement.passed, **vars(trained.judgement)}
    emit({**_name(trained.version), "new": trained.new, "exported_as": there, "verdict": verdict}, as_json, render)


def _registry(storage: str, new: bool = False) -> Registry:
    return open_registry(storage, os.environ.get(VARIABLE), new)


def _tasks(registry: Registry) -> list[dict[str, Any]]:
    """Every task with its versions and aliases, from the index."""
    for problem in registry.sync():
        say(console(stderr=True), f"left out: {problem}")
    pointing: dict[str, dict[str, int]] = {}
    for task, alias, version in registry.index.aliases():
        pointing.setdefault(task, {})[alias] = version
    tasks: dict[str, list[Row]] = {}
    for row in registry.index.rows():
        if row.committed:
            tasks.setdefault(row.task, []).append(row)
    return [
        {
            "task": task,
            "versions": [row.version for row in rows],
            "trained": [row.version for row in rows if row.backbone],
            "passed": [row.version for row in rows if row.passed],
            "aliases": pointing.get(task, {}),
            "owner": rows[-1].owner,
            "created": rows[-1].created,
            "description": rows[-1].description,
        }
        for task, rows in tasks.items()
    ]


def _by(reason: str | None) -> By:
    return By(user_name(), _now(), reason)


def _now() -> datetime:
    return datetime.now(UTC)


def _task_alone(text: str) -> str:
    reference = parse_reference(text)
    if str(reference) != reference.task:
        raise UsageError(f"{text!r}: name the task alone, as in {reference.task}")
    return reference.task


def _name(version: Version) -> dict[str, Any]:
    return {"task": version.record.name, "version": version.record.version}


def _sheet(catalogue: Catalogue, version: Version) -> str:
    return str(catalogue.files.at(f"{TASKS}/{version.record.name}/{version.record.version}/{SHEET}"))


def _listed(task: dict[str, Any]) -> list[str]:
    numbers = {name: ", ".join(map(str, task[name])) or "-" for name in ("trained", "passed")}
    aliases = ", ".join(f"{alias}={version}" for alias, version in task["aliases"].items()) or "-"
    told = [task["owner"], task["created"][:10], task["description"]]
    return [task["task"], str(task["versions"][-1]), *numbers.values(), aliases, *told]
