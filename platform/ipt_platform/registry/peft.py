"""Biases in the layout of Hugging Face's PEFT, and back: `adapter_model.safetensors` and `adapter_config.json`.

A bias `W + B1 @ B2` is a LoRA whose A is B2 and whose B is B1, of a linear layer as of a convolution. PEFT scales by
`lora_alpha / r`; ours has no scale, so `lora_alpha` is written as r, and what comes with another scale has it put into B1.
A dense bias has no place in that layout.

Source: PEFT's developer guide, "PEFT checkpoint format".
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ipt_platform.checkpoint.files import tensors_in
from ipt_platform.errors import NotFoundError, PackError
from ipt_platform.model.bias import DENSE, TaskBias
from ipt_platform.storage.files import read_bytes

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
MAX_BYTES = 1 << 34
PREFIX = "base_model.model."
FACTORS = {"B1": "lora_B", "B2": "lora_A"}

_KEY = re.compile(rf"{re.escape(PREFIX)}(?P<module>.+)\.(?P<factor>lora_A|lora_B)\.weight")

# What would make another sum of a LoRA than W + scale * B @ A, and the value with which it does not.
_PLAIN = {"use_dora": False, "bias": "none", "lora_bias": False, "fan_in_fan_out": False}
_ABSENT = ("modules_to_save", "target_parameters", "layer_replication", "alora_invocation_tokens", "trainable_token_indices")


def peft_files(bias: TaskBias, backbone: str) -> dict[str, bytes]:
    """The two files of an adapter, by name.

    Args:
        bias: of weights that are called `<module>.weight`.
        backbone: what `base_model_name_or_path` says.

    Raises:
        PackError: the bias has dense parts, or parts of weights of another name.
    """
    for name, rank in bias.layout.items():
        if rank == DENSE:
            raise PackError(f"the bias of {name} is dense, which PEFT's layout cannot say; train without `depthwise: true`")
        if not name.endswith(".weight"):
            raise PackError(f"{name} is no weight of a layer of its own, which PEFT's layout asks for; leave its group out")
    ranks = {name.removesuffix(".weight"): rank for name, rank in bias.layout.items()}
    largest = max(ranks.values())
    others = {re.escape(module): rank for module, rank in ranks.items() if rank != largest}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": backbone,
        "task_type": None,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "use_rslora": False,
        **_PLAIN,
    }
    tensors = {
        f"{PREFIX}{module}.{lora}.weight": bias.factor(f"{module}.weight", factor).detach().cpu().contiguous()
        for module in ranks
        for factor, lora in FACTORS.items()
    }
    return {TENSORS: safetensors.torch.save(tensors), CONFIG: json.dumps(config, indent=1).encode() + b"\n"}


def bias_from_peft(folder: Path, backbone: nn.Module) -> TaskBias:
    """The bias that an adapter is, on a backbone of ours.

    Raises:
        NotFoundError: one of the two files is missing.
        PackError: it is no plain LoRA, does not fit the backbone, or holds values that are not finite.
    """
    config, place = _config(folder / CONFIG), folder / TENSORS
    tensors = tensors_in(read_bytes(place, MAX_BYTES), place, PackError)
    factors: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if not (match := _KEY.fullmatch(key)):
            raise PackError(f"{folder / TENSORS}: {key!r:.120} is no factor of a LoRA: expected {PREFIX}MODULE.lora_A.weight")
        factors.setdefault(match["module"], {})[match["factor"]] = value
    own: dict[str, Tensor] = {}
    layout: dict[str, int] = {}
    for module, pair in factors.items():
        if len(pair) != len(FACTORS):
            raise PackError(f"{folder / TENSORS}: {module} has {', '.join(pair)} alone, expected lora_A and lora_B")
        A, B = pair["lora_A"], pair["lora_B"]
        if A.dim() not in (2, 4) or B.dim() != A.dim() or not 0 < len(A) == B.shape[1]:
            raise PackError(f"{folder / TENSORS}: {module} has factors {[*B.shape]} and {[*A.shape]}, which have no product")
        B1, B2 = _at_most_full_rank(B * _scale(config, module, len(A)), A)
        layout[f"{module}.weight"] = len(B2)
        own |= {f"{module}.weight.B1": B1, f"{module}.weight.B2": B2}
    try:
        bias = TaskBias(backbone, layout)
        for name, value in own.items():
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds values that are not finite")
        bias.load_tensors(own)
    except ValueError as error:
        raise PackError(f"{folder}: this adapter does not fit the backbone: {error}") from error
    return bias


def _at_most_full_rank(B1: Tensor, B2: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product; PEFT allows ranks above the full one, where a factor alone can hold the product."""
    n_out, rank, n_in = len(B1), len(B2), B2[0].numel()
    if rank <= min(n_out, n_in):
        return B1, B2
    product, ones = B1.flatten(1) @ B2.flatten(1), [1] * (B1.dim() - 2)
    if n_out <= n_in:
        return torch.eye(n_out, dtype=B1.dtype).view(n_out, n_out, *ones), product.view(n_out, *B2.shape[1:])
    return product.view(n_out, n_in, *ones), torch.eye(n_in, dtype=B2.dtype).view(n_in, *B2.shape[1:])


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What PEFT multiplies a module's product by."""
    patterns = config.get("alpha_pattern") or {}
    # as PEFT finds it: the first pattern that is the end of the module's name, from a dot on
    alpha = next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_bytes(path, 1 << 20))
    except NotFoundError as error:
        raise NotFoundError(f"{path.parent}: this is no adapter of PEFT: {path.name} is missing") from error
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path}: it cannot be read as JSON: {error}") from error
    if (
        not isinstance(config, dict)
        or config.get("peft_type") != "LORA"
        or not isinstance(config.get("lora_alpha"), int | float)
    ):
        raise PackError(f"{path}: expected peft_type LORA with a lora_alpha, as LoraConfig writes it")
    wrong = [key for key, value in _PLAIN.items() if config.get(key, value) != value] + [k for k in _ABSENT if config.get(k)]
    if wrong:
        raise PackError(f"{path}: {wrong[0]} is {config[wrong[0]]!r:.80}: only a plain LoRA is W + B1 @ B2")
    return config
