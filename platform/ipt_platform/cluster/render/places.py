"""The paths that a job names, and whether they are there on the machines of a cluster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ipt_platform.errors import SpecError
from ipt_platform.spec.job import AnyJob
from ipt_platform.spec.source import Document
from ipt_platform.storage.paths import SCHEME

_PATHS = ("storage", "data.shards", "input", "output", "start.pack")
"""Keys that hold paths, whatever stands there."""

_SETS = ("evaluate.sets", "sets")
"""Keys that hold paths or names of dataset cards, which are files as well."""

_RUNS = ("backbone", "start", "checkpoint", "run", "before", "after")
"""Keys that hold the id of a run, which lies in the storage, or a path."""


@dataclass(frozen=True)
class Place:
    """A path of this machine that a job names.

    Attributes:
        key: where it stands in the job.
        path: what stands there.
    """

    key: str
    path: str


def local_places(job: AnyJob, base: Path) -> list[Place]:
    """Every path of this machine that a job names, once for each key; paths on S3 are none.

    Args:
        job: the job.
        base: what relative paths of the job are relative to.
    """
    plain = job.model_dump(mode="json")
    return [Place(key, path) for key, path in _named(plain, base) if not path.startswith(SCHEME)]


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
                f"'{place.path}' is a path of this machine, and the cluster does not have it; give a path on s3://, or "
                f"{option} with a volume that holds it"
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
        yield from ((f"{prefix}{key}", name) for name in _texts(part.get(key)) if _is_path(name, base))
    # the parts of a search or an analysis are written as jobs are
    for key in ("base", "before", "after"):
        if isinstance(part.get(key), Mapping):
            yield from _named(part[key], base, f"{prefix}{key}.")
    variants = part.get("variants")
    for name, variant in variants.items() if isinstance(variants, Mapping) else ():
        steps = variant if isinstance(variant, list) else [variant]
        for number, step in enumerate(steps):
            place = f"{prefix}variants.{name}." + (f"{number}." if isinstance(variant, list) else "")
            if isinstance(step, Mapping):
                yield from _named(step, base, place)


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
