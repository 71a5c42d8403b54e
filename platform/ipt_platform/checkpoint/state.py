"""What training must not lose, as the files of a checkpoint, and back.

model.safetensors            backbone, by weight name; not there where it is frozen: the run keeps that one as a backbone pack
biases/<task>.safetensors    `<weight name>.B1`, `.B2` or `.dense` of each task
average/...                  the same two for the averaged weights, where there are any
optimizer.safetensors        `<parameter name>.<exp_avg|exp_avg_sq|step>`
rng.safetensors              torch's generators, as bytes
state.json                   step, model (backbone by name, rank of each biased weight), progress, scores

A checkpoint of a finetune holds what it changes, so that it is as small as its biases. The backbone is the same for all of
them, so it stands once beside them, and each names its fingerprint.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ipt_platform.checkpoint.backbone import backbone_beside, load_backbone
from ipt_platform.checkpoint.files import Content, read_json, read_tensors
from ipt_platform.errors import CheckpointError, IptError
from ipt_platform.model.bias import BiasedModel, TaskBias, copy_tensors
from ipt_platform.model.build import build_backbone
from ipt_platform.model.iptv2 import IPTV2

FORMAT = "ipt-checkpoint/1"

Share = Callable[[Tensor, Tensor], Tensor]
"""From a weight, and a whole tensor of its shape, to what is kept of that here."""


def all_of_it(own: Tensor, value: Tensor) -> Tensor:
    """The whole tensor."""
    return value


def state_files(
    model: BiasedModel,
    average: BiasedModel | None,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    backbone: str,
    frozen: str | None = None,
    progress: Mapping[str, Any],
) -> dict[str, Content]:
    """The files of a checkpoint.

    Args:
        model: what is trained.
        average: its moving average, or None.
        optimizer: of the parameters of `model`.
        step: steps done.
        backbone: name of the backbone (`build_backbone`).
        frozen: the fingerprint of the backbone if it is not trained; it is then not among the files.
        progress: what else the training wants back, JSON.
    """
    files: dict[str, Content] = dict(_model_files(model, frozen))
    if average is not None:
        files |= {f"average/{name}": tensors for name, tensors in _model_files(average, frozen).items()}
    files["optimizer.safetensors"] = _optimizer_tensors(model, optimizer)
    files["rng.safetensors"] = _rng_tensors()
    files["state.json"] = {
        "format": FORMAT,
        "step": step,
        "model": _description(model, average, backbone, frozen),
        "progress": dict(progress),
    }
    return files


def load_training_state(
    checkpoint: Path,
    model: BiasedModel,
    average: BiasedModel | None,
    optimizer: torch.optim.Optimizer,
    *,
    backbone: str,
    frozen: str | None = None,
    share: Share = all_of_it,
) -> dict[str, Any]:
    """Bring model, average, optimizer and torch's generators back to where the checkpoint was taken.

    Args:
        checkpoint: folder of a verified checkpoint.
        model: of the shape that was saved; overwritten.
        average: overwritten; None if the checkpoint has none.
        optimizer: of the parameters of `model`; its state is overwritten.
        backbone: name of the backbone of `model`.
        frozen: its fingerprint if it is not trained; it is then left as it is.
        share: what is kept here of a whole tensor, given the weight that it belongs to: all of it, unless weights are sharded.

    Returns:
        The content of state.json.

    Raises:
        CheckpointError: the checkpoint was made by another model or with another optimizer; both sides are named.
    """
    state = read_state(checkpoint)
    if differences := _differences(state["model"], _description(model, average, backbone, frozen)):
        raise CheckpointError(f"{checkpoint} does not fit this job: {'; '.join(differences)}")
    try:
        _load_model(checkpoint, model, frozen, share)
        if average is not None:
            _load_model(checkpoint / "average", average, frozen, share)
        _load_optimizer(read_tensors(checkpoint / "optimizer.safetensors"), model, optimizer, share)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint} does not fit this job: {error}") from error
    _load_rng(read_tensors(checkpoint / "rng.safetensors"))
    return state


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint's state.json.

    Raises:
        CheckpointError: missing, unreadable or of another format.
    """
    state = read_json(checkpoint / "state.json")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{checkpoint}: expected format {FORMAT}, found {found}; was it written by another version?")
    return state


