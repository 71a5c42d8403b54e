"""PEFT's layout, against the real `peft`: what it loads restores as ours does, and what it saves comes back."""

import json
import math
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ipt_platform.errors import NotFoundError, PackError
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.registry.peft import bias_from_peft, peft_files

GROUPS = {"embed", "output", "sampling", "reduction", "qkv", "proj", "ffn"}


def net() -> IPTV2:
    """A small backbone of three levels, so that every layer group has a weight; no weight zero."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "blocks": (1, 1, 1), "decoder": (1, 1), "refinement": 1, "heads": (1, 2, 2)}
    backbone = IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=2).requires_grad_(False)
    for weight in backbone.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    return backbone


def trained(backbone: IPTV2, rank: int = 6) -> TaskBias:
    bias = TaskBias(backbone, constant_ranks(backbone, matrices_of(backbone, GROUPS), rank))
    with torch.no_grad():
        for factor in bias.parameters():
            factor.normal_(0, 0.1)
    return bias


def picture() -> torch.Tensor:
    return torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def restored(backbone: IPTV2, bias: TaskBias) -> torch.Tensor:
    return BiasedModel(backbone, {"t": bias}).run_task("t", picture())


@pytest.fixture
def adapter(tmp_path) -> Path:
    for name, data in peft_files(trained(net()), "iptv2-test").items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_what_peft_loads_restores_the_same_picture(adapter):
    want = restored(net(), trained(net()))

    with torch.no_grad():
        loaded = peft.PeftModel.from_pretrained(net(), str(adapter)).eval()
        beside = loaded(picture())
        merged = loaded.merge_and_unload()(picture())

    assert (want - net()(picture())).abs().max() > 0.05  # the bias does something
    torch.testing.assert_close(beside, want, rtol=0, atol=1e-5)
    torch.testing.assert_close(merged, want, rtol=0, atol=1e-5)


def test_ranks_that_are_capped_are_told_one_by_one_and_nothing_is_scaled(adapter):
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    ranks = trained(net()).layout
    loaded = peft.PeftModel.from_pretrained(net(), str(adapter))

    layers = {name: each for name, each in loaded.base_model.model.named_modules() if hasattr(each, "lora_A")}
    assert {f"{name}.weight": each.r["default"] for name, each in layers.items()} == ranks
    assert {each.scaling["default"] for each in layers.values()} == {1.0}
    assert len({*ranks.values()}) > 1
    assert config["r"] == config["lora_alpha"] == 6


def test_a_bias_goes_out_and_comes_back_to_the_bit(adapter):
    want = trained(net())

    back = bias_from_peft(adapter, net())

    assert back.layout == want.layout
    assert {name: value.numpy().tobytes() for name, value in back.tensors().items()} == {
        name: value.numpy().tobytes() for name, value in want.tensors().items()
    }


@pytest.mark.parametrize("stable", [False, True])
def test_an_adapter_that_peft_made_restores_as_it_does_there(tmp_path, stable):
    """With a scale of its own, patterns of ranks, and names that are only the ends of names."""
    torch.manual_seed(2)
    config = peft.LoraConfig(
        r=4, lora_alpha=6, use_rslora=stable, target_modules=["qkv", "fc1", "conv"], rank_pattern={"fc1": 2},
        alpha_pattern={"ffn1.fc1": 3},
    )  # fmt: skip
    model = peft.get_peft_model(net(), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.1)
        want = model.eval()(picture())
    model.save_pretrained(str(tmp_path))

    bias = bias_from_peft(tmp_path, net())

    torch.testing.assert_close(restored(net(), bias), want, rtol=0, atol=1e-5)
    assert bias.layout["down.0.conv.weight"] == 2  # its full rank; PEFT gave it 4
    assert set(bias.layout.values()) == {2, 4}
    assert (want - net()(picture())).abs().max() > 0.05
    scale = load_file(tmp_path / "adapter_model.safetensors")["base_model.model.up.0.conv.lora_B.weight"]
    factor = 6 / math.sqrt(4) if stable else 6 / 4
    assert torch.equal(bias.factor("up.0.conv.weight", "B1"), scale * factor)


def test_dense_biases_are_refused():
    backbone = net()
    dense = TaskBias(backbone, constant_ranks(backbone, matrices_of(backbone, {"depthwise", "qkv"}), 2))

    with pytest.raises(PackError, match=r"depthwise.* is dense, which PEFT's layout cannot say"):
        peft_files(dense, "x")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "expected peft_type LORA"),
        ({"lora_alpha": None}, "with a lora_alpha"),
        ({"use_dora": True}, r"use_dora is True: only a plain LoRA is W \+ B1 @ B2"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["output"]}, r"modules_to_save is \['output'\]"),
    ],
)
def test_what_is_no_plain_lora_is_refused(adapter, change, said):
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    (adapter / "adapter_config.json").write_text(json.dumps(config | change))

    with pytest.raises(PackError, match=said):
        bias_from_peft(adapter, net())


KEY = "base_model.model.output.lora_{}.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_model.model.output.lora_E": torch.zeros(1)}, "is no factor of a LoRA"),
        ({KEY.format("A").replace("output", "outpost"): torch.zeros(2, 4)}, "outpost has lora_A alone"),
        (
            {KEY.format("A"): torch.zeros(4, 8, 3, 3)},
            r"output has factors \[3, 3, 1, 1\] and \[4, 8, 3, 3\], which have no product",
        ),
        ({KEY.format("A"): torch.zeros(())}, r"output has factors .* which have no product"),
        ({KEY.format("A"): torch.zeros(3, 9, 3, 3)}, r"does not fit the backbone: .*output\.weight\.B2 is \(3, 9, 3, 3\)"),
        ({KEY.format("B"): torch.full((3, 3, 1, 1), math.nan)}, r"output\.weight\.B1 holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(adapter, change, said):
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(tensors | change, adapter / "adapter_model.safetensors")

    with pytest.raises(PackError, match=said):
        bias_from_peft(adapter, net())


def test_a_missing_file_is_named(adapter, tmp_path):
    (adapter / "adapter_config.json").unlink()

    with pytest.raises(NotFoundError, match=r"this is no adapter of PEFT: adapter_config\.json is missing"):
        bias_from_peft(adapter, net())
