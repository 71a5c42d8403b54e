"""Which tasks there are models for, and which tasks a person may ask for: those and more."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ipt_platform.errors import DataError, NotFoundError, Problem, SpecError
from ipt_platform.registry.names import Reference
from ipt_platform.registry.serve import choose
from ipt_platform.registry.store import open_catalogue
from ipt_platform.restore.model import Weights, registered_for, tasks_of
from ipt_platform.restore.route.known import tasks_here
from ipt_platform.spec.job import JOB, LearningJob
from ipt_platform.spec.registered import registered_names
from ipt_platform.spec.source import load_yaml
from ipt_platform.spec.task import TaskSpec, load_task


@dataclass(frozen=True)
class Offer:
    """The tasks of a run, or of a registry.

    Attributes:
        where: who has their models, for people: "run a-run".
        available: the tasks that there are models for.
        specs: these and all others that are known here, by name: a person who asks for one of those is told that there is no
            model for it. A task of the run whose file is gone is not among them.
        passed_over: registered tasks that cannot be read, each with the reason.
    """

    where: str
    available: frozenset[str]
    specs: dict[str, TaskSpec]
    passed_over: list[str] = field(default_factory=list)


def offer_of_run(weights: Weights, storage: str) -> Offer:
    """The tasks of a run's checkpoint; of one of plain (mixed) training, all that its job names.

    Raises:
        CheckpointError: it cannot be read.
        SpecError: the file of a task, or the run's job, is wrong.
    """
    checkpoint = weights.checkpoint
    registered = registered_for(checkpoint, storage)
    names = registered_names(registered) if registered else []
    specs = {spec.name: spec for spec in tasks_here()} | {name: load_task(name, registered=registered) for name in names}
    run = checkpoint.parent.parent
    return Offer(f"run {run.name}", frozenset(tasks_of(checkpoint) or _tasks_of_job(run / "job.yaml")), specs)


def offer_of_registry(storage: str) -> Offer:
    """The registered tasks of a storage: available is what has a version that restores (`registry.serve.choose`).

    Raises:
        SpecError: the file of a task is wrong.
        UsageError: the storage is no path.
    """
    catalogue = open_catalogue(storage)
    specs = {spec.name: spec for spec in tasks_here()}
    available: set[str] = set()
    passed_over: list[str] = []
    for name in catalogue.tasks():
        try:
            view = catalogue.view(name)
            if not view.versions:
                continue
            try:
                version = choose(catalogue, Reference(name))
                available.add(name)
            except NotFoundError:
                version = catalogue.version(name, view.versions[-1])
            specs[name] = version.record.task
        except DataError as error:
            passed_over.append(f"{name}: {error}")
            available.discard(name)
    return Offer(f"the registry {catalogue.files.root}", frozenset(available), specs, passed_over)


def _tasks_of_job(job: Path) -> list[str]:
    """The tasks of a run's job; none where it is not beside the checkpoint."""
    if not job.is_file():
        return []
    try:
        found = JOB.validate_python(load_yaml(job).value)
    except ValidationError as error:
        raise SpecError([Problem(f"not a job of this version: {error.errors()[0]['msg']}", file=str(job))]) from error
    return list(found.tasks) if isinstance(found, LearningJob) else []