def load_biased_model(checkpoint: Path) -> BiasedModel:
    """The model of a checkpoint for use: the averaged weights where there are any, no gradients, evaluation mode.

    Raises:
        CheckpointError: files are missing, unreadable or do not fit each other, or the frozen backbone that it names is not
            beside it.
    """
    described = read_state(checkpoint)["model"]
    frozen = described.get("frozen")
    backbone = _frozen_backbone(checkpoint, frozen) if frozen else build_backbone(described["backbone"])
    biases = {task: TaskBias(backbone, layout) for task, layout in described["layouts"].items()}
    model = BiasedModel(backbone, biases)
    try:
        _load_model(checkpoint / "average" if described["average"] else checkpoint, model, frozen)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint}: {error}") from error
    return model.requires_grad_(False).eval()


def _frozen_backbone(checkpoint: Path, frozen: str) -> IPTV2:
    """The backbone beside the checkpoints of a run, which a checkpoint of that run names."""
    place = backbone_beside(checkpoint)
    try:
        backbone, info = load_backbone(place)
    except IptError as error:
        raise CheckpointError(
            f"{checkpoint} holds biases for a frozen backbone, which is kept in {place} and cannot be used: {error}"
        ) from error
    if info.fingerprint != frozen:
        raise CheckpointError(f"{checkpoint} belongs to the backbone {frozen}; {place} holds {info.fingerprint}")
    return backbone


def _description(model: BiasedModel, average: BiasedModel | None, backbone: str, frozen: str | None) -> dict[str, Any]:
    """What a model must be like to go on from a checkpoint."""
    layouts = {task: bias.layout for task, bias in model.all_biases()}
    return {"backbone": backbone, "frozen": frozen, "layouts": layouts, "average": average is not None}


def _differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Where two descriptions differ, in words; of many ranks that differ the first is named."""
    found = []
    if saved["backbone"] != own["backbone"]:
        found.append(f"its backbone is {saved['backbone']}, the job's is {own['backbone']}")
    one, other = (described.get("frozen") or "trained" for described in (saved, own))
    if one != other and not found:
        found.append(f"its backbone is {one}, the job's is {other}")
    tasks, own_tasks = (", ".join(sorted(described["layouts"])) or "no task" for described in (saved, own))
    if tasks != own_tasks:
        found.append(f"it has biases for {tasks}, the job for {own_tasks}")
    for task in sorted(saved["layouts"].keys() & own["layouts"].keys()):
        ranks, own_ranks = saved["layouts"][task], own["layouts"][task]
        names = [name for name in {**own_ranks, **ranks} if ranks.get(name) != own_ranks.get(name)]
        if names and saved["backbone"] == own["backbone"]:
            one, other = (layout.get(names[0], "none") for layout in (ranks, own_ranks))
            found.append(f"the rank of {names[0]} for {task} is {one}, the job's is {other} ({len(names)} weights differ)")
    if saved["average"] != own["average"]:
        found.append("it has averaged weights, the job none" if saved["average"] else "it has no averaged weights, the job has")
    return found


def _model_files(model: BiasedModel, frozen: str | None) -> dict[str, Content]:
    biases: dict[str, Content] = {f"biases/{task}.safetensors": bias.tensors() for task, bias in model.all_biases()}
    return biases if frozen else {"model.safetensors": model.backbone.state_dict(), **biases}


@torch.no_grad()
def _load_model(folder: Path, model: BiasedModel, frozen: str | None, share: Share = all_of_it) -> None:
    if not frozen:
        own, given = model.backbone.state_dict(), read_tensors(folder / "model.safetensors")
        copy_tensors(own, {name: share(own.get(name, value), value) for name, value in given.items()}, "backbone")
    for task, bias in model.all_biases():
        bias.load_tensors(read_tensors(folder / "biases" / f"{task}.safetensors"))


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer, share: Share) -> None:
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        owner, key = name.rsplit(".", 1)
        if owner not in parameters:
            raise ValueError(f"optimizer state of {owner}, which is no parameter of this model")
        parameter = parameters[owner]
        device = "cpu" if key == "step" and not parameter.is_cuda else parameter.device
        optimizer.state[parameter][key] = (value if key == "step" else share(parameter, value)).to(device)


def _rng_tensors() -> dict[str, Tensor]:
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    return generators


def _load_rng(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
