"""Where the weights of a task come from: a run or a checkpoint that somebody names, else the registered tasks."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.checkpoint.files import verify
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.errors import NotFoundError, UsageError
from ipt_platform.model.bias import BiasedModel
from ipt_platform.registry.names import Reference, parse_reference
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.registry.serve import candidate, choose
from ipt_platform.registry.store import open_catalogue
from ipt_platform.restore.model import find_weights, load_restorer, upscale_of


@dataclass(frozen=True)
class Source:
    """What restores for a task.

    Attributes:
        task: its name.
        model: `[B, 3, H, W] float32 in [0, 1]` to the same, on a device.
        scale: how many times longer each side of a picture becomes before the model restores it.
        checkpoint: the folder of the checkpoint, where one was named.
        version: the registered version (`my-derain@3`), where none was.
        passed_over: newer checkpoints of the run that cannot be used, each with the reason.
    """

    task: str
    model: nn.Module
    scale: int
    checkpoint: Path | None = None
    version: str | None = None
    passed_over: list[tuple[Path, str]] = field(default_factory=list)


def find_source(storage: str, run: str | None, task: str, device: torch.device) -> Source:
    """What restores for a task.

    Args:
        storage: folder of runs and registry.
        run: a run's id or folder, or the folder of a checkpoint; None: the registered tasks.
        task: name of a task that the run was trained for; or `NAME`, `NAME@VERSION` or `NAME@ALIAS` of a registered one.
        device: where the model goes.

    Raises:
        NotFoundError: no such run, or no such task, version or alias.
        CheckpointError: the run has no usable checkpoint.
        UsageError, DataError, PackError, SpecError: what was named cannot be used.
    """
    if run is not None:
        weights = find_weights(storage, run)
        model = load_restorer(weights.checkpoint, task, device)
        return Source(task, model, upscale_of(weights.checkpoint, task), weights.checkpoint, passed_over=weights.passed_over)
    reference = parse_reference(task)
    catalogue = open_catalogue(storage)
    try:
        version = choose(catalogue, reference)
    except NotFoundError as error:
        raise NotFoundError(f"{error} A run that was trained for the task can be named with --run.") from error
    model = candidate(catalogue, version).load().to(device)
    return Source(reference.task, model, version.record.signature.scale, version=str(version))


def find_biases(storage: str, checkpoint: Path | None, tasks: Collection[str]) -> BiasedModel:
    """One backbone with the biases of several tasks, which is what can be mixed.

    Args:
        storage: folder of runs and registry.
        checkpoint: folder of a checkpoint; None: the registered tasks.
        tasks: names of the tasks; of a checkpoint, all that it has are there.

    Raises:
        UsageError: the tasks have not one backbone, or the checkpoint has no biases.
        NotFoundError, CheckpointError, DataError, PackError: what was named cannot be used.
    """
    if checkpoint is not None:
        verify(checkpoint)
        model = load_biased_model(checkpoint)
        if not model.biases:
            raise UsageError(f"{checkpoint} has one model for all of its tasks, and no biases to mix: leave --mix out")
        return model
    catalogue = open_catalogue(storage)
    found = {task: candidate(catalogue, choose(catalogue, Reference(task))) for task in sorted(tasks)}
    if len({each.backbone for each in found.values()}) != 1:
        listed = "; ".join(f"{each} on {each.backbone}" for each in found.values())
        raise UsageError(f"biases of one backbone can be mixed, found {listed or 'none'}: leave --mix out")
    backbone, _ = load_backbone(next(iter(found.values())).backbone)
    return BiasedModel(backbone, {task: load_bias(read_pack(each.pack), backbone) for task, each in found.items()}).eval()
