"""The frozen backbone of a finetune: found and checked when a job is given, copied into its run, opened by each worker.

A run keeps its backbone and the bias that it begins from. So what it trains on cannot change or vanish under it, whatever
becomes of the run that it was found in, and its checkpoints hold biases alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from ipt_platform.checkpoint.backbone import BackboneInfo, is_backbone, load_backbone, write_backbone
from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.checkpoint.files import read_tensors, verify
from ipt_platform.checkpoint.state import load_biased_model, read_state
from ipt_platform.data.rng import keyed_digest
from ipt_platform.errors import CheckpointError, NotFoundError, PackError, RefusedError, SpecError
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.events import utc_now
from ipt_platform.observe.rundir import RunDir
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.restore.model import find_weights
from ipt_platform.spec.job import FinetuneJob, TrainJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.spec.words import did_you_mean
from ipt_platform.storage.paths import AnyPath, S3Path, any_path, from_base
from ipt_platform.train.layout import bias_layout

Found = TypeVar("Found")


@dataclass(frozen=True)
class FoundBackbone:
    """What a job's `backbone` names.

    Attributes:
        model: the backbone without gradients, with the biases that were trained together with it.
        name: of the kind of backbone.
        lineage: where it was found, JSON.
    """

    model: BiasedModel
    name: str
    lineage: dict[str, Any]

    @property
    def backbone(self) -> IPTV2:
        """The backbone alone."""
        assert isinstance(self.model.backbone, IPTV2)
        return self.model.backbone


@dataclass(frozen=True)
class Frozen:
    """What a finetune begins from.

    Attributes:
        found: the backbone.
        start: the factors of each bias at step 0, as `TaskBias.tensors` names them; None: from zero.
    """

    found: FoundBackbone
    start: dict[str, Tensor] | None


def find_frozen(loaded: LoadedJob, base: Path) -> Frozen:
    """What a finetune job names beyond its file.

    Raises:
        SpecError: the backbone, or the bias to begin from, cannot be used; with the line that names it.
    """
    job, document = loaded.job, loaded.document
    assert isinstance(job, FinetuneJob)

    def asked(path: tuple[str, ...], ask: Callable[[], Found]) -> Found:
        try:
            return ask()
        except (NotFoundError, CheckpointError, PackError) as error:
            raise SpecError([document.problem(path, str(error))]) from error

    found = asked(("backbone",), lambda: find_backbone(job, base))
    where = ("start", "task" if job.start.task else "pack")
    return Frozen(found, asked(where, lambda: starting_bias(job, found, base)))


def find_beginning(loaded: LoadedJob, base: Path) -> FoundBackbone:
    """The backbone whose weights a training begins with.

    Raises:
        SpecError: it cannot be used, or is of another kind; with the line that names it.
    """
    job, document = loaded.job, loaded.document
    assert isinstance(job, TrainJob)
    assert job.start is not None
    try:
        found = backbone_at(job.start, from_base(base, job.storage), base)
    except (NotFoundError, CheckpointError, PackError) as error:
        raise SpecError([document.problem(("start",), str(error))]) from error
    if found.name != job.model.backbone:
        message = f"it is of the kind {found.name}, and the job trains {job.model.backbone}; name that as model.backbone"
        raise SpecError([document.problem(("start",), message)])
    return found


def find_backbone(job: FinetuneJob, base: Path) -> FoundBackbone:
    """The backbone that a job names: of a pack, of a checkpoint, or of the newest usable checkpoint of a run.

    Raises:
        NotFoundError: there is no such run, checkpoint or pack.
        CheckpointError, PackError: it is damaged.
    """
    return backbone_at(job.backbone, from_base(base, job.storage), base)


def backbone_at(named: str, storage: AnyPath, base: Path) -> FoundBackbone:
    """The backbone of a run (by id or folder), of a checkpoint or of a backbone pack.

    Args:
        named: what a person wrote.
        storage: folder of runs.
        base: what relative paths are relative to.

    Raises:
        NotFoundError, CheckpointError, PackError: as `find_backbone`.
    """
    place = base / named
    with torch.random.fork_rng(devices=[]):  # weights are drawn and overwritten
        if is_backbone(place):
            backbone, info = load_backbone(place)
            return FoundBackbone(BiasedModel(backbone, {}), info.name, {**info.lineage, "source": str(place.absolute())})
        known = place if place.is_dir() and not (isinstance(storage, Path) and (storage / named).is_dir()) else named
        checkpoint = find_weights(storage, str(known)).checkpoint.absolute()
        verify(checkpoint)
        state = read_state(checkpoint)
        source = {"source": str(checkpoint), "run": checkpoint.parent.parent.name, "step": state["step"]}
        return FoundBackbone(load_biased_model(checkpoint), state["model"]["backbone"], source)


def starting_bias(job: FinetuneJob, found: FoundBackbone, base: Path) -> dict[str, Tensor] | None:
    """The factors from which each bias of a job begins, as `TaskBias.tensors` names them; None: from zero.

    Raises:
        NotFoundError: the task has no bias there, or there is no such pack.
        PackError: the pack is damaged or belongs to another backbone, or the bias is not of the job's layout.
    """
    backbone, start = found.model.backbone, job.start
    if start.task:
        if start.task not in found.model.biases:
            known = list(found.model.biases)
            hint = did_you_mean(start.task, known) if known else ": it has none at all"
            raise NotFoundError(f"{found.lineage['source']} has no bias for task '{start.task}'{hint}")
        bias, place = found.model.bias(start.task), f"the bias of {start.task}"
    elif start.pack:
        folder = any_path(start.pack)
        pack = read_pack(folder if isinstance(folder, S3Path) else base / folder)
        bias, place = load_bias(pack, backbone), f"the bias in {start.pack}"
    else:
        return None
    own = bias_layout(backbone, job.bias)
    if different := [name for name in {**own, **bias.layout} if own.get(name) != bias.layout.get(name)]:
        there, here = (layout.get(different[0], "none") for layout in (bias.layout, own))
        raise PackError(
            f"{place} has rank {there} for {different[0]}, the job's `bias` gives it {here} ({len(different)} weights differ); "
            "write `bias` as it was when that bias was trained"
        )
    return bias.tensors()


def keep_frozen(frozen: Frozen, run: RunDir, clock: Callable[[], datetime] = utc_now) -> None:
    """Copy what a finetune begins from into its run; the backbone last, so that nothing is missing where it is.

    Raises:
        OSError: the disk is full or refuses.
    """
    if frozen.start is not None:
        tensors = {name: value.contiguous() for name, value in frozen.start.items()}
        replace_file(run.start, safetensors.torch.save(tensors))
    keep_backbone(frozen.found, run.backbone, clock)


def keep_backbone(found: FoundBackbone, folder: Path, clock: Callable[[], datetime] = utc_now) -> None:
    """Copy a backbone into a run.

    Raises:
        OSError: the disk is full or refuses.
    """
    try:
        write_backbone(folder, found.model.backbone, found.name, found.lineage, clock().isoformat(timespec="milliseconds"))
    except RefusedError:
        # Another submission of the same run was faster, with the same job.
        if not is_backbone(folder):
            raise


def open_frozen(job: FinetuneJob, run: RunDir) -> tuple[BiasedModel, BackboneInfo]:
    """The model of a finetune at step 0, the same in every process, and what the run says of its backbone.

    What a bias is drawn from is keyed by seed and task: it does not depend on which other tasks the job has.

    Raises:
        NotFoundError, PackError: the run has no backbone, or another one than it says.
    """
    backbone, info = load_backbone(run.backbone)
    backbone.activation_checkpointing = job.train.activation_checkpointing
    layout = bias_layout(backbone, job.bias)
    start = read_tensors(run.start) if run.start.is_file() else None
    biases = {}
    for task in job.tasks:
        torch.manual_seed(int.from_bytes(keyed_digest(8, job.seed, task), "big", signed=True))
        biases[task] = TaskBias(backbone, layout)
        if start is not None:
            biases[task].load_tensors(start)
    return BiasedModel(backbone, biases), info
