"""Two workers, as two processes that talk through gloo, against one: the same losses and weights, the same errors in both.

This file is also the program of such a worker: `python test_train_workers.py RANK FOLDER`, see `main`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import distributed, nn

from ipt_platform.data.bad import Bad
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import IptError
from ipt_platform.observe.events import read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.group import ALONE, Workers
from ipt_platform.train.place import Place
from ipt_platform.train.session import OpenStream, Session

STEPS = 4
CPU = torch.device("cpu")


def job_of(**changes) -> TrainJob:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "workers",
        "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
        "tasks": {"denoise": {"weight": 2, "params": {"sigma": 25}}, "deblur": None},
        "data": {"shards": ["shards/*.tar"], "carrier": "local", "max_bad": 0.2},
        "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 4}], "log_every": 1, "accumulate": 2},
        "evaluate": {"sets": ["test"]},
        "checkpoint": {"every": 2},
    }
    parsed = JOB.validate_python({name: {**part, **changes.get(name, {})} if isinstance(part, dict) else part
                                  for name, part in job.items()})  # fmt: skip
    assert isinstance(parsed, TrainJob)
    return parsed


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((56, 48), Image.Resampling.BICUBIC).save(path)


# What one of the workers meets; the others must hear of it.


def unharmed(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=1)


def not_a_number(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    for batch in local_stream(maker, start, stop, processes=0):
        if maker.rank == 1 and batch.step == 1:
            batch.tasks["deblur"][0][0, 0, 0, 0] = np.nan
            batch = replace(batch, keys=["the-culprit"])
        yield batch


def bad_samples(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    for batch in local_stream(maker, start, stop, processes=0):
        yield (
            replace(batch, bad=[Bad("torn", "cut-off", "cut off.", "0.tar")] * 3)
            if maker.rank == 1 and batch.step == 1
            else batch
        )


def one_bad_each(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    bad = Bad(f"of worker {maker.rank}", ("cut-off", "damaged")[maker.rank], "it is bad.", "0.tar")
    for batch in local_stream(maker, start, stop, processes=0):
        yield replace(batch, bad=[bad] if batch.step == 2 else [])


def stopped_late(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    """Somebody asks for a stop during the last step: after the last question between steps."""
    for batch in local_stream(maker, start, stop, processes=0):
        if maker.rank == 1 and batch.step == STEPS - 1:
            RunDir(Path(sys.argv[2]) / "runs" / "stopped-late").request_stop("enough for today")
        yield batch


SCENARIOS: dict[str, OpenStream] = {
    "unharmed": unharmed,
    "not-a-number": not_a_number,
    "bad-samples": bad_samples,
    "one-bad-each": one_bad_each,
    "fenced": unharmed,
    "stopped-late": stopped_late,
    "no-picture": unharmed,
}


def session(run: RunDir, attempt: int, base: Path, workers: Workers, stream: OpenStream) -> Session:
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model  # noqa: E731
    if workers.world > 1:
        wrap = partial(nn.parallel.DistributedDataParallel, gradient_as_bucket_view=True)
    return Session(job_of(), Place(run, attempt, base, workers, CPU), stream, wrap)


def main(rank: int, base: Path) -> None:
    """Go through all scenarios as one of two workers; leave what became of each in `outcome-RANK.json`."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(base / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    workers, outcome = Workers(rank, 2), {}
    for name, stream in SCENARIOS.items():
        run = create(base / "runs", name)
        attempt = workers.from_first(run.new_attempt() if workers.first else None)
        trained = session(run, attempt, base, workers, stream)
        if name == "fenced" and workers.first:
            run.new_attempt()
        if name == "no-picture" and not workers.first:
            (base / "test" / "b.png").write_bytes(b"gone")  # the second worker's share
        try:
            outcome[name] = trained.train()["sets"]
        except IptError as error:
            outcome[name] = f"{type(error).__name__}: {error}"
        del trained  # with its hold on the process group
        workers.gather(None)
    (base / f"outcome-{rank}.json").write_text(json.dumps(outcome))
    workers.gather(None)
    os._exit(0)  # without taking gloo apart: its threads abort a process now and then when the peer is gone already


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    for seed in range(5):
        picture(folder / "photos" / f"p{seed}.png", seed)
    for seed, name in enumerate("abc"):
        picture(folder / "test" / f"{name}.png", 10 + seed)
    pack(folder / "photos", folder / "shards")
    return folder


