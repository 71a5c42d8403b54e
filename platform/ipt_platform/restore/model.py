"""Which weights: from what a person names (a run, or one of its checkpoints) to a checkpoint, a device, a model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from ipt_platform.checkpoint.load import load_model
from ipt_platform.checkpoint.state import read_state
from ipt_platform.errors import CheckpointError, Problem, SpecError, UsageError
from ipt_platform.evaluate.run import RestoreFn
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import find_run
from ipt_platform.restore.tiles import restore_array
from ipt_platform.spec.job import JOB, EvaluateJob, LearningJob
from ipt_platform.spec.registered import FOLDER, find_registered, kept_file
from ipt_platform.spec.source import load_yaml
from ipt_platform.spec.task import load_task, owned_file, task_names
from ipt_platform.storage.paths import AnyPath


@dataclass(frozen=True)
class Weights:
    """A checkpoint to restore with.

    Attributes:
        checkpoint: its folder.
        passed_over: newer checkpoints of the run that cannot be used, each with the reason.
    """

    checkpoint: Path
    passed_over: list[tuple[Path, str]] = field(default_factory=list)


def find_weights(storage: str | AnyPath, run_or_checkpoint: str) -> Weights:
    """The checkpoint of this folder, or the newest usable one of this run.

    Args:
        storage: folder of runs.
        run_or_checkpoint: a run's id or folder, or the folder of a checkpoint (`.../checkpoints/step-N`).

    Raises:
        NotFoundError: no such run.
        CheckpointError: the run has no usable checkpoint; the message says why of each.
    """
    path = Path(run_or_checkpoint)
    if (path / "MANIFEST.json").is_file() or (path.is_dir() and path.parent.name == "checkpoints"):
        return Weights(path)
    run = find_run(storage, run_or_checkpoint)
    run.fetch()
    checkpoint, damaged = newest_usable(run)
    if checkpoint is None:
        reasons = "".join(f"\n{reason}" for _, reason in damaged)
        raise CheckpointError(f"run {run.id} has no usable checkpoint{reasons or '; it has not committed one yet'}")
    return Weights(checkpoint, damaged)


def tasks_of(checkpoint: Path) -> list[str]:
    """The tasks that a checkpoint has biases for; none after plain (mixed) training, whose one model does all tasks.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    return sorted(read_state(checkpoint)["model"]["layouts"])


def upscale_of(checkpoint: Path, task: str) -> int:
    """How many times longer each side of a picture becomes before a task's model restores it: 1 but for super-resolution.

    The job of the checkpoint's run says it, whose parameters may differ from the task's own; a checkpoint that lies
    elsewhere has those of the task. A task that reads pairs enlarges nothing, nor does one whose file is not here.

    Raises:
        SpecError: the run's job or the task's file is none, or the task does not take its parameters.
    """
    registered = registered_for(checkpoint, None)
    known = registered and (find_registered(registered, task) or kept_file(registered, task).is_file())
    if not known and task not in task_names() and not owned_file(task):
        return 1
    spec = load_task(task, registered=registered)
    if spec.pairs:
        return 1
    job = checkpoint.parent.parent / "job.yaml"
    document = load_yaml(job) if job.is_file() else None
    try:
        made = JOB.validate_python(document.value) if document else None
        uses = made.tasks if isinstance(made, LearningJob | EvaluateJob) else {}
        return spec.training(uses[task].params if task in uses else {}).upscale
    except ValidationError as error:
        found = "; ".join(detail["msg"] for detail in error.errors())
        raise SpecError([Problem(f"not a job of this version with a task {task!r}: {found}", file=str(job))]) from error


def registered_for(checkpoint: Path, storage: str | None) -> Path | None:
    """Where the registered tasks of a checkpoint are: those that its run keeps, else those of a storage."""
    own = RunDir(checkpoint.parent.parent).tasks
    return own if own.is_dir() else Path(storage, FOLDER) if storage and "://" not in storage else None


def load_restorer(checkpoint: Path, task: str, device: torch.device) -> nn.Module:
    """The model of a task on a device: merged, fused, in evaluation mode.

    Raises:
        CheckpointError: the checkpoint is incomplete or damaged.
        NotFoundError: it has no bias for the task.
    """
    return load_model(checkpoint, task).to(device)


def restorers(device: torch.device) -> Callable[[nn.Module], RestoreFn]:
    """What makes of a model what restores pictures of any size with it, on a device."""

    def restorer_of(model: nn.Module) -> RestoreFn:
        placed = model.to(device)
        return lambda degraded: restore_array(placed, degraded, device)

    return restorer_of


def choose_device(name: str) -> torch.device:
    """The device of a name; "auto" is the first GPU where there is one, else the CPU.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        # What torch raises for a device it does not know, was not built for, or does not find.
        raise UsageError(f"no device {name!r} here: {str(error).splitlines()[0]}; expected auto, cpu or cuda") from error
    return device
