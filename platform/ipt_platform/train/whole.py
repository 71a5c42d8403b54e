"""Sharded tensors put together, for files and for measuring, and whole ones of files shared out again.

Files always hold whole tensors. So a run can go on with another number of workers, and with sharding or without it.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ipt_platform.checkpoint.files import Content
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.build import build_backbone
from ipt_platform.train.sharding import is_sharded, is_share


def whole_files(files: Mapping[str, Content], keep: bool) -> dict[str, Content]:
    """Files of a checkpoint with whole tensors, on the CPU where they were sharded; all workers call this together.

    Args:
        files: by name; the same names in every worker.
        keep: whether this worker wants them; where not, nothing comes back and no more than one tensor is whole at a time.
    """
    found = {}
    for name, content in files.items():
        if isinstance(content, Mapping):
            content = {key: _whole(value, keep) for key, value in content.items()}
        found[name] = content
    return found if keep else {}


def whole_model(model: BiasedModel, backbone: str) -> BiasedModel:
    """The model itself, or where it is sharded a copy of all of it on the CPU; then all workers call this together.

    Args:
        model: the model.
        backbone: name of its backbone (`build_backbone`).
    """
    if not is_sharded(model):
        return model
    with torch.device("meta"):
        plain = build_backbone(backbone)
    plain.load_state_dict({name: _whole(weight, True) for name, weight in model.backbone.state_dict().items()}, assign=True)
    biases = {task: copy.deepcopy(bias).cpu() for task, bias in model.all_biases()}
    return BiasedModel(plain, biases).requires_grad_(False).eval()


def share_like(own: Tensor, value: Tensor) -> Tensor:
    """A whole tensor, or this worker's share of it where it has no more of `own` either."""
    if not is_share(own):
        return value
    from torch.distributed.tensor import distribute_tensor

    # every worker has read all of it: nothing needs to be sent
    return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)


def _whole(value: Any, keep: bool) -> Any:
    if not is_share(value):
        return value
    with torch.no_grad():
        full = value.full_tensor()
    return full.cpu() if keep else None
