"""What restores for a task, of a run or of the registered ones; each process loads a backbone once for all its tasks.

A run that restores keeps what was chosen in models.json, so that it restores everything with the same models, whatever is
trained or promoted meanwhile.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.checkpoint.files import verify
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.errors import CheckpointError, DataError, NotFoundError, PackError, SpecError, UsageError
from ipt_platform.model.bias import BiasedModel
from ipt_platform.registry.names import parse_reference
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.registry.serve import candidate, choose
from ipt_platform.registry.store import open_catalogue
from ipt_platform.restore.model import find_weights, tasks_of, upscale_of
from ipt_platform.restore.switch import TaskSwitch
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.spec.words import did_you_mean
from ipt_platform.storage.paths import AnyPath, any_path, from_base

FORMAT = "ipt-models/1"
Found = TypeVar("Found")


@dataclass(frozen=True)
class Chosen:
    """What restores for a task.

    Attributes:
        task: its name.
        scale: how many times longer each side of a picture becomes before the model restores it.
        checkpoint: the folder of the checkpoint, where the job names a run.
        version, pack, backbone: the registered version (`derain@3`) and where its parts lie, where it names none.
    """

    task: str
    scale: int
    checkpoint: str | None = None
    version: str | None = None
    pack: str | None = None
    backbone: str | None = None

    def __str__(self) -> str:
        return self.version or f"{self.task} of {self.checkpoint}"

    @property
    def place(self) -> str:
        """Where its backbone comes from."""
        place = self.checkpoint or self.backbone
        assert place is not None
        return place


def choose_models(loaded: LoadedJob, base: Path) -> dict[str, Chosen]:
    """What restores for each task of a job, by the task as the job names it.

    Raises:
        SpecError: the run, or a task, cannot be used; with the lines that name them.
    """
    job, document = loaded.job, loaded.document
    assert isinstance(job, RestoreJob)

    def asked(path: tuple[str | int, ...], ask: Callable[[], Found]) -> Found:
        try:
            return ask()
        except (NotFoundError, CheckpointError, DataError, PackError, UsageError, SpecError) as error:
            raise SpecError([document.problem(path, str(error))]) from error

    run = job.run
    checkpoint = asked(("run",), lambda: _checkpoint(run, from_base(base, job.storage), base)) if run else None
    chosen: dict[str, Chosen] = {}
    problems = []
    for place, rule in enumerate(job.tasks):
        try:
            chosen[rule.task] = asked(
                ("tasks", place, "task"),
                lambda task=rule.task: choose_model(from_base(base, job.storage), checkpoint, task),
            )
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return chosen


def keep_models(path: Path, chosen: Mapping[str, Chosen]) -> None:
    """Write models.json.

    Raises:
        OSError: the disk is full or refuses.
    """
    value = {"format": FORMAT, "models": {task: asdict(each) for task, each in chosen.items()}}
    replace_file(path, json.dumps(value, indent=1).encode() + b"\n")


def kept_models(path: Path) -> dict[str, Chosen]:
    """What `keep_models` has written.

    Raises:
        NotFoundError: there is nothing.
        DataError: it is damaged, or of another format.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: is missing; submit the job as a new run")
    try:
        value: Any = json.loads(path.read_bytes())
        if value["format"] != FORMAT:
            raise ValueError(f"its format is {value['format']!r:.40}, expected {FORMAT}")
        return {str(task): Chosen(**each) for task, each in value["models"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: damaged: {error}; submit the job as a new run") from error


class Models:
    """The models of a process: a backbone for each place that they come from, loaded when it is first needed.

    Args:
        chosen: what restores for each task; more may be added to `Models.chosen` later.
        device: where the models go.
    """

    def __init__(self, chosen: Mapping[str, Chosen], device: torch.device):
        self.chosen, self.device = dict(chosen), device
        self.loads = 0
        self._switches: dict[str, TaskSwitch] = {}
        self._plain: dict[str, nn.Module] = {}

    def restorer(self, task: str) -> nn.Module:
        """The model of a task: `[B, 3, H, W] float32 in [0, 1]` to the same; it is this one's until another is asked for.

        Raises:
            NotFoundError, CheckpointError, PackError: what was chosen is gone or damaged.
        """
        switch = self._switch(task)
        return switch.restorer(self._name(task)) if switch else self._plain[self.chosen[task].place]

    def together(self, tasks: Collection[str]) -> BiasedModel:
        """One backbone with the biases of several tasks, which is what can be mixed; of a checkpoint, of all that it has.

        Raises:
            UsageError: the tasks have not one backbone, or no biases.
            NotFoundError, CheckpointError, PackError: as `restorer`.
        """
        found = {task: self.chosen[task] for task in tasks}
        if len({each.place for each in found.values()}) != 1:
            listed = "; ".join(f"{each} on {each.place}" for each in found.values())
            raise UsageError(f"biases of one backbone can be mixed, found {listed or 'none'}: leave --mix out")
        (switch, *_) = [self._switch(task) for task in found]
        if switch is None:
            (place,) = {each.place for each in found.values()}
            raise UsageError(f"{place} has one model for all of its tasks, and no biases to mix: leave --mix out")
        return switch.model

    def _switch(self, task: str) -> TaskSwitch | None:
        """The backbone of a task, loaded, with its bias; None after plain training, whose one model does all of its tasks."""
        each = self.chosen[task]
        if each.place not in self._switches and each.place not in self._plain:
            self._load(each)
        switch = self._switches.get(each.place)
        if switch and each.pack and task not in switch.model.biases:
            bias = load_bias(read_pack(any_path(each.pack)), switch.model.backbone)
            switch.model.biases[task] = bias.to(self.device)
        return switch

    def _load(self, each: Chosen) -> None:
        self.loads += 1
        if each.checkpoint:
            verify(Path(each.checkpoint))
            model = load_biased_model(Path(each.checkpoint))
        else:
            backbone, _ = load_backbone(any_path(each.place))
            model = BiasedModel(backbone, {})
        if each.pack or model.biases:
            self._switches[each.place] = TaskSwitch(model.to(self.device))
        else:
            self._plain[each.place] = merged_for(model, each.task).to(self.device)

    def _name(self, task: str) -> str:
        """What the switch calls a task: a checkpoint knows it by its name, and packs were given the words it was asked by."""
        return self.chosen[task].task if self.chosen[task].checkpoint else task


def choose_model(storage: str | AnyPath, checkpoint: Path | None, task: str) -> Chosen:
    """What restores for a task.

    Args:
        storage: folder of runs and registry.
        checkpoint: folder of a checkpoint; None: the registered tasks.
        task: name of a task that the checkpoint was trained for; or `NAME`, `NAME@VERSION` or `NAME@ALIAS` of a registered one.

    Raises:
        NotFoundError: no such task, version or alias.
        UsageError, CheckpointError, DataError, SpecError: what was named cannot be used.
    """
    return _of_checkpoint(checkpoint, task) if checkpoint else _registered(storage, task)


def _checkpoint(run: str, storage: AnyPath, base: Path) -> Path:
    place = base / run
    known = place if place.is_dir() and not (isinstance(storage, Path) and (storage / run).is_dir()) else run
    checkpoint = find_weights(storage, str(known)).checkpoint.absolute()
    verify(checkpoint)
    return checkpoint


def _of_checkpoint(checkpoint: Path, task: str) -> Chosen:
    known = tasks_of(checkpoint)
    if known and task not in known:
        raise NotFoundError(f"{checkpoint} has no bias for task {task!r}{did_you_mean(task, known)}")
    return Chosen(task, upscale_of(checkpoint, task), checkpoint=str(checkpoint))


def _registered(storage: str | AnyPath, task: str) -> Chosen:
    reference = parse_reference(task)
    catalogue = open_catalogue(storage)
    try:
        version = choose(catalogue, reference)
    except NotFoundError as error:
        text = str(error) if str(error)[-1] in ".?" else f"{error}."
        raise NotFoundError(f"{text} A run that was trained for the task can be named too (--run; in a job `run`).") from error
    found = candidate(catalogue, version)
    scale = version.record.signature.scale
    return Chosen(reference.task, scale, version=str(version), pack=_place(found.pack), backbone=_place(found.backbone))


def _place(path: Any) -> str:
    return str(path.absolute() if isinstance(path, Path) else path)
