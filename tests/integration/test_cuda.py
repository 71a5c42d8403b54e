"""Training and restoring on a GPU, by what the same comes to on the CPU; runs where there is one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import distributed, nn

from ipt_platform.checkpoint.load import load_model
from ipt_platform.cluster.probe import facts
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.restore.model import restorers
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.flops import peak_flops
from ipt_platform.train.group import Workers
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from ipt_platform.train.step import batch_tensors
from ipt_platform.train.watch import watch_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU that torch can use")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
STEPS = 6


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products of float32 are of float32, and come out the same each time."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    for seed in range(5):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    photograph(folder / "test" / "t.png", 10, 70, 90)
    pack(folder / "photos", folder / "shards")
    return folder


def job_of(**train: Any) -> TrainJob:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "cuda",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 2}},
        "tasks": {"denoise": {"weight": 2, "params": {"sigma": 25}}, "deblur": None},
        "data": {"shards": ["shards/*.tar"], "carrier": "local"},
        "train": {"stages": [{"steps": STEPS, "patch": 64, "images": 4}], "log_every": 1, **train},
        "evaluate": {"sets": ["test"]},
        "checkpoint": {"every": 3},
    }
    parsed = JOB.validate_python(job)
    assert isinstance(parsed, TrainJob)
    return parsed


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def train(
    base: Path, name: str, device: torch.device, job: TrainJob, after: str = "", wrap: Any = lambda model: model
) -> RunDir:
    """Train a new run to its end; it goes on from the third step of another run if one is named."""
    run = create(base / "runs", name)
    if after:
        shutil.copytree(base / "runs" / after / "checkpoints" / "step-3", run.checkpoints / "step-3")
    Session(job, Place(run, run.new_attempt(), base, Workers(), device), made_here, wrap).train()
    return run


def losses(run: RunDir) -> list[dict[str, float]]:
    return [line["loss"] for line in read_metrics(run) if "loss" in line]


def tensors(run: RunDir, step: int = STEPS) -> dict[str, torch.Tensor]:
    folder = run.checkpoints / f"step-{step}"
    files = [path for path in folder.rglob("*.safetensors") if path.name != "rng.safetensors"]
    return {f"{path.relative_to(folder)}/{key}": value for path in files for key, value in load_file(path).items()}


def apart(one: RunDir, other: RunDir) -> float:
    """How far two runs ended from each other, beside how far they moved in their last steps."""
    before, end, found = tensors(one, 3), tensors(one), tensors(other)
    assert found.keys() == end.keys()
    assert {value.dtype for value in found.values()} == {torch.float32}  # whatever the products were rounded to
    far = sum(float((found[name].double() - end[name].double()).square().sum()) for name in end)
    moved = sum(float((end[name].double() - before[name].double()).square().sum()) for name in end if ".step" not in name)
    return (far / moved) ** 0.5


@pytest.fixture(scope="module")
def on_cpu(base) -> RunDir:
    return train(base, "cpu", CPU, job_of())


@pytest.mark.parametrize(
    "changes", [{}, {"activation_checkpointing": True}, {"accumulate": 2}], ids=["plain", "recomputed", "accumulated"]
)
def test_training_comes_to_what_it_comes_to_on_the_cpu(base, on_cpu, request, changes):
    run = train(base, request.node.callspec.id, GPU, job_of(**changes))

    assert len(losses(run)) == STEPS
    for found, want in zip(losses(run), losses(on_cpu), strict=True):
        assert found == pytest.approx(want, rel=1e-4)
    assert apart(on_cpu, run) < 0.02
    scores, wanted = (json.loads(each.report.read_text())["sets"]["test"] for each in (run, on_cpu))
    for task, score in scores.items():
        assert score["psnr"] == pytest.approx(wanted[task]["psnr"], abs=0.01)


def test_bf16_keeps_float32_weights_and_stays_close(base, on_cpu):
    run = train(base, "bf16", GPU, job_of(precision="bf16"))

    for found, want in zip(losses(run), losses(on_cpu), strict=True):
        assert found == pytest.approx(want, rel=0.03)
    assert losses(run)[1:] != losses(on_cpu)[1:]  # a fresh backbone adds nothing, so the first are the same
    assert apart(on_cpu, run) < 0.7  # AdamW moves by signs at first


def test_it_goes_on_bit_for_bit_and_on_the_cpu_too(base):
    whole = train(base, "whole", GPU, job_of())
    resumed = train(base, "resumed", GPU, job_of(), after="whole")
    on_cpu = train(base, "resumed-on-cpu", CPU, job_of(), after="whole")

    assert len(losses(resumed)) == len(losses(on_cpu)) == STEPS - 3
    want = tensors(whole)
    assert all(torch.equal(value, want[name]) for name, value in tensors(resumed).items())
    assert "cuda" in load_file(whole.checkpoints / "step-6" / "rng.safetensors")
    for found, wanted in zip(losses(on_cpu), losses(whole)[3:], strict=True):
        assert found == pytest.approx(wanted, rel=1e-3)


def test_compiled_training_comes_to_the_same(base, on_cpu):
    run = train(base, "compiled", GPU, job_of(compile=True))

    for found, want in zip(losses(run), losses(on_cpu), strict=True):
        assert found == pytest.approx(want, rel=1e-3)


@pytest.fixture
def nccl(tmp_path) -> Iterator[None]:
    """A process group of this process alone; NCCL gives a GPU to no second one."""
    torch.cuda.set_device(GPU)
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sharded_over_nccl_it_trains_as_whole(base, nccl, precision):
    whole = train(base, f"unsharded-{precision}", GPU, job_of(precision=precision))
    shared = train(base, f"sharded-{precision}", GPU, job_of(precision=precision, sharding="fsdp"))

    rounding = {"fp32": 1e-5, "bf16": 5e-3}[precision]
    for found, want in zip(losses(shared), losses(whole), strict=True):
        assert found == pytest.approx(want, rel=rounding)


def test_gradients_are_averaged_over_nccl(base, nccl):
    def wrap(model: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(model, device_ids=[GPU], gradient_as_bucket_view=True)

    alone = train(base, "alone", GPU, job_of())
    averaged = train(base, "averaged", GPU, job_of(), wrap=wrap)

    assert apart(alone, averaged) < 1e-4


def test_workers_tell_each_other_over_nccl(nccl):
    found = [None]
    distributed.all_gather_object(found, {"a": 1})
    box = ["said"]
    distributed.broadcast_object_list(box, src=0)
    assert (found, box) == ([{"a": 1}], ["said"])


def test_crops_arrive_as_they_are_on_the_cpu():
    rng = np.random.default_rng(0)
    pair = rng.random((3, 16, 16, 3), dtype=np.float32), rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    batch = Batch(0, {"denoise": pair}, ["a", "b", "c"], [], [])

    (there,), (here,) = batch_tensors(batch, GPU).values(), batch_tensors(batch, CPU).values()

    for found, want in zip(there, here, strict=True):
        assert found.device == GPU
        assert found.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(found.cpu(), want, rtol=1e-6, atol=0)


def test_the_watch_of_a_gpu_measures_the_gpu():
    """Told at once, done much later: twice the cycles are twice the time, when its clock has sped up."""
    torch.cuda._sleep(500_000_000)
    measured = []
    for cycles in (50_000_000, 100_000_000):
        watch = watch_of(GPU)
        watch.start()
        torch.cuda._sleep(cycles)
        watch.stop()
        torch.cuda.synchronize(GPU)
        measured.append(watch.seconds())

    assert measured[0] > 0.01
    assert measured[1] == pytest.approx(2 * measured[0], rel=0.25)


def test_pictures_are_restored_as_on_the_cpu(base, on_cpu):
    """More than one tile; a level of difference is rounding."""
    model = load_model(on_cpu.checkpoints / f"step-{STEPS}", "denoise")
    degraded = np.random.default_rng(0).random((300, 420, 3), dtype=np.float32)

    want, found = (restorers(device)(model)(degraded) for device in (CPU, GPU))

    assert found.shape == want.shape
    assert np.abs(found.astype(np.float64) - want).max() < 1e-4


def test_a_machine_is_looked_at_with_its_gpus(tmp_path):
    name = torch.cuda.get_device_name(GPU)
    assert name in facts(str(tmp_path))["gpus"]
    if name in ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "NVIDIA A100-SXM4-80GB"):
        assert peak_flops(GPU, "bf16") in (989e12, 312e12)
    assert peak_flops(GPU, "fp32") is None


ON_GPU = "cluster.gpus_per_worker=1"


def test_a_job_trains_on_a_gpu_through_ray_and_goes_on_after_a_kill(workplace):
    command, run = workplace.submit("gpu", ON_GPU, "train.precision=bf16", wait=False), workplace.run("gpu")
    command.until(lambda: [event for event in read_events(run) if event["type"] == "checkpoint"], pause=0.01)
    command.worker().kill()

    assert command.wait() == 0, command.stderr

    assert "on cuda" in run.logs(2, 0).read_text()
    assert command.left() == []
    report = json.loads(run.report.read_text())
    assert report["sets"]["test"]["denoise"]["n"] == 2
    for device in ("cpu", "cuda"):
        words = ("--run", "gpu", "--task", "denoise", "--out", f"out-{device}", "--device", device)
        done = workplace.do("restore", "test", *words)
        assert done.process.returncode == 0, done.stderr
    restored = sorted((workplace.folder / "out-cpu").rglob("*.png"))
    assert len(restored) == 2
    for path in restored:
        there, here = (np.asarray(Image.open(str(path).replace("out-cpu", out)), np.int64) for out in ("out-cuda", "out-cpu"))
        assert np.abs(there - here).max() <= 1


def test_a_job_that_does_not_fit_into_the_gpu_says_so_and_is_not_tried_again(workplace):
    large = ("model.backbone=iptv2-base", "train.stages=[{steps: 4, patch: 512, images: 64}]")

    command = workplace.submit("large", ON_GPU, *large)

    assert command.process.returncode == 8, command.stderr
    assert "out of GPU memory: " in command.stderr
    assert "Traceback" not in command.stderr
    assert workplace.run("large").current_attempt() == 1
