"""What tells one backbone from another: a digest over all that it consists of."""

import hashlib
import json
from itertools import chain

import torch
from torch import nn


def fingerprint(backbone: nn.Module) -> str:
    """`sha256:` and the hexadecimal digest over name, shape, dtype and bytes of every parameter and buffer.

    The order is that of the sorted names, so that it does not matter in which order a module defines its parts. Equal on every
    device; a backbone with fused branches is another one, and so is one of another dtype. For each tensor a line of JSON
    `[name, dtype, shape]` is digested and then its values, row by row, as they lie in the memory of a little-endian machine.
    """
    digest = hashlib.sha256()
    tensors = chain(backbone.named_parameters(remove_duplicate=False), backbone.named_buffers(remove_duplicate=False))
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        values = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, str(values.dtype), list(values.shape)]).encode() + b"\n")
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"
