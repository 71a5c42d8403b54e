"""What it costs to keep runs on S3: listing many of them, looking at one, and checkpoints that are sent while training goes on.

The store is moto's server in a process of its own on loopback, unless AWS_ENDPOINT_URL_S3 names another; it shares the cores of
this machine. Training is timed three times a round: with no checkpoint in the time that counts, with some on the disk, and with
some on S3. What counts goes from the batch of step `--warmup` to that of the last step, commits included.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import run_command
from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import quickstart_job
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.observe.courier import courier
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.observe.summary import FOLDER, publish
from ipt_platform.spec.job import TrainJob
from ipt_platform.spec.load import dump_job
from ipt_platform.storage.files import s3
from ipt_platform.storage.paths import S3Path
from ipt_platform.storage.prefix import Prefix, prefix_at
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

SERVER = """
import sys, time
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
BUCKET = "ipt-benchmark"


def main() -> None:
    arguments = _parser().parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)):
        figures = [*_listing(arguments, f"s3://{BUCKET}/many"), *_training(arguments, Path(folder))]
        finish(arguments, before, figures)


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[None]:
    """A store with a bucket, and an empty cache: a machine that has seen none of its runs."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    with contextlib.ExitStack() as stack:
        if "AWS_ENDPOINT_URL_S3" not in os.environ:
            words = [sys.executable, "-c", SERVER]
            server = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            stack.enter_context(server)
            stack.callback(server.terminate)
            assert server.stdout
            port = server.stdout.readline().strip()
            os.environ |= {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
            os.environ |= {"AWS_ACCESS_KEY_ID": "AKIABENCHMARKONLY", "AWS_SECRET_ACCESS_KEY": "made-up"}
        s3().ask("create_bucket", S3Path(BUCKET, ""), "making it")
        yield


def _listing(arguments: argparse.Namespace, storage: str) -> list[Figure]:
    note(f"{arguments.runs} runs")
    job = quickstart_job({"storage": storage})
    names = [f"run-{number:04d}" for number in range(arguments.runs)]
    submitted = [_timed(lambda name=name: _submit(job, storage, name)) for name in names[: arguments.rounds]]
    _fill(prefix_at(storage), names[0], names[arguments.rounds :])
    listed = [_timed(lambda: run_command("ls", "--storage", storage)) for _ in range(arguments.rounds)]
    seen = [_timed(lambda: run_command("status", f"{storage}/{names[0]}")) for _ in range(arguments.rounds)]
    return [
        Figure("a run and its job put there, without starting the program", spread(submitted), "s", at_most=2),
        Figure(f"ls of {arguments.runs} runs", spread(listed), "s", at_most=2),
        Figure("status", spread(seen), "s", at_most=2),
    ]


def _fill(storage: Prefix, first: str, names: list[str]) -> None:
    """Runs of which there is no more than `ls` looks at: copies of the first one's job and state."""
    for of_first in (f"{first}/job.yaml", *storage.entries(f"{FOLDER}/{first}")):
        data = storage.read(of_first)
        for name in names:
            storage.put(of_first.replace(first, name, 1), data)


def _submit(job: TrainJob, storage: str, name: str) -> None:
    """What a submission and the first report of a run leave."""
    run = create(storage, name)
    run.write_job(dump_job(job).encode())
    run.keep_given()
    append_event(run, "created", 0, kind="train", steps=800)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    numbers: dict[str, Any] = {
        "loss": {"denoise": 0.0321, "deblur": 0.0123},
        "images_per_second": 31.4,
        "data_wait_share": 0.01,
    }
    append_metrics(run, {"attempt": attempt, "step": 400, "steps": 800, "stage": 0, "eta_seconds": 90.0, **numbers})
    publish(run)


def _training(arguments: argparse.Namespace, folder: Path) -> list[Figure]:
    torch.set_num_threads(arguments.threads)
    rates: dict[str, list[float]] = {"none": [], "disk": [], "s3": []}
    for number in range(arguments.rounds):
        order = list(rates) if number % 2 == 0 else list(rates)[::-1]
        for place in order:
            storage = f"s3://{BUCKET}/trained" if place == "s3" else str(folder / "runs")
            run = create(storage, f"{place}-{number}")
            rates[place].append(_seconds_of(arguments, run, arguments.steps if place == "none" else arguments.every))
            note(f"round {number}, checkpoints on {place}: {rates[place][-1]:.1f} s")
    pairs = {place: [own / none - 1 for own, none in zip(rates[place], rates["none"], strict=True)] for place in ("disk", "s3")}
    return [
        Figure(f"time that checkpoints every {arguments.every} steps add, on a disk", spread(pairs["disk"]), at_most=0.03),
        Figure("the same, to S3", spread(pairs["s3"]), at_most=0.05),
        Figure("a step without", spread([seconds / (arguments.steps - arguments.warmup) for seconds in rates["none"]]), "s"),
    ]


def _seconds_of(arguments: argparse.Namespace, run: RunDir, every: int) -> float:
    stage = {"steps": arguments.steps, "patch": arguments.patch, "images": arguments.images}
    values = {"model.backbone": arguments.backbone, "train.stages": [stage], "evaluate.sets": [], "data.carrier": "local"}
    values["train.schedule.warmup"] = 1
    job = quickstart_job({**values, "checkpoint.every": every})
    moments: list[float] = []

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        for batch in local_stream(maker, start, stop, processes=0):
            moments.append(time.perf_counter())
            yield batch

    attempt = run.new_attempt()
    with courier(run.mirror):
        session = Session(job, Place(run, attempt, Path(), ALONE, torch.device("cpu")), stream)
        session.train()
    return moments[-1] - moments[arguments.warmup]


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--runs", type=count, default=1000, help="runs that are listed (default: %(default)s)")
    made.add_argument("--rounds", type=count, default=5, help="of everything that is timed (default: %(default)s)")
    made.add_argument("--backbone", default="iptv2-small", help="what is trained (default: %(default)s)")
    made.add_argument("--steps", type=count, default=160, help="of each training (default: %(default)s)")
    made.add_argument("--warmup", type=count, default=10, help="steps before the time begins (default: %(default)s)")
    made.add_argument("--every", type=count, default=50, help="steps between checkpoints (default: %(default)s)")
    made.add_argument("--patch", type=count, default=64, help="pixels (default: %(default)s)")
    made.add_argument("--images", type=count, default=4, help="of a step (default: %(default)s)")
    made.add_argument("--threads", type=count, default=1, help="of torch (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
