"""`export` and `import` from the command line, on a checkpoint written by the real writer."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ipt_platform.checkpoint.backbone import load_backbone, read_backbone
from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.load import load_model, merged_for
from ipt_platform.checkpoint.state import load_biased_model, state_files
from ipt_platform.cli.main import main
from ipt_platform.errors import ExitCode
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.build import build_backbone
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import matrices_of
from ipt_platform.observe.storage import create
from ipt_platform.registry.pack import load_bias, read_pack


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """A run of two tasks, one of them with a dense part."""
    folder = tmp_path_factory.mktemp("storage")
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    torch.nn.init.normal_(backbone.output.weight, std=0.02)
    layout = constant_ranks(backbone, matrices_of(backbone, {"output", "sampling", "qkv", "ffn"}), 4)
    dense = constant_ranks(backbone, matrices_of(backbone, {"depthwise"}), 4)
    biases = {"derain": TaskBias(backbone, layout), "dehaze": TaskBias(backbone, layout | dense)}
    for parameter in (factor for bias in biases.values() for factor in bias.parameters()):
        torch.nn.init.normal_(parameter, std=0.03)
    model = BiasedModel(backbone, biases)
    run = create(folder, "a-run")
    run.new_attempt()
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=3, backbone="iptv2-nano", progress={})
    commit(run.checkpoints, 3, files, nullcontext)
    return folder


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def picture(height: int = 128, width: int = 192) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((1, 3, height, width), np.float32))


def want(storage: Path, task: str, *size: int) -> torch.Tensor:
    return load_model(storage / "a-run" / "checkpoints" / "step-3", task)(picture(*size))


def export(capsys, storage: Path, form: str, out: Path, task: str = "derain", run: object = "a-run") -> tuple[int, str, str]:
    return call(capsys, "export", run, "--task", task, "--as", form, "-o", out, "--storage", storage)


@pytest.mark.parametrize("task", ["derain", "dehaze"])
def test_a_merged_backbone_restores_its_task_without_a_bias(capsys, storage, tmp_path, task):
    code, out, _ = export(capsys, storage, "backbone", tmp_path / "merged", task)

    backbone, info = load_backbone(tmp_path / "merged")
    assert code == 0
    assert f"{tmp_path / 'merged'}: {task} of " in out
    assert torch.equal(merged_for(BiasedModel(backbone, {}), task)(picture()), want(storage, task))
    assert (info.lineage["merged"], info.lineage["run"], info.lineage["step"]) == (task, "a-run", 3)
    assert info.fingerprint != fingerprint(load_biased_model(storage / "a-run" / "checkpoints" / "step-3").backbone)


def test_an_adapter_goes_out_and_comes_in_as_a_pack_that_restores_the_same(capsys, storage, tmp_path):
    checkpoint = storage / "a-run" / "checkpoints" / "step-3"
    assert export(capsys, storage, "peft", tmp_path / "adapter", run=checkpoint)[0] == 0

    code, out, _ = call(
        capsys,
        "import",
        tmp_path / "adapter",
        "--backbone",
        checkpoint,
        "--task",
        "my-derain",
        "-o",
        tmp_path / "pack",
        "--json",
    )

    pack = read_pack(tmp_path / "pack")
    backbone = load_biased_model(checkpoint).backbone
    restored = merged_for(BiasedModel(backbone, {"my-derain": load_bias(pack, backbone)}), "my-derain")(picture())
    assert code == 0
    assert json.loads(out)["fingerprint"] == fingerprint(backbone)
    assert torch.equal(restored, want(storage, "derain"))
    assert (pack.info.task, set(pack.info.targets), pack.info.metrics) == (
        "my-derain",
        {"output", "sampling", "qkv", "ffn"},
        (),
    )
    assert "It was not measured." in (tmp_path / "pack" / "CARD.md").read_text()


@pytest.mark.slow  # torch takes a while to trace a program
def test_onnx_and_programs_restore_pictures_of_any_multiple_of_the_extent(capsys, storage, tmp_path):
    assert export(capsys, storage, "onnx", tmp_path / "derain.onnx")[0] == 0
    assert export(capsys, storage, "program", tmp_path / "derain.pt2")[0] == 0

    onnx.checker.check_model(str(tmp_path / "derain.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "derain.onnx"), providers=["CPUExecutionProvider"])
    assert [each.name for each in (*session.get_inputs(), *session.get_outputs())] == ["degraded", "restored"]
    program = torch.export.load(tmp_path / "derain.pt2").module()
    for size in ((64, 96), (96, 64), (128, 192)):
        expected = want(storage, "derain", *size)
        (by_onnx,) = session.run(None, {"degraded": picture(*size).numpy()})
        for restored in (torch.from_numpy(by_onnx), program(picture(*size))):
            torch.testing.assert_close(restored, expected, rtol=0, atol=1e-4)
        assert (expected - picture(*size)).abs().max() > 0.05


@pytest.mark.parametrize(
    ("form", "task", "run", "code", "said"),
    [
        ("onxx", "derain", "a-run", ExitCode.USAGE, "there is no form 'onxx'; did you mean 'onnx'?"),
        ("backbone", "desnow", "a-run", ExitCode.NOT_FOUND, "no bias for task 'desnow'; the checkpoint has: derain, dehaze"),
        ("peft", "dehaze", "a-run", ExitCode.USAGE, "is dense, which PEFT's layout cannot say"),
        ("peft", "derain", "b-run", ExitCode.NOT_FOUND, "no run 'b-run'"),
    ],
)
def test_what_cannot_be_exported_is_told_and_nothing_is_written(capsys, storage, tmp_path, form, task, run, code, said):
    found, _, err = export(capsys, storage, form, tmp_path / "out", task, run)

    assert (found, list(tmp_path.iterdir())) == (code, [])
    assert said in err


def test_what_exists_is_never_replaced(capsys, storage, tmp_path):
    export(capsys, storage, "backbone", tmp_path / "merged")
    before = read_backbone(tmp_path / "merged")

    code, _, err = export(capsys, storage, "backbone", tmp_path / "merged", "dehaze")

    assert code == ExitCode.REFUSED
    assert f"{tmp_path / 'merged'} is there already" in err
    assert read_backbone(tmp_path / "merged") == before


def test_what_is_no_adapter_is_told(capsys, storage, tmp_path):
    code, _, err = call(
        capsys, "import", tmp_path, "--backbone", "a-run", "--task", "t", "-o", tmp_path / "pack", "--storage", storage
    )

    assert code == ExitCode.NOT_FOUND
    assert "this is no adapter of PEFT: adapter_config.json is missing" in err
