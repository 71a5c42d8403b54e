"""A job file in, a checked job out; and back: the text that is stored with a run, and the difference of two jobs."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.analyze import own_keys
from ipt_platform.spec.checks import semantic_problems
from ipt_platform.spec.compound import scaled
from ipt_platform.spec.compound_checks import compound_problems
from ipt_platform.spec.job import JOB, JOB_KINDS, AnalyzeJob, AnyJob, TuneJob
from ipt_platform.spec.overrides import apply_overrides
from ipt_platform.spec.problems import problems_of, shown
from ipt_platform.spec.source import Document, KeyPath, MisreadError, dump_yaml, load_yaml

ORDER = (
    "apiVersion", "kind", "what", "name", "seed", "seeds", "scale", "scales", "scaled_to", "base", "search", "before", "after",
    "variants", "claims", "paper", "model", "backbone", "input", "output", "run", "tasks", "task", "bias", "start", "data",
    "train", "evaluate", "checkpoint", "track", "transplant", "targets", "compress", "tile", "overlap", "cluster",
)  # fmt: skip
ABSENT = "(absent)"
_TOLD = re.compile(r"(base\.|before\.|after\.|variants\.[^.]+\.(\d+\.)?)?track(\.|$)")


@dataclass(frozen=True)
class LoadedJob:
    """A job and the file it came from, `task` written out as `tasks`."""

    job: AnyJob
    document: Document


def load_job(
    path: Path | str,
    overrides: Sequence[str] = (),
    base: Path = Path(),
    data_here: bool = True,
    tasks: Path | None = None,
) -> LoadedJob:
    """Read, override and check a job file.

    Args:
        path: The YAML file.
        overrides: `KEY=VALUE` texts of `--set`, applied in order.
        base: What relative paths in the job are relative to: the directory the command runs in.
        data_here: Whether to look for the data that the job reads, which need not lie on this machine.
        tasks: Of a run's own job: the folder with the tasks that the run keeps, which come before all others.

    Raises:
        NotFoundError: No such file.
        UsageError: The file cannot be read.
        SpecError: The job is wrong: YAML, schema or meaning; carries every problem with its line.
    """
    try:
        document = replace(apply_overrides(load_yaml(path), overrides), tasks=tasks)
    except MisreadError as misread:
        raise SpecError([*misread.problems, *_further_problems(misread, base, data_here)]) from misread
    return loaded_job(document, base, data_here)


def loaded_job(document: Document, base: Path = Path(), data_here: bool = True) -> LoadedJob:
    """`check_job` with the document as it was checked.

    Raises:
        SpecError: as `check_job`.
    """
    return LoadedJob(check_job(document, base, data_here), _written_out(document))


def check_job(document: Document, base: Path = Path(), data_here: bool = True) -> AnyJob:
    """The job in a document, after schema and semantic checks.

    Raises:
        SpecError: Every problem of both.
    """
    document = _written_out(document)
    try:
        job = JOB.validate_python(document.value)
    except ValidationError as error:
        model = _model_of(document.value)
        problems = problems_of(error, model, document, tagged=True)
        if model is not None:
            refused = {detail["loc"][1:] for detail in error.errors()}
            problems += _beyond_the_schema(document, model, refused, base, data_here)
        raise SpecError(sorted(problems, key=lambda problem: problem.line)) from error
    problems = _beyond_the_schema(document, type(job), (), base, data_here)
    if problems:
        raise SpecError(sorted(problems, key=lambda problem: problem.line))
    return job


def _beyond_the_schema(
    document: Document, model: type[AnyJob], refused: Collection[KeyPath], base: Path, data_here: bool
) -> list[Problem]:
    if model in (TuneJob, AnalyzeJob):
        return compound_problems(document, refused, base, lambda member: check_job(member, base, data_here))
    return semantic_problems(document, model, refused, base, data_here)


def _written_out(document: Document) -> Document:
    """With its scale laid over it, and `task` written out."""
    return _with_tasks(scaled(document))


def _with_tasks(document: Document) -> Document:
    """`task: NAME` written out, on the line where it stands: as `tasks: [NAME]`, or as the one rule of a job that restores."""
    value = document.value
    places: dict[KeyPath, tuple[KeyPath, ...]] = {("task",): (("tasks",), ("tasks", 0))}
    match value:
        case {"kind": "finetune", "task": str(name)} if "tasks" not in value:
            tasks: list[Any] = [name]
        case {"kind": "restore", "task": str(name)} if "tasks" not in value:
            tasks = [{"task": name}]
            places = {("task",): (*places[("task",)], ("tasks", 0, "task"))}
        case _:
            return document
    return replace(
        document,
        value={("tasks" if key == "task" else key): tasks if key == "task" else each for key, each in value.items()},
        lines={new: line for path, line in document.lines.items() for new in places.get(path, (path,))},
        overrides={new: text for path, text in document.overrides.items() for new in places.get(path, (path,))},
    )


def _further_problems(misread: MisreadError, base: Path, data_here: bool) -> list[Problem]:
    """What is wrong with the rest of a misread file, and not only a consequence of what was misread."""
    try:
        check_job(misread.document, base, data_here)
    except SpecError as error:
        told = {problem.path for problem in misread.problems}
        return [problem for problem in error.problems if problem.path not in told]
    return []


def dump_job(job: AnyJob) -> str:
    """The resolved job as YAML, every default written out; `load_job` of it gives an equal job."""
    plain = job.model_dump(mode="json")
    plain = own_keys(plain) if isinstance(job, AnalyzeJob) else plain
    ordered = {name: plain[name] for name in (*ORDER, *plain) if name in plain}
    return dump_yaml(ordered)


def read_job(path: Path | str) -> AnyJob:
    """The job in a file by its schema alone, every default written out: whether what it names is there is not looked at.

    Raises:
        NotFoundError: No such file.
        UsageError: The file cannot be read.
        SpecError: It is not YAML, or no job.
    """
    document = _written_out(load_yaml(path))
    try:
        return JOB.validate_python(document.value)
    except ValidationError as error:
        raise SpecError(problems_of(error, _model_of(document.value), document, tagged=True)) from error


@dataclass(frozen=True)
class Change:
    """A value that differs between two jobs: its dotted path, and what it is in each (ABSENT: the job has none)."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} -> {self.after}"


def job_diff(old: AnyJob, new: AnyJob) -> list[str]:
    """What changed of what a job does, one `path: old -> new` per value; empty when both do the same.

    Which trackers are told of it is no part of that.
    """
    return [str(change) for change in job_changes(old, new) if not _TOLD.match(change.path)]


def job_changes(old: AnyJob, new: AnyJob) -> list[Change]:
    """What changed from one job to another, value by value; empty when they are equal."""
    before, after = leaves(old.model_dump(mode="json")), leaves(new.model_dump(mode="json"))
    return [
        Change(path, _text(before, path), _text(after, path))
        for path in dict.fromkeys([*before, *after])
        if path not in before or path not in after or before[path] != after[path]
    ]


def _model_of(value: Any) -> type[AnyJob] | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return JOB_KINDS.get(kind) if isinstance(kind, str) else None


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path to every value that is no container (or an empty one)."""
    if isinstance(value, dict) and value:
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        items = [(str(position), inner) for position, inner in enumerate(value)]
    else:
        return {path: value}
    return {leaf: found for key, inner in items for leaf, found in leaves(inner, f"{path}.{key}" if path else key).items()}


def _text(values: dict[str, Any], path: str) -> str:
    return shown(values[path]) if path in values else ABSENT
