"""`validate FILE`, `plan JOB` and `schema`: what a job file says, and what it would do, without running it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ipt_platform.cli.output import Json, emit, say, table
from ipt_platform.errors import ExitCode, SpecError, UsageError
from ipt_platform.spec.anyfile import check_file
from ipt_platform.spec.job import CompoundJob, TrainJob
from ipt_platform.spec.load import LoadedJob, dump_job, load_job
from ipt_platform.spec.schema import SCHEMAS
from ipt_platform.spec.words import did_you_mean

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="Job file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value by dotted path: --set train.stages.0.steps=200."),
]

SHOWN_SHARDS = 8
SHOWN_JOBS = 30


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Job, task or dataset file (YAML).")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Check a job, task or dataset file: every error at once, each with its line."""
    try:
        checked = check_file(file, overrides or ())
        if checked.kind in BEYOND:
            BEYOND[checked.kind](load_job(file, overrides or ()))
    except SpecError as error:
        if not as_json:
            raise
        emit({"valid": False, "file": str(file), "problems": [vars(each) for each in error.problems]}, True, _nothing)
        raise typer.Exit(ExitCode.USAGE) from error

    def render(to: Console) -> None:
        say(to, f"{file}: {checked}")
        _notes(to, checked.warnings)

    emit({"valid": True, "file": str(file), **vars(checked)}, as_json, render)


