"""What a job will do, worked out before anything starts: steps, samples, crops, parameters, shards, test pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ipt_platform.data.index import load_indexes
from ipt_platform.evaluate.testset import FrozenTask, frozen_task, open_testsets
from ipt_platform.model.bias import layout_parameters
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.restore.work import restore_plan
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.dataset import find_shards, resolve_set
from ipt_platform.spec.draws import open_pairs
from ipt_platform.spec.job import EvaluateJob, FinetuneJob, LearningJob, RestoreJob
from ipt_platform.spec.registered import FOLDER
from ipt_platform.spec.task import load_task
from ipt_platform.spec.workers import most
from ipt_platform.storage.paths import AnyPath
from ipt_platform.train.frozen import find_backbone
from ipt_platform.train.layout import bias_layout
from ipt_platform.train.shape import counts_of


def resolve_plan(job: EvaluateJob | RestoreJob | LearningJob, base: Path = Path()) -> dict[str, Any]:
    """What the job will do, as plain values (JSON).

    Args:
        job: A checked job.
        base: What relative paths in the job are relative to: the directory the command runs in.

    Returns:
        `kind`, `name`, `warnings` and `sets`; for a training job also `mode`, `backbone`, `steps`, `samples` (images drawn),
        `crops`, `epochs`, `stages`, `parameters` (`backbone`, and `bias` by task, empty in mode mixed), `workers` (the
        most), `possible_workers` (every number), `shards` and `images` (how many they hold), and `pairs` by task that reads
        some (`shards`, `images`, and `epochs` over them); for a finetune `source` and `fingerprint` of the backbone too; for an
        evaluation `checkpoint`, `tasks` and `protocol`; for a job that restores, no `sets` but what `restore.work.restore_plan`
        gives.

    Raises:
        SpecError: Shards or sets went missing since the job was checked, or a task's shards hold no pairs.
        UsageError: A test set measures none of the tasks, or there is nothing to restore.
        DataError: An index does not match its shard.
        NotFoundError: A shard has no index, or the backbone of a finetune is not there.
        CheckpointError, PackError: That backbone is damaged.
    """
    registered = base / job.storage / FOLDER
    head = {"kind": job.kind, "name": job.name, "warnings": warnings(job)}
    if isinstance(job, RestoreJob):
        return head | restore_plan(job, base)
    if isinstance(job, EvaluateJob):
        tasks = [frozen_task(name, use.params, base, registered) for name, use in job.tasks.items()]
        sets = _sets(job.sets, base, tasks)
        return head | {"checkpoint": job.checkpoint, "tasks": list(job.tasks), "protocol": job.protocol, "sets": sets}
    tasks = [frozen_task(name, base=base, registered=registered) for name in job.tasks]
    return head | _model(job, base) | _data(job, base, registered) | {"sets": _sets(job.evaluate.sets, base, tasks)}


def _data(job: LearningJob, base: Path, registered: Path) -> dict[str, Any]:
    """What is drawn from which shards and pairs, and how it is shared among workers."""
    shards = _shards(find_shards(job.data.shards, base)) if job.data.shards else []
    images = sum(shard["images"] for shard in shards)
    stages = plan_stages(job)
    samples = sum(stage["steps"] * stage["images"] for stage in stages)
    pairs = {}
    for name in job.tasks:
        if patterns := load_task(name, base, registered).pairs:
            found = open_pairs(name, patterns, base, registered=registered)
            shards_of = _shards(find_shards(patterns, base))
            pairs[name] = {"shards": shards_of, "images": found.pairs, "epochs": round(samples / found.images, 2)}
    return {
        "steps": sum(stage["steps"] for stage in stages),
        "samples": samples,
        "crops": sum(stage["steps"] * stage["crops"] for stage in stages),
        "epochs": round(samples / images, 2) if images else 0.0,
        "stages": stages,
        "workers": most(job.cluster.workers),
        "possible_workers": list(counts_of(job)),
        "shards": shards,
        "images": images,
        "pairs": pairs,
    }


def plan_stages(job: LearningJob) -> list[dict[str, Any]]:
    """Per stage `first_step`, `steps`, `patch` (pixels); and of one step `images`, `crops` and their shares."""
    planned, first = [], 0
    for stage in job.train.stages:
        crops = {name: stage.images * use.weight for name, use in job.tasks.items()}
        planned.append(
            {
                "first_step": first,
                "steps": stage.steps,
                "patch": stage.patch,
                "images": stage.images,
                "images_per_worker": stage.images // most(job.cluster.workers),
                "crops": sum(crops.values()),
                "crops_by_task": crops,
            }
        )
        first += stage.steps
    return planned


def _model(job: LearningJob, base: Path) -> dict[str, Any]:
    """Of the network `mode`, `backbone` by name, and `parameters`; of a frozen one `fingerprint` and `source` too."""
    if isinstance(job, FinetuneJob):
        found = find_backbone(job, base)
        backbone, name, own = found.model.backbone, found.name, {"mode": "bias-only", "source": found.lineage["source"]}
        own["fingerprint"] = fingerprint(backbone)
        layout = bias_layout(backbone, job.bias)
    else:
        with torch.device("meta"):  # shapes without memory, and without touching the random generator
            backbone = build_backbone(job.model.backbone)
        name, own = job.model.backbone, {"mode": job.train.mode}
        layout = {} if job.train.mode == "mixed" else bias_layout(backbone, job.model.bias)
    bias = layout_parameters(backbone, layout)
    counts = {"backbone": count_parameters(backbone), "bias": dict.fromkeys(job.tasks, bias) if bias else {}}
    return {**own, "backbone": name, "parameters": counts}


def _shards(paths: Sequence[AnyPath]) -> list[dict[str, Any]]:
    counts = [len(index.members) for _, index in load_indexes(paths)]
    return [{"path": str(shard), "images": count} for shard, count in zip(paths, counts, strict=True)]


def _sets(names: tuple[str, ...], base: Path, tasks: Sequence[FrozenTask]) -> list[dict[str, Any]]:
    return [
        {
            "name": testset.name,
            "paths": [str(path) for path in resolve_set(testset.name, base)],
            "pairs": testset.paired,
            "tasks": [task.name for task in testset.measured(tasks)],
        }
        for testset in open_testsets(names, base, tasks)
    ]
