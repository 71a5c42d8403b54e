"""A job file in, a checked job out; and back: the text that is stored with a run, and the difference of two jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.checks import semantic_problems
from ipt_platform.spec.job import JOB, JOB_KINDS, AnyJob
from ipt_platform.spec.overrides import apply_overrides
from ipt_platform.spec.problems import problems_of, shown
from ipt_platform.spec.source import Document, KeyPath, MisreadError, dump_yaml, load_yaml

ORDER = (
    "apiVersion", "kind", "name", "seed", "model", "backbone", "input", "output", "run", "tasks", "task", "bias", "start",
    "data", "train", "evaluate", "checkpoint", "tile", "overlap", "cluster",
)  # fmt: skip
ABSENT = "(absent)"


@dataclass(frozen=True)
class LoadedJob:
    """A job and the file it came from, `task` written out as `tasks`."""

    job: AnyJob
    document: Document


def load_job(path: Path | str, overrides: Sequence[str] = (), base: Path = Path()) -> LoadedJob:
    """Read, override and check a job file.

    Args:
        path: The YAML file.
        overrides: `KEY=VALUE` texts of `--set`, applied in order.
        base: What relative paths in the job are relative to: the directory the command runs in.

    Raises:
        NotFoundError: No such file.
        UsageError: The file cannot be read.
        SpecError: The job is wrong: YAML, schema or meaning; carries every problem with its line.
    """
    try:
        document = apply_overrides(load_yaml(path), overrides)
    except MisreadError as misread:
        raise SpecError([*misread.problems, *_further_problems(misread, base)]) from misread
    return LoadedJob(check_job(document, base), _with_tasks(document))


def check_job(document: Document, base: Path = Path()) -> AnyJob:
    """The job in a document, after schema and semantic checks.

    Raises:
        SpecError: Every problem of both.
    """
    document = _with_tasks(document)
    try:
        job = JOB.validate_python(document.value)
    except ValidationError as error:
        model = _model_of(document.value)
        problems = problems_of(error, model, document, tagged=True)
        if model is not None:
            refused = {detail["loc"][1:] for detail in error.errors()}
            problems += semantic_problems(document, model, refused, base)
        raise SpecError(sorted(problems, key=lambda problem: problem.line)) from error
    problems = semantic_problems(document, type(job), (), base)
    if problems:
        raise SpecError(problems)
    return job


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
    return Document(
        {("tasks" if key == "task" else key): tasks if key == "task" else each for key, each in value.items()},
        {new: line for path, line in document.lines.items() for new in places.get(path, (path,))},
        document.file,
        {new: text for path, text in document.overrides.items() for new in places.get(path, (path,))},
    )


def _further_problems(misread: MisreadError, base: Path) -> list[Problem]:
    """What is wrong with the rest of a misread file, and not only a consequence of what was misread."""
    try:
        check_job(misread.document, base)
    except SpecError as error:
        told = {problem.path for problem in misread.problems}
        return [problem for problem in error.problems if problem.path not in told]
    return []


def dump_job(job: AnyJob) -> str:
    """The resolved job as YAML, every default written out; `load_job` of it gives an equal job."""
    plain = job.model_dump(mode="json")
    ordered = {name: plain[name] for name in (*ORDER, *plain) if name in plain}
    return dump_yaml(ordered)


def job_diff(old: AnyJob, new: AnyJob) -> list[str]:
    """What changed from one job to another, one `path: old -> new` per value; empty when they are equal."""
    before, after = _leaves(old.model_dump(mode="json")), _leaves(new.model_dump(mode="json"))
    return [
        f"{path}: {_text(before, path)} -> {_text(after, path)}"
        for path in dict.fromkeys([*before, *after])
        if path not in before or path not in after or before[path] != after[path]
    ]


def _model_of(value: Any) -> type[AnyJob] | None:
    kind = value.get("kind") if isinstance(value, dict) else None
    return JOB_KINDS.get(kind) if isinstance(kind, str) else None


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path to every value that is no container (or an empty one)."""
    if isinstance(value, dict) and value:
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value:
        items = [(str(position), inner) for position, inner in enumerate(value)]
    else:
        return {path: value}
    return {leaf: found for key, inner in items for leaf, found in _leaves(inner, f"{path}.{key}" if path else key).items()}


def _text(leaves: dict[str, Any], path: str) -> str:
    return shown(leaves[path]) if path in leaves else ABSENT
