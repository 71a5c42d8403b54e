"""The paths that a job names, and whether they are there on the machines of a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ipt_platform.errors import SpecError
from ipt_platform.spec.job import AnyJob
from ipt_platform.spec.registered import FOLDER, find_registered
from ipt_platform.spec.source import Document
from ipt_platform.spec.task import load_task, owned_file
from ipt_platform.storage.paths import SCHEME

_PATHS = ("storage", "data.shards", "input", "output", "start.pack")
"""Keys that hold paths, whatever stands there."""

_SETS = ("evaluate.sets", "sets")
"""Keys that hold paths or names of dataset cards, which are files as well."""

_RUNS = ("backbone", "start", "checkpoint", "run", "before", "after", "search.prior")
"""Keys that hold the id of a run, which lies in the storage, or a path."""


@dataclass(frozen=True)
class Place:
    """A path of this machine that a job names.

    Attributes:
        key: where it stands in the job.
        path: what stands there.
        other: what may be done beside mounting a volume that holds it.
    """

    key: str
    path: str
    other: str = "give a path on s3://, or "


def local_places(job: AnyJob, base: Path) -> list[Place]:
    """Every path of this machine that a job names, once for each key; paths on S3 are none.

    The user's own task files belong to them, and the pairs that a task names.

    Args:
        job: the job.
        base: what relative paths of the job are relative to.
    """
    plain = job.model_dump(mode="json")
    named = [Place(key, path) for key, path in _named(plain, base)]
    tasks = [place for key, name in _tasks_of(plain) for place in _of_task(key, name, base, job.storage)]
    return [place for place in (*named, *dict.fromkeys(tasks)) if not place.path.startswith(SCHEME)]


def check_places(places: Sequence[Place], mount: str | None, option: str, document: Document) -> None:
    """That every path is there on a cluster: below the mount of a shared volume.

    The job runs in the mount, so a relative path is one below it.

    Args:
        places: the paths.
        mount: where the volume is mounted; None: there is none.
        option: the option that mounts one.
        document: the job file, for lines.

    Raises:
        SpecError: some are not; every one of them.
    """
    problems = []
    for place in places:
        if mount is None:
            message = (
                f"'{place.path}' is a path of this machine, and the cluster does not have it; {place.other}{option} with a "
                "volume that holds it"
            )
        elif not _below(place.path, mount):
            message = (
                f"'{place.path}' does not lie on the volume that is mounted at {mount}; give a path below it, relative to it "
                f"or from {mount}/"
            )
        else:
            continue
        problems.append(document.problem(tuple(place.key.split(".")), message))
    if problems:
        raise SpecError(problems)


def _below(path: str, mount: str) -> bool:
    pure = PurePosixPath(mount) / path
    return ".." not in pure.parts and pure.is_relative_to(mount)


def _named(part: Mapping[str, Any], base: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key in (*_PATHS, *_SETS):
        yield from ((f"{prefix}{key}", path) for path in _texts(_at(part, key)))
    for key in _RUNS:
        yield from ((f"{prefix}{key}", name) for name in _texts(_at(part, key)) if _is_path(name, base))
    for place, inner in _parts(part):
        yield from _named(inner, base, f"{prefix}{place}.")


def _parts(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of a search or an analysis, which are written as jobs are."""
    for key in ("base", "before", "after"):
        if isinstance(part.get(key), Mapping):
            yield key, part[key]
    variants = part.get("variants")
    for name, variant in variants.items() if isinstance(variants, Mapping) else ():
        steps = {f".{number}": step for number, step in enumerate(variant)} if isinstance(variant, list) else {"": variant}
        yield from ((f"variants.{name}{number}", step) for number, step in steps.items() if isinstance(step, Mapping))


def _tasks_of(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The tasks that a job is trained or measured with, and where it names them."""
    named = part.get("tasks")
    names = [*named] if isinstance(named, Mapping) else _texts(named)
    yield from ((f"{prefix}tasks", name) for name in names)
    yield from ((f"{prefix}task", name) for name in _texts(part.get("task")))
    for place, inner in _parts(part):
        yield from _tasks_of(inner, f"{prefix}{place}.")


def _of_task(key: str, name: str, base: Path, storage: str) -> Iterator[Place]:
    registered = None if storage.startswith(SCHEME) else base / storage / FOLDER
    own = owned_file(name, base)
    if own and not (registered and find_registered(registered, name)):
        yield Place(key, own.relative_to(base).as_posix(), other="")
    with suppress(SpecError):  # no task: one of a base, in whose place every variant has others
        yield from (Place(key, pattern) for pattern in load_task(name, base, registered).pairs or ())


def _at(part: Any, key: str) -> Any:
    for step in key.split("."):
        part = part.get(step) if isinstance(part, Mapping) else None
    return part


def _texts(value: Any) -> list[str]:
    """One text or a list of them; what stands there else is no path."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _is_path(name: str, base: Path) -> bool:
    return "/" in name or (base / name).exists()
