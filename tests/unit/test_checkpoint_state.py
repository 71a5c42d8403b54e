"""State to committed files and back, bit for bit; what does not fit is refused with both sides named."""

import copy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from ipt_platform.checkpoint.files import commit, read_json, verify
from ipt_platform.checkpoint.load import load_model, merged_for
from ipt_platform.checkpoint.state import load_biased_model, load_training_state, state_files
from ipt_platform.errors import CheckpointError, NotFoundError
from ipt_platform.model.bias import BiasedModel, TaskBias, constant_ranks
from ipt_platform.model.build import build_backbone
from ipt_platform.model.groups import matrices_of
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.train.state import TrainState, new_state, update_average

BOTH = ("denoise", "deblur")


def alive(net: nn.Module) -> nn.Module:
    """With torch's usual weights where a fresh backbone has zeros: as the identity it would pass too much."""
    for weight in net.parameters():
        if weight.dim() > 1 and not weight.any():
            nn.init.kaiming_uniform_(weight, a=5**0.5)
    return net


def net() -> nn.Module:
    sizes = {"dim": 4, "blocks": (1, 1), "decoder": (1,), "refinement": 0, "heads": (1, 2)}
    return alive(IPTV2(**sizes, window=4, grid=4, extent=16, ffn_ratio=1))


def state(seed=0, tasks=BOTH, rank=2, average=True, backbone=net, depthwise=True) -> TrainState:
    torch.manual_seed(seed)
    module = backbone()
    groups = {"qkv", "ffn", "sampling", *(["depthwise"] if depthwise else [])}
    layout = constant_ranks(module, matrices_of(module, groups), rank) if tasks else {}
    model = BiasedModel(module, {task: TaskBias(module, layout) for task in tasks})
    return new_state(
        model, lr=1e-2, bias_lr=1e-2, weight_decay=0.1, bias_weight_decay=0.1, betas=(0.9, 0.99), average=average
    )  # fmt: skip


def step(trained: TrainState) -> None:
    """A step on crops drawn from torch's generator, so that the generator matters as well."""
    trained.optimizer.zero_grad()
    inputs = {task: torch.rand(1, 3, 16, 16) for task in (trained.model.biases or ["all"])}
    sum(out.square().sum() for out in trained.model(inputs).values()).backward()
    trained.optimizer.step()
    if trained.average is not None:
        update_average(trained.average, trained.model, trained.step, 0.9)
    trained.step += 1


def save(trained: TrainState, folder: Path, name: str = "iptv2-tiny") -> Path:
    files = state_files(
        trained.model, trained.average, trained.optimizer, step=trained.step, backbone=name, progress={"images": 7}
    )
    return commit(folder, trained.step, files, nullcontext)


def load(checkpoint: Path, into: TrainState, name: str = "iptv2-tiny") -> dict:
    saved = load_training_state(checkpoint, into.model, into.average, into.optimizer, backbone=name)
    into.step = saved["step"]
    return saved


def everything(trained: TrainState) -> dict[str, torch.Tensor]:
    kept = {"rng": torch.get_rng_state(), **trained.model.state_dict()}
    if trained.average is not None:
        kept |= {f"average.{name}": value for name, value in trained.average.state_dict().items()}
    for name, parameter in trained.model.named_parameters():
        kept |= {f"{name}.{key}": value for key, value in trained.optimizer.state[parameter].items()}
    return copy.deepcopy(kept)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("tasks", "average"), [(BOTH, True), (BOTH, False), ((), True)])
def test_training_goes_on_from_the_files_as_if_nothing_had_happened(tmp_path, tasks, average):
    straight = state(tasks=tasks, average=average)
    for _ in range(2):
        step(straight)
    checkpoint = save(straight, tmp_path)
    at_two = everything(straight)
    for _ in range(2):
        step(straight)
    at_four = everything(straight)

    resumed = state(seed=1, tasks=tasks, average=average)
    torch.rand(9)
    saved = load(checkpoint, resumed)
    assert same(everything(resumed), at_two)
    for _ in range(2):
        step(resumed)

    assert same(everything(resumed), at_four)
    assert (saved["step"], saved["progress"]) == (2, {"images": 7})