@pytest.fixture(scope="module")
def alone(base) -> RunDir:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run = create(base / "runs", "alone")
    session(run, run.new_attempt(), base, ALONE, unharmed).train()
    torch.set_num_threads(before)
    return run


@pytest.fixture(scope="module")
def outcomes(base, alone) -> list[dict]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(base)], stderr=subprocess.PIPE, env=environment, text=True)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return [json.loads((base / f"outcome-{rank}.json").read_text()) for rank in range(2)]


def numbers(run: RunDir) -> list[dict]:
    return [line for line in read_metrics(run) if "loss" in line]


def test_two_workers_have_the_losses_of_one(base, alone, outcomes):
    one, two = numbers(alone), numbers(RunDir(base / "runs" / "unharmed"))

    assert [line["step"] for line in two] == list(range(1, STEPS + 1))
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
        assert b["bias_grad_norm"] == pytest.approx(a["bias_grad_norm"], rel=1e-3)


@pytest.mark.parametrize("file", ["model", "biases/denoise", "biases/deblur", "average/model"])
def test_two_workers_come_to_the_weights_of_one(base, alone, outcomes, file):
    start, one, two = (
        load_file(base / "runs" / run / "checkpoints" / f"step-{step}" / f"{file}.safetensors")
        for run, step in (("alone", 2), ("alone", STEPS), ("unharmed", STEPS))
    )

    # beside what two steps change; Adam turns the last digit of a gradient near zero into a step of its own
    apart = sum(float((two[name] - one[name]).square().sum()) for name in one)
    moved = sum(float((one[name] - start[name]).square().sum()) for name in one)
    assert one.keys() == two.keys()
    assert moved > 0
    assert apart < (0.02**2) * moved


def test_workers_get_the_same_scores_which_are_those_of_one(alone, outcomes):
    want = json.loads(alone.report.read_text())["sets"]["test"]

    assert outcomes[0]["unharmed"] == outcomes[1]["unharmed"]
    for task, scores in outcomes[0]["unharmed"]["test"].items():
        assert scores["n"] == 3
        assert scores["psnr_input"] == want[task]["psnr_input"]
        assert scores["psnr"] == pytest.approx(want[task]["psnr"], abs=0.01)


FOUND = {
    "not-a-number": "NotFiniteError: step 1: the loss of deblur is not finite on the-culprit. Nothing was updated",
    "bad-samples": "TrainingError: step 2: 3 of 8 samples could not be used: 3 cut-off; that is more than data.max_bad 0.2 "
    "allows; for example 0.tar: torn: cut off. Run `ipt-platform data verify`",
    "fenced": "RefusedError: attempt 1 no longer owns run fenced",
    "stopped-late": "CancelledRunError: enough for today",
    "no-picture": "DataError: test set test: b",
}


@pytest.mark.parametrize("scenario", FOUND)
def test_what_one_worker_meets_both_hear_in_the_same_words(outcomes, scenario):
    assert outcomes[0][scenario].startswith(FOUND[scenario])
    assert outcomes[1][scenario] == outcomes[0][scenario]


def test_a_bad_sample_is_told_by_the_worker_that_saw_it(base, outcomes):
    run = RunDir(base / "runs" / "bad-samples")

    assert [event["key"] for event in read_events(run) if event["type"] == "bad-sample"] == ["torn"] * 3


def test_bad_samples_of_all_workers_are_counted_once_each(base, outcomes):
    run = RunDir(base / "runs" / "one-bad-each")

    want = {"seen": 4 * STEPS, "bad": {"cut-off": 1, "damaged": 1}}
    assert json.loads(run.report.read_text())["samples"] == want
    assert [line["samples"]["seen"] for line in numbers(run)] == [4, 8, 12, 16]
    assert numbers(run)[-1]["samples"] == want
    told = [(event["key"], event["kind"]) for event in read_events(run) if event["type"] == "bad-sample"]
    assert sorted(told) == [("of worker 0", "cut-off"), ("of worker 1", "damaged")]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
