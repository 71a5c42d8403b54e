"""Exported models, run by the runtimes that they are for: the picture of the restorer, at sizes that the export never saw."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from ipt_platform.checkpoint.load import merged_for
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.export import export_onnx, export_program
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2

pytestmark = pytest.mark.slow  # torch takes a while to trace a program

SIZES = [(32, 48), (48, 32), (80, 64)]


@pytest.fixture(scope="module")
def restorer() -> IPTV2:
    """A small backbone with a task's bias merged and its branches fused."""
    torch.manual_seed(0)
    sizes = {"dim": 8, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (1, 2)}
    backbone = IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=2)
    bias = TaskBias(backbone, constant_ranks(backbone, matrices_of(backbone, {"qkv", "ffn", "output", "sampling"}), 2))
    for parameter in (*backbone.parameters(), *bias.parameters()):
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    merged = merged_for(BiasedModel(backbone, {"t": bias}), "t")
    assert isinstance(merged, IPTV2)
    return merged


def picture(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(height).random((1, 3, height, width), np.float32))


def test_a_program_of_torch_export_restores_pictures_of_any_multiple_of_the_extent(restorer):
    buffer = io.BytesIO()
    torch.export.save(export_program(restorer), buffer)
    buffer.seek(0)

    program = torch.export.load(buffer).module()

    for size in SIZES:
        x = picture(*size)
        torch.testing.assert_close(program(x), restorer(x), rtol=0, atol=1e-5)
    assert (restorer(x) - x).abs().max() > 0.05


def test_an_onnx_model_restores_pictures_of_any_multiple_of_the_extent(restorer):
    data = export_onnx(restorer)

    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    assert [each.name for each in (*session.get_inputs(), *session.get_outputs())] == ["degraded", "restored"]
    for size in SIZES:
        x = picture(*size)
        (y,) = session.run(None, {"degraded": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), restorer(x), rtol=0, atol=1e-5)
