"""Two workers that share the backbone out among them (FSDP2) against two that each have all of it (DDP), through gloo.

This file is also the program of such a worker: `python test_train_sharded.py RANK FOLDER`, see `main`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn
from torch.distributed.tensor import DTensor

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import TrainingError
from ipt_platform.model.iptv2 import Down, FGBlock, Up
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import Workers
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session
from ipt_platform.train.sharding import local

pytestmark = pytest.mark.slow

STEPS = 3
CLIP = 1e-3

KINDS = {"whole": "none", "shared": "fsdp"}

VARIANTS = {
    "clipped": {"train": {"optimizer": {"grad_clip": CLIP, "bias_grad_clip": CLIP}}, "evaluate": {"sets": ["test"]}},
    # a weight that each task has for itself leaves the backbone's own without a gradient
    "recomputed": {
        "train": {"activation_checkpointing": True, "accumulate": 2, "precision": "bf16"},
        "bias": {"replace": ["output"], "targets": ["qkv", "sampling"], "depthwise": True},
    },
}
MIXED = {"train": {"mode": "mixed", "ema": None}}


def job_of(changes: dict, sharding: str) -> TrainJob:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "sharded",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 2, **changes.get("bias", {})}},
        "tasks": {"denoise": {"weight": 2, "params": {"sigma": 25}}, "deblur": None},
        "data": {"shards": ["shards/*.tar"], "carrier": "local"},
        "train": {
            "stages": [{"steps": STEPS, "patch": 32, "images": 4}],
            "log_every": 1,
            "sharding": sharding,
            **changes.get("train", {}),
        },
        "evaluate": changes.get("evaluate", {}),
        "checkpoint": {"every": 2},
        "cluster": {"workers": 2},
    }
    parsed = JOB.validate_python(job)
    assert isinstance(parsed, TrainJob)
    return parsed


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def spoilt(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    for batch in made_here(maker, start, stop):
        if maker.rank == 1 and batch.step == 1:
            batch.tasks["deblur"][0][0, 0, 0, 0] = np.nan
            batch = replace(batch, keys=["the-culprit"])
        yield batch


def session(
    base: Path, workers: Workers, name: str, job: TrainJob, stream: OpenStream = made_here, after: str | None = None
) -> Session:
    """A session of a new run; it goes on from the second step of another run if one is named."""
    run = create(base / "runs", name)
    if workers.first and after:
        shutil.copytree(base / "runs" / after / "checkpoints" / "step-2", run.checkpoints / "step-2")
    attempt = workers.from_first(run.new_attempt() if workers.first else None)
    place = Place(run, attempt, base, workers, torch.device("cpu"))
    return Session(job, place, stream, nn.parallel.DistributedDataParallel)


def main(rank: int, base: Path) -> None:
    """Train everything as one of two workers; leave in `outcome-RANK.json` what this worker had of it."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(base / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    workers, outcome = Workers(rank, 2), {}
    for variant in VARIANTS:
        for kind, sharding in KINDS.items():
            trained = session(base, workers, f"{variant}-{kind}", job_of(VARIANTS[variant], sharding))
            together = watch(trained.state.model.backbone)
            report = {key: value for key, value in trained.train().items() if key in ("sets", "parameters", "samples")}
            outcome[f"{variant}-{kind}"] = {"report": report, "together": max(together), **held(trained)}
    session(base, workers, "whole-then-shared", job_of(VARIANTS["clipped"], "fsdp"), after="clipped-whole").train()
    session(base, workers, "shared-then-whole", job_of(VARIANTS["clipped"], "none"), after="clipped-shared").train()
    try:
        session(base, workers, "spoilt", job_of(MIXED, "fsdp"), spoilt).train()
    except TrainingError as error:
        outcome["spoilt"] = str(error)
    (base / f"outcome-{rank}.json").write_text(json.dumps(outcome))
    workers.gather(None)
    os._exit(0)  # without taking gloo apart: its threads abort a process now and then when the peer is gone already


def watch(backbone: nn.Module) -> list[int]:
    """How many blocks this worker had whole at a time, whenever one was run."""
    blocks = [module for module in backbone.modules() if isinstance(module, FGBlock | Down | Up)]
    found = []

    def look(*_) -> None:
        found.append(sum(not isinstance(next(block.parameters()), DTensor) for block in blocks))

    for block in blocks:
        block.register_forward_pre_hook(look)
    return found


def held(trained: Session) -> dict:
    """Bytes that this worker keeps between steps, and the norms of the last step's gradients as they were applied."""
    state = trained.state
    weights = [*state.model.backbone.parameters()]
    averages = [*state.average.backbone.parameters()] if state.average else []
    kept = [value for weight in weights for key, value in state.optimizer.state.get(weight, {}).items() if key != "step"]
    return {
        "weights": sum(local(weight.detach()).nbytes for weight in weights + averages),
        "moments": sum(local(moment).nbytes for moment in kept),
        "norm": norm_of(state.model.backbone),
        "bias_norm": norm_of(state.model.biases),
    }


