"""What a job names beyond its file, found when it is given and kept in its run, so that nothing can change or vanish under it.

The records of registered tasks and the user's own task files, the frozen backbone of a finetune and the bias that it begins
from, the weights with which a training begins.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.summary import publish
from ipt_platform.spec.job import AnyJob, EvaluateJob, FinetuneJob, LearningJob, TrainJob
from ipt_platform.spec.load import LoadedJob, dump_job
from ipt_platform.spec.registered import COMMIT, FOLDER, RECORD, find_registered, kept_file
from ipt_platform.spec.task import owned_file


def keep_tasks(job: LearningJob | EvaluateJob, run: RunDir, base: Path) -> None:
    """Copy the newest record of each registered task of a job into its run, and the user's own file of each that is not
    registered, unless it has one already.

    Raises:
        OSError: the disk is full or refuses.
    """
    copy_records(job.tasks, base / job.storage / FOLDER, run.tasks)
    for name in job.tasks:
        kept, own = kept_file(run.tasks, name), owned_file(name, base)
        if own and not find_registered(run.tasks, name) and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            replace_file(kept, own.read_bytes())


def copy_records(names: Iterable[str], registered: Path, folder: Path) -> None:
    """Copy the newest record of those of some tasks that are registered to another folder of records, unless it has one.

    Raises:
        OSError: the disk is full or refuses.
    """
    for name in names:
        found = find_registered(registered, name)
        if not found or find_registered(folder, name):
            continue
        target = folder / name / str(found.version)
        target.mkdir(parents=True, exist_ok=True)
        for file in (RECORD, COMMIT):
            replace_file(target / file, (found.folder / file).read_bytes())


def begin_run(job: AnyJob, run: RunDir, keep_own: Callable[[RunDir], None]) -> None:
    """Write a job into its new run, and what it names beyond its file.

    Raises:
        OSError: the disk is full or refuses.
        RefusedError: somebody was faster with another job.
    """
    run.write_job(dump_job(job).encode())
    keep_own(run)
    run.keep_given()
    tell_created(job, run)


def tell_created(job: AnyJob, run: RunDir) -> None:
    """Say in the events of a run of which kind its job is, unless that was said.

    Raises:
        OSError: the disk is full or refuses.
    """
    if any(event["type"] == "created" for event in read_events(run)):
        return
    append_event(run, "created", 0, kind=job.kind, steps=total_steps(job))
    publish(run)


def total_steps(job: AnyJob) -> int:
    """Training steps of a job: 0 for one that trains nothing itself."""
    return sum(stage.steps for stage in job.train.stages) if isinstance(job, LearningJob) else 0


def keeper(loaded: LoadedJob, run: RunDir, base: Path) -> Callable[[RunDir], None]:
    """What puts into a run the weights that its job names, which were found to be usable; it does nothing where there are none.

    Raises:
        SpecError: they cannot be used; with the line that names them.
    """
    # torch takes seconds to import, and whoever gives another job needs none
    match loaded.job:
        case FinetuneJob() if not run.backbone.is_dir():
            from ipt_platform.train.frozen import find_frozen, keep_frozen

            frozen = find_frozen(loaded, base)
            return lambda run: keep_frozen(frozen, run)
        case TrainJob(start=str()) if not run.beginning.is_dir():
            from ipt_platform.train.frozen import find_beginning, keep_backbone

            found = find_beginning(loaded, base)
            return lambda run: keep_backbone(found, run.beginning)
        case _:
            return lambda run: None