def test_files_are_those_that_the_format_names(tmp_path):
    trained = state()
    step(trained)
    checkpoint = save(trained, tmp_path)

    names = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()}
    own = {"model.safetensors", "biases/denoise.safetensors", "biases/deblur.safetensors"}
    rest = {"optimizer.safetensors", "rng.safetensors", "state.json", "MANIFEST.json", "COMMIT"}
    assert names == own | {f"average/{name}" for name in own} | rest
    verify(checkpoint)
    assert read_json(checkpoint / "state.json")["model"]["layouts"]["deblur"] == trained.model.bias("deblur").layout


REFUSALS = [
    ({"rank": 3}, "iptv2-tiny", r"the rank of .*weight for deblur is 2, the job's is 3 \(\d+ weights differ\)"),
    ({"depthwise": False}, "iptv2-tiny", r"the rank of .*depthwise.* for deblur is 0, the job's is none"),
    ({}, "iptv2-base", "its backbone is iptv2-tiny, the job's is iptv2-base"),
    ({"tasks": ("denoise", "derain")}, "iptv2-tiny", "it has biases for deblur, denoise, the job for denoise, derain"),
    ({"tasks": ("denoise",)}, "iptv2-tiny", "it has biases for deblur, denoise, the job for denoise"),
    ({"tasks": ()}, "iptv2-tiny", "it has biases for deblur, denoise, the job for no task"),
    ({"average": False}, "iptv2-tiny", "it has averaged weights, the job none"),
]


@pytest.mark.parametrize(("changes", "backbone", "sentence"), REFUSALS)
def test_a_checkpoint_of_another_model_is_refused_before_anything_is_touched(tmp_path, changes, backbone, sentence):
    trained = state()
    step(trained)
    checkpoint = save(trained, tmp_path)
    other = state(seed=1, **changes)
    step(other)
    before = everything(other)

    with pytest.raises(CheckpointError, match=sentence) as caught:
        load(checkpoint, other, backbone)

    assert str(checkpoint) in str(caught.value)
    assert same(everything(other), before)


def test_weights_of_other_shapes_under_the_same_name_are_refused(tmp_path):
    checkpoint = save(state(tasks=()), tmp_path)
    wider = state(tasks=(), backbone=lambda: nn.Sequential(nn.Linear(3, 3)))

    with pytest.raises(CheckpointError, match=r"does not fit this job: backbone: missing \['0\.bias', '0\.weight'\]"):
        load(checkpoint, wider)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, BiasedModel]:
    trained = state(backbone=lambda: alive(build_backbone("iptv2-tiny")))
    for weight in trained.average.biases.parameters():
        nn.init.normal_(weight, std=0.2)
    return save(trained, tmp_path_factory.mktemp("checkpoints")), trained.average


def test_a_loaded_restorer_is_the_averaged_model_of_its_task(tiny):
    checkpoint, average = tiny
    x = torch.rand(1, 3, 30, 50)

    restorer = load_model(checkpoint, "deblur")

    with torch.no_grad():
        torch.testing.assert_close(restorer(x), average.run_task("deblur", x), rtol=0, atol=1e-5)
        assert not torch.allclose(restorer(x), average.run_task("denoise", x), atol=1e-3)
    assert not restorer.training
    assert not any(p.requires_grad or "depthwise1" in name for name, p in restorer.named_parameters())


def test_merging_one_task_leaves_the_model_for_the_others(tiny):
    _, average = tiny
    before = copy.deepcopy(average.state_dict())

    merged_for(average, "denoise")

    assert same(average.state_dict(), before)


def test_a_model_comes_back_without_the_job_that_made_it(tiny):
    checkpoint, average = tiny

    assert same(load_biased_model(checkpoint).state_dict(), average.state_dict())


def test_a_task_that_was_not_trained_is_named_with_those_that_were(tiny):
    with pytest.raises(NotFoundError, match="no bias for task 'derain'; the model has: denoise, deblur"):
        load_model(tiny[0], "derain")


def test_a_damaged_checkpoint_gives_no_model(tmp_path):
    checkpoint = save(state(), tmp_path)
    path = checkpoint / "biases" / "denoise.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match=r"biases/denoise\.safetensors"):
        load_model(checkpoint, "denoise")
