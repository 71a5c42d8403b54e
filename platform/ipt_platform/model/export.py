"""A merged and fused backbone for other runtimes: a program of torch.export, and ONNX.

Both take one picture `[1, 3, H, W] float32 in [0, 1]` of any size whose sides are multiples of the backbone's extent, from two
of them on (smaller ones would fix sizes that are 1 into the program); whoever calls them pads by reflection as
`iptv2.reflect_pad` does, and cuts the result.
"""

import torch
from torch.export import Dim, ExportedProgram

from ipt_platform.model.iptv2 import IPTV2

LARGEST = 16_384
"""Sides of pictures up to which sizes are free, in pixels."""


def export_program(restorer: IPTV2) -> ExportedProgram:
    """The program of a restorer (`checkpoint.load.merged_for`), with free height and width."""
    return torch.export.export(restorer, (_example(restorer),), dynamic_shapes=_free(restorer))


def export_onnx(restorer: IPTV2) -> bytes:
    """The restorer as an ONNX model: input `degraded`, output `restored`, with free height and width.

    Raises:
        ModuleNotFoundError: the packages onnx and onnxscript are not installed.
    """
    made = torch.onnx.export(
        restorer,
        (_example(restorer),),
        dynamo=True,
        dynamic_shapes=_free(restorer),
        input_names=["degraded"],
        output_names=["restored"],
        verbose=False,
    )
    assert made is not None
    return made.model_proto.SerializeToString()


def _example(restorer: IPTV2) -> torch.Tensor:
    return torch.zeros(1, 3, 2 * restorer.extent, 3 * restorer.extent)


def _free(restorer: IPTV2) -> dict[str, dict[int, Dim]]:
    most = LARGEST // restorer.extent
    rows, columns = Dim("rows", min=2, max=most), Dim("columns", min=2, max=most)
    return {"x": {2: restorer.extent * rows, 3: restorer.extent * columns}}
