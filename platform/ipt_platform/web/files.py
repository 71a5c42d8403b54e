"""From the words of an address to a run and its files: names are looked up in listings, and never joined to a path unseen."""

import re
import secrets
from pathlib import Path

from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import check_run_id, find_run
from ipt_platform.web.settings import Settings

MEMBER = ":"
"""Stands in an address between a search or an analysis and one of its runs."""

_SAMPLES = re.compile(r"samples/step-(\d+)/([^/]+)")


def run_of(settings: Settings, name: str) -> RunDir:
    """The run that an address names: by its id, or `ID:MEMBER` for one of the runs of a search or an analysis.

    Raises:
        NotFoundError: there is none, or the name is none of a run.
        InfrastructureError: S3 fails.
    """
    whole, _, member = name.partition(MEMBER)
    for each in (whole, member) if member else (whole,):
        try:
            check_run_id(each)
        except UsageError as error:
            raise NotFoundError(str(error)) from error
    run = find_run(settings.storage, whole)
    return find_run(f"{run.place}/{run.members.name}", member) if member else run


def sample_names(run: RunDir) -> dict[int, list[str]]:
    """The names of the files of a run's samples by step, in order."""
    if mirror := run.mirror:
        names = list(mirror.remote.entries("samples"))
    else:
        folders = run.samples(0).parent.glob("step-*")
        names = [
            path.relative_to(run.path).as_posix()
            for folder in folders
            for path in folder.iterdir()
            if path.is_file() and not path.name.startswith(".")
        ]
    found: dict[int, list[str]] = {}
    for match in filter(None, map(_SAMPLES.fullmatch, names)):
        found.setdefault(int(match[1]), []).append(match[2])
    return {step: sorted(found[step]) for step in sorted(found)}


def sample_file(run: RunDir, step: int, name: str) -> Path:
    """One file of a run's samples, on this machine; one on S3 is fetched unless it is here.

    Raises:
        NotFoundError: the run has no such file.
        InfrastructureError: S3 fails.
    """
    if name not in sample_names(run).get(step, ()):
        raise NotFoundError(f"run {run.id} has no sample {name!r} of step {step}")
    path = run.samples(step) / name
    if run.mirror and not path.is_file():
        temporary = path.with_name(f".{name}-{secrets.token_hex(4)}")  # others may ask for it at the same time
        run.mirror.remote.fetch(f"samples/step-{step}/{name}", temporary)
        temporary.replace(path)
    return path
