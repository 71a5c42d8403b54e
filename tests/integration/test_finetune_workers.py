"""A finetune by two workers, as two processes that talk through gloo, against one: the same samples, losses and biases.

This file is also the program of such a worker: `python test_finetune_workers.py RANK FOLDER`, see `main`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed, nn

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.model.build import build_backbone
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.spec.job import JOB, FinetuneJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.spec.source import Document
from ipt_platform.train.frozen import find_frozen, keep_frozen
from ipt_platform.train.group import ALONE, Workers
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

STEPS = 4
TASKS = ("derain", "denoise")
JOB_VALUES = {
    "apiVersion": "ipt/v1",
    "kind": "finetune",
    "name": "workers",
    "backbone": "backbone",
    "tasks": {"derain": 2, "denoise": 1},
    "bias": {"rank": 4},
    "data": {"shards": ["shards/*.tar"], "carrier": "local"},
    "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 4}], "log_every": 1, "accumulate": 2, "samples": 1},
    "evaluate": {"sets": ["test"]},
    "checkpoint": {"every": 2},
}


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def as_it_is(model: nn.Module) -> nn.Module:
    return model


def train(base: Path, name: str, workers: Workers) -> None:
    """Train the job, as one of some workers."""
    job, run = JOB.validate_python(JOB_VALUES), create(base / "runs", name)
    assert isinstance(job, FinetuneJob)
    if workers.first:
        keep_frozen(find_frozen(LoadedJob(job, Document({}, {}, "job.yaml")), base), run)
    attempt = workers.from_first(run.new_attempt() if workers.first else None)
    place = Place(run, attempt, base, workers, torch.device("cpu"))
    Session(job, place, made_here, nn.parallel.DistributedDataParallel if workers.world > 1 else as_it_is).train()


def main(rank: int, base: Path) -> None:
    """Train as one of two workers."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(base / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    workers = Workers(rank, 2)
    train(base, "two", workers)
    workers.gather(None)
    os._exit(0)  # without taking gloo apart: its threads abort a process now and then when the peer is gone already


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    for seed in range(5):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    for seed in range(3):
        photograph(folder / "test" / f"t{seed}.png", 10 + seed, 40, 48)
    pack(folder / "photos", folder / "shards")
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    nn.init.normal_(backbone.output.weight, std=0.02)
    write_backbone(folder / "backbone", backbone, "iptv2-nano", {}, "now")
    return folder


@pytest.fixture(scope="module")
def runs(base) -> tuple[RunDir, RunDir]:
    """The run of one worker and the run of two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train(base, "one", ALONE)
    torch.set_num_threads(before)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(base)], stderr=subprocess.PIPE, env=environment, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return RunDir(base / "runs" / "one"), RunDir(base / "runs" / "two")


def test_two_workers_have_the_losses_and_norms_of_one(runs):
    one, two = ([line for line in read_metrics(run) if "loss" in line] for run in runs)

    assert [line["step"] for line in two] == list(range(1, STEPS + 1))
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["bias_grad_norm"] == pytest.approx(a["bias_grad_norm"], rel=1e-3)
        assert b["samples"] == a["samples"]


@pytest.mark.parametrize("file", [f"{where}biases/{task}" for where in ("", "average/") for task in TASKS])
def test_two_workers_come_to_the_biases_of_one(runs, file):
    start, one, two = (
        load_file(run.checkpoints / f"step-{step}" / f"{file}.safetensors")
        for run, step in ((runs[0], 2), (runs[0], STEPS), (runs[1], STEPS))
    )

    # beside what two steps change; Adam turns the last digit of a gradient near zero into a step of its own
    apart = sum(float((two[name] - one[name]).square().sum()) for name in one)
    moved = sum(float((one[name] - start[name]).square().sum()) for name in one)
    assert apart + moved > 0
    assert apart < (0.02**2) * moved


def test_two_workers_leave_one_backbone_as_it_was_and_one_pack_of_each_task(base, runs):
    want, _ = load_backbone(base / "backbone")

    for run in runs:
        backbone, _ = load_backbone(run.backbone)
        assert fingerprint(backbone) == fingerprint(want)
        for task in TASKS:
            pack_of_task = read_pack(run.pack(task))
            assert pack_of_task.info.metrics[0].n == 3
            load_bias(pack_of_task, backbone)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
