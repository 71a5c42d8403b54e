"""What a job that restores has to do: which pictures are missing, and which task each of them gets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipt_platform.data.bad import Bad
from ipt_platform.errors import UsageError
from ipt_platform.restore.outputs import Outputs
from ipt_platform.restore.pictures import Picture, list_input
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.parts import RestoreRule
from ipt_platform.storage.listing import matches


@dataclass(frozen=True)
class Work:
    """The pictures of a job.

    Attributes:
        missing: those without an output, by task as the job names it; in the order of rules and names.
        found: how many outputs are there already.
        unmatched: how many pictures no rule takes.
        ignored: how many files are no pictures by their names.
        refused: pictures that no output can be named after.
        tasks: how many pictures each task has, with and without an output.
    """

    missing: dict[str, list[Picture]]
    found: int
    unmatched: int
    ignored: int
    refused: list[Bad]
    tasks: dict[str, int]

    @property
    def total(self) -> int:
        """Pictures that the job is about."""
        return sum(self.tasks.values()) + len(self.refused)


def find_work(job: RestoreJob, run: str, base: Path) -> Work:
    """Look at input and output of a job.

    Args:
        job: the job.
        run: the id of its run.
        base: what relative paths of the job are relative to.

    Raises:
        UsageError: there is nothing to restore.
        NotFoundError, DataError, InfrastructureError: as `pictures.list_input` and `Outputs.names`.
    """
    listing = list_input(job.input, job.output, base)
    if not listing.pictures and not listing.refused:
        raise UsageError(
            f"nothing to restore: no PNG, JPEG or WebP files in {job.input} ({listing.ignored} other files); shards are "
            "named as in photos/*.tar"
        )
    there = Outputs.of(job.output, run, base).names()
    missing: dict[str, list[Picture]] = {rule.task: [] for rule in job.tasks}
    tasks = dict.fromkeys(missing, 0)
    found = unmatched = 0
    for picture in listing.pictures:
        task = task_for(picture.name, job.tasks)
        if task is None:
            unmatched += 1
            continue
        tasks[task] += 1
        if picture.name in there:
            found += 1
        else:
            missing[task].append(picture)
    return Work(missing, found, unmatched, listing.ignored, listing.refused, tasks)


def task_for(name: str, rules: Sequence[RestoreRule]) -> str | None:
    """The task of the first rule that matches a picture's name; None where none does."""
    parts = name.split("/")
    return next((rule.task for rule in rules if rule.match is None or matches(parts, rule.match.split("/"))), None)


def restore_plan(job: RestoreJob, base: Path) -> dict[str, Any]:
    """What a job would do now, as plain values (JSON).

    Raises:
        UsageError, NotFoundError, DataError, InfrastructureError: as `find_work`.
    """
    work = find_work(job, "", base)
    return {
        "input": job.input,
        "output": job.output,
        "run": job.run,
        "actors": job.cluster.actors,
        "pictures": work.total,
        "found": work.found,
        "unmatched": work.unmatched,
        "ignored": work.ignored,
        "bad": [{"name": bad.name, "kind": bad.kind, "reason": bad.reason} for bad in work.refused],
        "tasks": work.tasks,
        "rules": [{"match": rule.match, "task": rule.task} for rule in job.tasks],
    }
