"""Weights before and after a training, as an analysis names them: in its own jobs, or in other runs, checkpoints and packs."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ipt_platform.errors import CheckpointError, NotFoundError, PackError, SpecError
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import is_run
from ipt_platform.spec.job import JOB, AnalyzeJob, LearningJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.spec.source import load_yaml
from ipt_platform.train.frozen import FoundBackbone, backbone_at


@dataclass(frozen=True)
class Sides:
    """A backbone before and after a training.

    Attributes:
        seed: with which it was trained.
        before, after: the weights, without gradients.
        found: where those before come from.
        job: of the training after which they are, where that is known.
        run: that of the training, where it is known.
    """

    seed: int
    before: IPTV2
    after: IPTV2
    found: FoundBackbone
    job: LearningJob | None
    run: RunDir | None


def check_sides(loaded: LoadedJob, base: Path) -> None:
    """That what an analysis names as before and after is there, and alike.

    Raises:
        SpecError: it is not; with the line that names it.
    """
    job = loaded.job
    assert isinstance(job, AnalyzeJob)
    problems, found = [], {}
    for side in ("before", "after"):
        named = getattr(job, side)
        if isinstance(named, str):
            try:
                found[side] = backbone_at(named, base / job.storage, base)
                if side == "after" and job.task and job.task not in found[side].model.biases:
                    known = ", ".join(found[side].model.biases) or "none at all"
                    problems.append(
                        loaded.document.problem(("task",), f"{named} has no bias for '{job.task}'; it has: {known}")
                    )
            except (NotFoundError, CheckpointError, PackError) as error:
                problems.append(loaded.document.problem((side,), str(error)))
    if isinstance(job.after, str) and job.compress and "after" in found:
        made = _job_of(_run_of(job.after, base / job.storage, base))
        if made is None or not made.evaluate.sets:
            why = "which training made it is not known" if made is None else "its training names no test sets"
            message = f"{job.after}: {why}, so nothing can be measured; leave compress out"
            problems.append(loaded.document.problem(("compress",), message))
    if len(found) == 2 and found["before"].name != found["after"].name:
        kinds = f"it is of the kind {found['after'].name}, and `before` of {found['before'].name}; compare two of one kind"
        problems.append(loaded.document.problem(("after",), kinds))
    if problems:
        raise SpecError(problems)


def sides_of(job: AnalyzeJob, run: RunDir, base: Path, seed: int) -> Sides:
    """The weights of a seed, once the jobs that make them are finished.

    Raises:
        NotFoundError, CheckpointError, PackError: they cannot be used.
    """
    named = {
        side: found if isinstance(found := getattr(job, side), str) else str(run.members / f"{side}-s{seed}")
        for side in ("before", "after")
    }
    before, after = (backbone_at(name, base / job.storage, base) for name in named.values())
    trained = after.backbone if job.task is None else _with_bias(after, job.task)
    place = _run_of(named["after"], base / job.storage, base)
    return Sides(seed, before.backbone, trained, before, _job_of(place), place)


def _with_bias(found: FoundBackbone, task: str) -> IPTV2:
    merged = copy.deepcopy(found.backbone)
    found.model.bias(task).merge_into(merged)
    return merged


def _job_of(run: RunDir | None) -> LearningJob | None:
    """The job of a run, if it trained something; what it names need not be there any more."""
    job = JOB.validate_python(load_yaml(run.job).value) if run and run.job.is_file() else None
    return job if isinstance(job, LearningJob) else None


def _run_of(named: str, storage: Path, base: Path) -> RunDir | None:
    """The run that a name, or the folder of a run or of one of its checkpoints, is of."""
    place = base / named
    places = [storage / named, place, *([place.parent.parent] if place.parent.name == "checkpoints" else [])]
    return next((RunDir(place) for place in places if is_run(place)), None)


def plain(model: nn.Module) -> Any:
    """The model in evaluation mode, without gradients."""
    return model.requires_grad_(False).eval()