def norm_of(module: nn.Module) -> float:
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    whole = [grad.full_tensor() if isinstance(grad, DTensor) else grad for grad in gradients]
    return float(sum(grad.double().square().sum() for grad in whole) ** 0.5)


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    """Where two workers have trained everything."""
    folder = tmp_path_factory.mktemp("sharded")
    for seed in range(5):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    for seed in range(3):
        photograph(folder / "test" / f"t{seed}.png", 10 + seed, 40, 48)
    pack(folder / "photos", folder / "shards")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], stderr=subprocess.PIPE, env=environment, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return folder


@pytest.fixture(scope="module")
def outcomes(base) -> list[dict]:
    return [json.loads((base / f"outcome-{rank}.json").read_text()) for rank in range(2)]


def numbers(base: Path, run: str) -> list[dict]:
    return [line for line in read_metrics(RunDir(base / "runs" / run)) if "loss" in line]


def apart(base: Path, one: str, other: str) -> float:
    """How far two runs ended from each other, beside how far they moved in their last step; of all tensors of all files."""
    last, before = f"checkpoints/step-{STEPS}", "checkpoints/step-2"
    files = [path.relative_to(base / "runs" / one / last) for path in (base / "runs" / one / last).rglob("*.safetensors")]
    assert len(files) > 2
    far = moved = 0.0
    for file in files:
        start, end, found = (
            load_file(base / "runs" / run / step / file) for run, step in ((one, before), (one, last), (other, last))
        )
        assert {name: tensor.shape for name, tensor in found.items()} == {name: tensor.shape for name, tensor in end.items()}
        far += sum(float((found[name].double() - end[name].double()).square().sum()) for name in end)
        moved += sum(float((end[name].double() - start[name].double()).square().sum()) for name in end if ".step" not in name)
    return (far / moved) ** 0.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_workers_that_share_the_backbone_out_train_as_those_that_each_have_it(base, variant):
    whole, shared = (numbers(base, f"{variant}-{kind}") for kind in KINDS)

    rounding = 1e-3 if variant == "recomputed" else 1e-5  # bf16
    assert [line["step"] for line in shared] == list(range(1, STEPS + 1))
    for a, b in zip(whole, shared, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=rounding)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=10 * rounding)
        assert b["bias_grad_norm"] == pytest.approx(a["bias_grad_norm"], rel=10 * rounding)
    assert apart(base, f"{variant}-whole", f"{variant}-shared") < 10 * rounding


@pytest.mark.parametrize("run", ["whole-then-shared", "shared-then-whole"])
def test_a_run_goes_on_with_sharding_or_without_from_the_same_files(base, run):
    assert [line["step"] for line in numbers(base, run)] == [STEPS]
    assert apart(base, "clipped-whole", run) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_worker_keeps_half_of_weights_averages_and_moments(outcomes, variant):
    for kept in ("weights", "moments"):
        whole = outcomes[0][f"{variant}-whole"][kept]
        shares = [outcome[f"{variant}-shared"][kept] for outcome in outcomes]

        assert sum(shares) == whole  # nothing twice
        assert shares[0] == pytest.approx(whole / 2, rel=0.01)


def test_one_block_at_a_time_is_put_together(outcomes):
    for variant in VARIANTS:
        assert [outcome[f"{variant}-shared"]["together"] for outcome in outcomes] == [1, 1]
        assert outcomes[0][f"{variant}-whole"]["together"] == 5


def test_the_clipped_gradient_has_the_norm_of_the_clip_over_all_workers_together(base, outcomes):
    """By a second way: the norm of the gradients put together. Where nothing was clipped it is what the step says."""
    told = numbers(base, "recomputed-shared")[-1]

    assert told["grad_norm"] < 1
    assert told["bias_grad_norm"] < 1
    for outcome in outcomes:
        assert outcome["clipped-shared"]["norm"] == pytest.approx(CLIP, rel=1e-3)
        assert outcome["clipped-shared"]["bias_norm"] == pytest.approx(CLIP, rel=1e-3)
        assert outcome["recomputed-shared"]["norm"] == pytest.approx(told["grad_norm"], rel=1e-5)
        assert outcome["recomputed-shared"]["bias_norm"] == pytest.approx(told["bias_grad_norm"], rel=1e-5)


def test_what_is_measured_and_counted_is_the_same(outcomes):
    want, found = (outcomes[0][f"clipped-{kind}"]["report"] for kind in KINDS)

    assert found == outcomes[1]["clipped-shared"]["report"]
    assert found["parameters"] == want["parameters"]
    for task, scores in found["sets"]["test"].items():
        assert scores["n"] == 3
        assert scores["psnr"] == pytest.approx(want["sets"]["test"][task]["psnr"], abs=0.01)


def test_without_biases_too_workers_hear_together_of_a_loss_that_is_not_finite(base, outcomes):
    said = "step 1: the loss of deblur is not finite on the-culprit. Nothing was updated"
    first, want = numbers(base, "spoilt"), numbers(base, "clipped-whole")[0]

    assert outcomes[0]["spoilt"].startswith(said)
    assert outcomes[1]["spoilt"] == outcomes[0]["spoilt"]
    # biases begin as nothing, so the first step of a backbone that has some is that of one without
    assert [line["loss"] for line in first] == [pytest.approx(want["loss"], rel=1e-5)]
    assert first[0]["grad_norm"] == pytest.approx(want["grad_norm"], rel=1e-5)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