def plan(
    job_file: JobFile,
    overrides: Overrides = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Print the job with every default written out.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a job would do: steps, samples, crops, parameters, shards, test sets."""
    # torch takes seconds to import, and nothing else in this file needs it but the backbone of a finetune
    from ipt_platform.train.plan import resolve_plan
    from ipt_platform.tune.forecast import compound_plan

    loaded = load_job(job_file, overrides or ())
    job = loaded.job
    if job.kind in BEYOND:
        BEYOND[job.kind](loaded)
    planned = compound_plan(loaded, Path()) if isinstance(job, CompoundJob) else resolve_plan(job)

    def render(to: Console) -> None:
        if resolved:
            to.file.write(dump_job(job))
        elif job.kind == "evaluate":
            _evaluate_plan(to, planned)
        elif job.kind == "restore":
            _restore_plan(to, planned)
        elif isinstance(job, CompoundJob):
            _compound_plan(to, planned)
        else:
            _train_plan(to, planned)

    emit({**planned, "job": job.model_dump(mode="json")}, as_json, render)


def schema(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"One of: {', '.join(SCHEMAS)}.")] = "job",
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a file, for editors; it is JSON with or without --json."""
    if what not in SCHEMAS:
        raise UsageError(f"there is no schema of '{what}'{did_you_mean(what, SCHEMAS)}")
    found = SCHEMAS[what]()
    emit(found, as_json, lambda to: print(json.dumps(found, indent=2), file=to.file))


def _find_frozen(loaded: LoadedJob) -> None:
    """Check what a finetune job names beyond its file."""
    from ipt_platform.train.frozen import find_frozen

    find_frozen(loaded, Path())


def _find_beginning(loaded: LoadedJob) -> None:
    """Check what a training job names beyond its file."""
    if isinstance(loaded.job, TrainJob) and loaded.job.start:
        from ipt_platform.train.frozen import find_beginning

        find_beginning(loaded, Path())


def _choose_models(loaded: LoadedJob) -> None:
    """Check what a job that restores names beyond its file."""
    from ipt_platform.restore.models import choose_models

    choose_models(loaded, Path())


def _find_parts(loaded: LoadedJob) -> None:
    """Check what a search or an analysis names beyond its file."""
    from ipt_platform.tune.beyond import check_beyond

    check_beyond(loaded, Path())


BEYOND: dict[str, Callable[[LoadedJob], None]] = {
    "train": _find_beginning,
    "finetune": _find_frozen,
    "restore": _choose_models,
    "tune": _find_parts,
    "analyze": _find_parts,
}
"""By kind of job, what checks the models that it names."""


def _train_plan(to: Console, plan: dict[str, Any]) -> None:
    counts = [str(number) for number in plan["possible_workers"]]
    workers = f"{' or '.join(counts)} worker{'s' if plan['workers'] > 1 else ''}"
    say(to, f"{plan['name']}: {plan['mode']} training of {plan['backbone']} on {workers}")
    if "source" in plan:
        say(to, f"frozen backbone {plan['fingerprint']} from {plan['source']}")
    drawn = f"{plan['samples']:,} images drawn" + (f" ({plan['epochs']:g} times {plan['images']:,})" if plan["images"] else "")
    say(to, f"{plan['steps']:,} steps, {drawn}, {plan['crops']:,} crops")
    for task, found in plan["pairs"].items():
        shards = f"{len(found['shards'])} shard{'s' if len(found['shards']) > 1 else ''}"
        say(to, f"{task} reads pairs: {found['images']:,} in {shards}, drawn {found['epochs']:g} times")
    say(to, "")
    columns = ("stage", "from step", "steps", "patch", "images/step", "per worker", "crops/step", "crops of each task")
    rows = [[str(number), *_stage(stage)] for number, stage in enumerate(plan["stages"])]
    table(to, columns, rows, right=columns[:-1])
    say(to, "")
    backbone = plan["parameters"]["backbone"]
    parts = {"backbone": backbone} | {f"bias of {task}": n for task, n in plan["parameters"]["bias"].items()}
    rows = [[part, f"{n:,}", f"{n / backbone:.1%}"] for part, n in parts.items()]
    table(to, ("part", "parameters", "of backbone"), rows, right=("parameters", "of backbone"))
    say(to, "")
    read = [*plan["shards"], *(each for found in plan["pairs"].values() for each in found["shards"])]
    shards = [[each["path"], f"{each['images']:,}"] for each in read]
    table(to, ("shard", "images"), shards[:SHOWN_SHARDS], right=("images",))
    if shards[SHOWN_SHARDS:]:
        say(to, f"and {len(shards) - SHOWN_SHARDS:,} more shards (all of them with --json)")
    _sets(to, plan)


def _stage(stage: dict[str, Any]) -> list[str]:
    crops = ", ".join(f"{task} {n}" for task, n in stage["crops_by_task"].items())
    numbers = ("first_step", "steps", "patch", "images", "images_per_worker", "crops")
    return [*(f"{stage[name]:,}" for name in numbers), crops]


def _evaluate_plan(to: Console, plan: dict[str, Any]) -> None:
    say(to, f"{plan['name']}: evaluation of {plan['checkpoint']} on {', '.join(plan['tasks'])} under {plan['protocol']}")
    _sets(to, plan)


def _restore_plan(to: Console, plan: dict[str, Any]) -> None:
    actors = f"{plan['actors']} actor{'s' if plan['actors'] > 1 else ''}"
    say(to, f"{plan['name']}: {plan['pictures']:,} pictures of {plan['input']} to {plan['output']} on {actors}")
    others = {"outputs are there already": "found", "that no rule matches": "unmatched", "other files": "ignored"}
    told = [f"{plan[key]:,} {words}" for words, key in others.items() if plan[key]]
    if told:
        say(to, ", ".join(told))
    for bad in plan["bad"]:
        say(to, f"cannot be restored: {bad['name']}: {bad['reason']}")
    say(to, "")
    rows = [[rule["match"] or "(every other)", rule["task"]] for rule in plan["rules"]]
    table(to, ("pictures that match", "get"), rows)
    say(to, "")
    table(to, ("task", "pictures"), [[task, f"{n:,}"] for task, n in plan["tasks"].items()], right=("pictures",))
    _notes(to, plan["warnings"])


def _compound_plan(to: Console, plan: dict[str, Any]) -> None:
    say(to, f"{plan['name']}: {plan.get('what', 'search')}, {plan['jobs']:,} jobs")
    say(to, f"up to {plan['steps']:,} steps in all, {plan['at_a_time']} at a time on this machine")
    say(to, "")
    cells = ("job", "role", "seed", "steps", "begins_with")
    rows = [[str(each[name]) for name in cells] for each in plan["members"]]
    table(to, ("job", "what for", "seed", "steps", "begins with"), rows[:SHOWN_JOBS], right=("seed", "steps"))
    if rows[SHOWN_JOBS:]:
        say(to, f"and {len(rows) - SHOWN_JOBS:,} more (all of them with --json)")
    if plan["knobs"]:
        say(to, "")
        table(to, ("knob", "values"), [[path, values] for path, values in plan["knobs"].items()])
    _notes(to, plan["warnings"])


def _sets(to: Console, plan: dict[str, Any]) -> None:
    if plan["sets"]:
        say(to, "")
        rows = [[each["name"], ", ".join(each["tasks"]), ", ".join(each["paths"])] for each in plan["sets"]]
        table(to, ("test set", "measures", "where"), rows)
    _notes(to, plan["warnings"])


def _notes(to: Console, notes: list[str]) -> None:
    for note in notes:
        say(to, f"note: {note}")


def _nothing(to: Console) -> None:
    """There is nothing for people here: without --json the error itself speaks."""
