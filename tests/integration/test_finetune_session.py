"""A whole finetune in one process: the backbone stays, tasks do not meet, packs come out, and a resume is bit for bit."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.checkpoint.files import newest, read_json
from ipt_platform.checkpoint.load import load_model, merged_for
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import CancelledRunError, CheckpointError, SpecError
from ipt_platform.evaluate.testset import frozen_task, open_testsets
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.restore.model import load_restorer
from ipt_platform.spec.job import JOB, AnyJob, EvaluateJob, FinetuneJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.spec.source import Document
from ipt_platform.train.frozen import find_frozen, keep_frozen
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
STEPS = 5

TRAIN = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "general",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "tasks": {"denoise": {"params": {"sigma": 25}}, "deblur": None},
    "data": {"shards": ["shards/*.tar"], "carrier": "local"},
    "train": {"stages": [{"steps": 3, "patch": 32, "images": 2}], "ema": 0.9},
}
FINETUNE = {
    "apiVersion": "ipt/v1",
    "kind": "finetune",
    "name": "weather",
    "backbone": "general",
    "tasks": ["derain", "dehaze"],
    "bias": {"rank": 4, "depthwise": True},
    "data": {"shards": ["shards/*.tar"], "carrier": "local"},
    "train": {
        "stages": [{"steps": 2, "patch": 32, "images": 2}, {"steps": 3, "patch": 64, "images": 1}],
        "optimizer": {"bias_lr": 3.0e-3},
        "log_every": 1,
        "samples": 1,
    },
    "evaluate": {"sets": ["test"]},
    "checkpoint": {"every": 2},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, one_thread, photograph) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for seed in range(3):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    for seed in range(2):
        photograph(folder / "test" / f"t{seed}.png", 9 + seed, 40, 48)
    pack(folder / "photos", folder / "shards")
    trained(JOB.validate_python(TRAIN), create(folder / "runs", "general"), folder)
    return folder


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def session(job: AnyJob, run: RunDir, base: Path, stream: OpenStream = made_here) -> Session:
    assert not isinstance(job, EvaluateJob)
    return Session(job, Place(run, run.new_attempt(), base, ALONE, CPU), stream)


def trained(job: AnyJob, run: RunDir, base: Path) -> dict:
    return session(job, run, base).train()


def finetune_job(**changes) -> FinetuneJob:
    job = JOB.validate_python({**FINETUNE, **changes})
    assert isinstance(job, FinetuneJob)
    return job


def prepared(base: Path, runs: Path, name: str, **changes) -> tuple[FinetuneJob, RunDir]:
    """A job and its new run, as a submission leaves them."""
    job, run = finetune_job(**changes), create(runs, name)
    keep_frozen(find_frozen(LoadedJob(job, Document({}, {}, "job.yaml")), base), run)
    return job, run


@pytest.fixture(scope="module")
def straight(base) -> tuple[RunDir, dict]:
    job, run = prepared(base, base / "runs", "straight")
    return run, trained(job, run, base)


def bias_bytes(folder: Path) -> bytes:
    return (folder / "bias.safetensors").read_bytes()


def weights_of(run: RunDir, step: int) -> dict[str, bytes]:
    checkpoint = run.checkpoints / f"step-{step}"
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}


def picture() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(3).random((1, 3, 40, 48), np.float32))


def test_the_backbone_is_bit_for_bit_the_one_that_it_began_with(base, straight):
    run, _ = straight
    checkpoint, _ = newest(base / "runs" / "general")
    assert checkpoint
    want = load_biased_model(checkpoint).backbone

    after = session(finetune_job(), run, base)

    assert after.state.step == STEPS
    for backbone in (
        load_backbone(run.backbone)[0],
        after.state.model.backbone,
        load_biased_model(newest(run.path)[0]).backbone,
    ):
        assert {name: value.numpy().tobytes() for name, value in backbone.state_dict().items()} == {
            name: value.numpy().tobytes() for name, value in want.state_dict().items()
        }


def test_a_step_of_training_moves_biases_alone(base, straight):
    run, _ = straight
    after = session(finetune_job(), run, base)
    backbone = fingerprint(after.state.model.backbone)
    before = {name: value.clone() for name, value in after.state.model.named_parameters()}

    after.stepper(next(made_here(after.maker, 0, 1)))

    assert fingerprint(after.state.model.backbone) == backbone
    moved = {name for name, value in after.state.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("biases.")}


def test_nothing_is_kept_twice_of_what_is_frozen(base, straight):
    run, _ = straight
    state = session(finetune_job(), run, base).state

    assert state.average
    assert state.average.backbone is state.model.backbone
    biases = set(state.model.biases.parameters())
    assert {parameter for group in state.optimizer.param_groups for parameter in group["params"]} == biases
    assert set(state.optimizer.state) == biases
    assert all(bias.grad is None for bias in state.model.backbone.parameters())


def test_a_checkpoint_holds_biases_alone(straight):
    run, _ = straight
    state = read_json(run.checkpoints / f"step-{STEPS}" / "state.json")

    assert set(weights_of(run, STEPS)) == {
        *(f"{where}biases/{task}.safetensors" for where in ("", "average/") for task in ("derain", "dehaze")),
        "optimizer.safetensors",
        "rng.safetensors",
    }
    assert state["model"]["frozen"] == fingerprint(load_backbone(run.backbone)[0])
    assert all(name.startswith("biases.") for name in load_file(run.checkpoints / f"step-{STEPS}" / "optimizer.safetensors"))


def test_a_task_beside_another_becomes_what_it_becomes_alone(base, straight, tmp_path):
    job, run = prepared(base, tmp_path, "alone", tasks={"derain": None})

    trained(job, run, base)

    together, _ = straight
    assert bias_bytes(run.pack("derain")) == bias_bytes(together.pack("derain"))
    for where in ("", "average/"):
        name = f"{where}biases/derain.safetensors"
        assert weights_of(run, STEPS)[name] == weights_of(together, STEPS)[name]


def test_a_new_task_changes_no_bit_of_what_another_restores(base, straight, tmp_path):
    run, _ = straight
    backbone, _ = load_backbone(run.backbone)
    derain = load_bias(read_pack(run.pack("derain")), backbone)
    before = merged_for(BiasedModel(backbone, {"derain": derain}), "derain")(picture())

    desnow = trained(*prepared(base, tmp_path, "more", tasks=["desnow"], backbone=str(run.backbone)), base)
    other = load_bias(read_pack(tmp_path / "more" / "packs" / "desnow"), backbone)
    after = merged_for(BiasedModel(backbone, {"desnow": other, "derain": derain}), "derain")(picture())

    assert desnow["steps"] == STEPS
    assert torch.equal(after, before)


@pytest.mark.parametrize("at", [0, 2])
def test_a_stopped_finetune_goes_on_bit_for_bit_though_its_source_is_gone(base, straight, tmp_path, at):
    shutil.copytree(base / "runs" / "general", tmp_path / "general")
    job, run = prepared(base, tmp_path, "again", backbone=str(tmp_path / "general"))
    shutil.rmtree(tmp_path / "general")

    def stopping(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in made_here(maker, start, stop):
            if batch.step == at:
                run.request_stop("enough for today")
            yield batch

    with pytest.raises(CancelledRunError, match="enough for today"):
        session(job, run, base, stopping).train()
    report = trained(job, run, base)

    want, straight_report = straight
    assert [event["step"] for event in read_events(run) if event["type"] == "resumed"] == [at + 1]
    assert weights_of(run, STEPS) == weights_of(want, STEPS)
    assert report["sets"] == straight_report["sets"]
    assert bias_bytes(run.pack("dehaze")) == bias_bytes(want.pack("dehaze"))


def test_the_packs_say_what_was_measured_and_where_they_came_from(base, straight):
    run, report = straight
    frozen = frozen_task("derain", base=base)
    (testset,) = open_testsets(["test"], base, [frozen])

    read = read_pack(run.pack("derain"))

    info, numbers = read.info, report["sets"]["test"]["derain"]
    (measured,) = info.metrics
    assert (measured.set, measured.digest, measured.protocol, measured.n) == ("test", testset.digest(frozen), "rgb-uint8", 2)
    assert (measured.psnr, measured.psnr_input, measured.ssim) == (numbers["psnr"], numbers["psnr_input"], numbers["ssim"])
    assert measured.gain == pytest.approx(numbers["psnr"] - numbers["psnr_input"])
    assert measured.params == frozen.params
    assert (info.rank, info.depthwise, info.allocation, info.upscale, info.quantize) == (4, True, "constant", 1, False)
    assert (info.lineage.run, info.lineage.attempt, info.lineage.step) == ("straight", 1, STEPS)
    assert JOB.validate_python(info.lineage.job) == finetune_job()
    assert Path(info.backbone.checkpoint) == base / "runs" / "general" / "checkpoints" / "step-3"
    assert info.parameters == report["parameters"]["bias"]["derain"]
    assert {path.name: path.read_bytes() for path in (run.pack("derain") / "triptychs").iterdir()} == {
        "test-derain-t0.png": (run.samples(STEPS) / "test-derain-t0.png").read_bytes()
    }
    assert [event["step"] for event in read_events(run) if event["type"] == "finished"] == [STEPS]


def test_a_pack_restores_as_the_checkpoint_of_its_run_does(straight):
    run, _ = straight
    backbone, _ = load_backbone(run.backbone)
    bias = load_bias(read_pack(run.pack("dehaze")), backbone)

    restored = merged_for(BiasedModel(backbone, {"dehaze": bias}), "dehaze")(picture())

    checkpoint, _ = newest(run.path)
    assert checkpoint
    assert torch.equal(restored, load_restorer(checkpoint, "dehaze", CPU)(picture()))
    assert not torch.equal(restored, merged_for(BiasedModel(backbone, {}), "dehaze")(picture()))


def test_packs_of_an_attempt_that_died_before_it_had_finished_are_made_anew(base, straight, tmp_path):
    run, _ = straight
    again = RunDir(shutil.copytree(run.path, tmp_path / "again"))
    again.report.unlink()
    again.events.write_text("".join(line for line in again.events.open() if '"finished"' not in line))
    (again.pack("derain") / "bias.json").write_text("torn")

    trained(finetune_job(), again, base)

    assert read_pack(again.pack("derain")).info.lineage.attempt == again.current_attempt()
    assert bias_bytes(again.pack("derain")) == bias_bytes(run.pack("derain"))


def test_metrics_tell_the_rates_and_norms_of_biases(straight):
    run, _ = straight
    lines = [line for line in read_metrics(run) if "loss" in line]

    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [set(line["loss"]) for line in lines] == [{"derain", "dehaze"}] * 5
    assert [(line["lr"], line["grad_norm"]) for line in lines] == [(None, 0.0)] * 5
    assert lines[0]["bias_lr"] == pytest.approx(3.0e-3)
    assert all(line["bias_grad_norm"] > 0 for line in lines)


# Warm starts


@pytest.mark.parametrize("start", [{"task": "denoise"}, {"pack": "runs/straight/packs/derain"}])
def test_a_warm_start_begins_with_the_bias_that_it_names(base, straight, tmp_path, start):
    changes = {} if "pack" in start else {"bias": {"rank": 4}}
    job, run = prepared(base, tmp_path, "warm", start=start, tasks=["desnow", "raindrop"], **changes)

    state = session(job, run, base).state

    checkpoint, _ = newest(base / "runs" / "general")
    assert checkpoint
    whole = load_biased_model(checkpoint)
    want = load_bias(read_pack(base / start["pack"]), whole.backbone) if "pack" in start else whole.bias("denoise")
    for task in ("desnow", "raindrop"):
        restored = state.model.run_task(task, picture())
        assert torch.equal(restored, BiasedModel(whole.backbone, {"it": want}).run_task("it", picture()))
        assert not torch.equal(restored, whole.backbone(picture()))


def test_from_zero_the_first_picture_is_that_of_the_backbone(base, tmp_path):
    job, run = prepared(base, tmp_path, "zero")

    model = session(job, run, base).state.model

    assert torch.equal(model.run_task("derain", picture()), model.backbone(picture()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": "generel"}, r"backbone: no run 'generel' in .*: did you mean general\?"),
        ({"start": {"task": "denoize"}}, r"start\.task: .*step-3 has no bias for task 'denoize'; did you mean 'denoise'\?"),
        (
            {"start": {"task": "denoise"}},
            r"start\.task: the bias of denoise has rank none for .*depthwise.*, the job's `bias` gives it 0 \(\d+ weights",
        ),
        ({"start": {"pack": "nowhere"}}, r"start\.pack: .*nowhere: this is no bias pack: bias\.json is missing"),
        (
            {"backbone": "other", "start": {"pack": "runs/straight/packs/derain"}},
            r"start\.pack: .*belongs to the backbone sha256:\w+ .*; the backbone here is sha256:",
        ),
        (
            {"backbone": "other", "start": {"task": "denoise"}},
            r"start\.task: .*has no bias for task 'denoise': it has none at all",
        ),
    ],
)
def test_what_cannot_be_begun_from_is_refused_where_it_is_named(base, straight, tmp_path, changes, said):
    if changes.get("backbone") == "other":
        torch.manual_seed(1)
        backbone, _ = load_backbone(straight[0].backbone)
        backbone.embed.weight.add_(1)
        write_backbone(tmp_path / "other", backbone, "iptv2-nano", {}, "now")
        changes = {**changes, "backbone": str(tmp_path / "other")}

    with pytest.raises(SpecError, match=said):
        find_frozen(LoadedJob(finetune_job(**changes), Document({}, {}, "job.yaml")), base)


# A checkpoint without its backbone, or beside another one


def test_a_checkpoint_whose_backbone_is_missing_says_so(straight, tmp_path):
    run, _ = straight
    alone = shutil.copytree(run.checkpoints / f"step-{STEPS}", tmp_path / "run" / "checkpoints" / f"step-{STEPS}")

    with pytest.raises(
        CheckpointError, match=r"holds biases for a frozen backbone, which is kept in .*run/backbone and cannot be"
    ):
        load_model(alone, "derain")


def test_a_checkpoint_beside_another_backbone_is_refused(base, straight, tmp_path):
    run, _ = straight
    moved = RunDir(shutil.copytree(run.path, tmp_path / "moved"))
    weights = load_file(moved.backbone / "model.safetensors")
    backbone, info = load_backbone(run.backbone)
    backbone.embed.weight.add_(1)
    shutil.rmtree(moved.backbone)
    write_backbone(moved.backbone, backbone, "iptv2-nano", {}, "now")

    with pytest.raises(CheckpointError, match=rf"belongs to the backbone {info.fingerprint}; .*backbone holds sha256:"):
        load_model(moved.checkpoints / f"step-{STEPS}", "derain")
    with pytest.raises(CheckpointError, match=rf"its backbone is {info.fingerprint}, the job's is sha256:"):
        session(finetune_job(), moved, base)

    about = json.loads((moved.backbone / "backbone.json").read_bytes())
    (moved.backbone / "backbone.json").write_text(json.dumps(about | {"fingerprint": info.fingerprint}))
    save_file({name: value + 1 for name, value in weights.items()}, moved.backbone / "model.safetensors")
    with pytest.raises(CheckpointError, match="damaged: its weights have fingerprint"):
        load_model(moved.checkpoints / f"step-{STEPS}", "derain")
