"""What the schema cannot know of a job that restores: whether its pictures are there, and whether its values fit together."""

from itertools import islice
from pathlib import Path

from ipt_platform.errors import InfrastructureError, IptError, Problem, SpecError
from ipt_platform.spec.dataset import find_shards
from ipt_platform.spec.parts import RestoreRule
from ipt_platform.spec.source import Document
from ipt_platform.spec.tiling import tiling_problem
from ipt_platform.storage.files import s3
from ipt_platform.storage.paths import S3Path, any_path


def names_shards(text: str) -> bool:
    """Whether the input of a job names shards, and not a folder or prefix with pictures below it."""
    return text.endswith(".tar")


def check_input(document: Document, base: Path, given: str) -> list[Problem]:
    """Whether there is such a folder, prefix or shard."""
    try:
        problem = _input_problem(base, given)
    except InfrastructureError:
        raise
    except SpecError as error:
        return [document.problem(("input",), each.message) for each in error.problems]
    except IptError as error:
        problem = str(error)
    return [document.problem(("input",), problem)] if problem else []


def check_output(document: Document, base: Path, given: str, output: str) -> list[Problem]:
    """Whether outputs could have the names they would get."""
    try:
        source, target = any_path(given), any_path(output)
    except IptError as error:
        return [document.problem(("output",), str(error))] if _is_url(output) else []
    if isinstance(target, S3Path):
        return [document.problem(("output",), _SAME)] if source == target else []
    if (base / target).exists() and not (base / target).is_dir():
        return [document.problem(("output",), f"{output} is a file; name a folder")]
    if isinstance(source, Path) and (base / source).resolve() == (base / target).resolve():
        return [document.problem(("output",), _SAME)]
    return []


def check_rules(document: Document, base: Path, rules: tuple[RestoreRule, ...], run: str | None) -> list[Problem]:
    """Whether every rule can be reached, and names what the job has."""
    problems = []
    first = next((place for place, rule in enumerate(rules) if rule.match is None), len(rules))
    for place, rule in enumerate(rules):
        if place > first:
            problems.append(document.problem(("tasks", place), "is never reached: a rule before it takes every picture"))
        if run is not None and "@" in rule.task:
            message = f"{rule.task!r} is a version of a registered task, and `run` says where the models are; leave one out"
            problems.append(document.problem(("tasks", place, "task"), message))
    return problems


def check_tiling(document: Document, base: Path, tile: int, overlap: int) -> list[Problem]:
    """Whether such tiles can be laid."""
    found = tiling_problem(tile, overlap)
    return [document.problem((found[0],), found[1])] if found else []


_SAME = "is the input; restored pictures need a folder or prefix of their own"


def _input_problem(base: Path, given: str) -> str:
    if names_shards(given):
        find_shards((given,), base)
        return ""
    path = any_path(given)
    if isinstance(path, S3Path):
        prefix = S3Path(path.bucket, f"{path.key}/" if path.key else "")
        there = [*islice(s3().list(prefix, deep=True), 1)]
        return "" if there else f"there is nothing below {prefix}"
    if (base / path).is_dir():
        return ""
    hint = (
        "; `ipt-platform restore` restores single files" if (base / path).is_file() else " (relative to where the command runs)"
    )
    return f"there is no folder {given}{hint}"


def _is_url(text: str) -> bool:
    return "://" in text
