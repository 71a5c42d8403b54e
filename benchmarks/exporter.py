"""What telling the exporter of metrics costs a training, and how long a scrape takes.

One training on this machine, whose exporter is the real actor on a Ray of its own, which is scraped once a second. Blocks of
reports in which the training tells alternate with blocks in which it does not; each pair of neighbours gives one ratio of the
time of a step. The thread that sends goes on working into the next report, so the first report of each block is left out.
Beside it stands the time that was counted inside of what the training calls, over the time of its steps. A scrape is one over
HTTP of an exporter that was told so many series as a cluster of many jobs would have.
"""

import argparse
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.training import SHARDS, quickstart_job
from ipt_platform.cluster.exporter import start_exporter
from ipt_platform.cluster.local import connected
from ipt_platform.cluster.scraping import MetricsEntry
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.observe.exposition import Exposition
from ipt_platform.observe.listen import Listen
from ipt_platform.observe.scraped import serving
from ipt_platform.observe.storage import create
from ipt_platform.observe.teller import Report, Voice
from ipt_platform.train.exporting import new_teller
from ipt_platform.train.group import ALONE
from ipt_platform.train.loop import Interval
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session
from ipt_platform.train.slots import Slots
from ipt_platform.train.surroundings import Surroundings


class Alternating(Session):
    """A session that tells in every other block of reports."""

    def __init__(self, *arguments: Any, block: int, **settings: Any):
        super().__init__(*arguments, **settings)
        self.block, self.reports = block, 0
        self.voices = (self.telling.voice, Voice(None, self.job.name))
        self.seconds: list[list[float]] = []
        self.inside: list[float] = []
        self.spent = 0.0

    def log(self, interval: Interval) -> None:
        """Report, and note how long it and its steps took, for each step."""
        number = self.reports // self.block
        self.telling.voice = self.voices[number % 2]
        began, inside = self.clock(), self.spent
        super().log(interval)
        if self.reports % self.block == 0:
            self.seconds.append([])
        else:
            taken = interval.seconds + self.clock() - began
            self.seconds[-1].append(taken / interval.steps)
            if number % 2 == 0:
                self.inside.append((self.spent - inside) / taken)
        self.reports += 1


def main() -> None:
    made = _parser()
    arguments = made.parse_args()
    if arguments.block < 2:  # the first report of a block is of steps of the block before
        made.error("--block: expected at least 2, found 1")
    before = machine()
    steps = arguments.every * arguments.block * 2 * arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        scrapes = _scrapes(arguments.series, arguments.scrapes)
        with connected(Slots(1), Path(folder) / "ray.log"):
            note(f"{steps} steps of {arguments.backbone}, {arguments.rounds} rounds")
            session = _train(arguments, steps, Path(folder))
    means = [sum(block) / len(block) for block in session.seconds]
    ratios = [told / silent for told, silent in zip(means[::2], means[1::2], strict=True)]
    finish(
        arguments,
        before,
        [
            Figure("time of a step with telling over without", spread(ratios), at_most=1.005),
            Figure("share of the time inside what training calls", spread(session.inside), at_most=0.005),
            Figure("a step", spread(means[1::2]), "s"),
            Figure(f"a scrape of {arguments.series:,} series", spread(scrapes), "s", at_most=1.0),
        ],
        rounds=[
            {"round": number, "told": told, "silent": silent, "ratio": told / silent}
            for number, (told, silent) in enumerate(zip(means[::2], means[1::2], strict=True))
        ],
    )


def _train(arguments: argparse.Namespace, steps: int, folder: Path) -> Alternating:
    job = quickstart_job(
        {
            "model.backbone": arguments.backbone,
            "data.shards": [SHARDS],
            "data.carrier": "local",
            "train.stages": [{"steps": steps, "patch": arguments.patch, "images": arguments.images}],
            "train.log_every": arguments.every,
            "evaluate.sets": [],
            "checkpoint.every": steps,
        }
    )

    def stream(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
        return local_stream(maker, start, stop, prefetch=job.data.prefetch)

    torch.set_num_threads(arguments.threads)
    exporter = start_exporter(MetricsEntry(listen="127.0.0.1:0"), stays=False)
    address = ray.get(exporter.know.remote(str(folder)))
    run, voice, over = create(folder / "runs", "told"), Voice(new_teller(), job.name), threading.Event()
    scraping = threading.Thread(target=_scrape_now_and_then, args=(address, over))
    scraping.start()
    try:
        place = Place(run, run.new_attempt(), Path(), ALONE, torch.device("cpu"))
        session = Alternating(job, place, stream, surroundings=Surroundings(voice=voice), block=arguments.block)
        _count_inside(session)
        session.train()
    finally:
        over.set()
        scraping.join()
        voice.close()
    return session


def _count_inside(session: Alternating) -> None:
    """Count the time that the session spends in telling."""
    telling = session.telling

    for name in ("share", "steps", "samples"):
        plain = getattr(telling, name)

        def counted(*arguments: Any, plain: Any = plain) -> Any:
            began = time.perf_counter()
            try:
                return plain(*arguments)
            finally:
                session.spent += time.perf_counter() - began

        setattr(telling, name, counted)


def _scrape_now_and_then(address: str, over: threading.Event) -> None:
    while not over.wait(1.0):
        urllib.request.urlopen(address).read()


def _scrapes(series: int, times: int) -> list[float]:
    """Seconds of scrapes of so many series."""
    exposition, seconds = Exposition("benchmark"), []
    exposition.apply(_reports(series))
    with serving(exposition.registry, Listen("127.0.0.1", 0), "token") as at:
        for _ in range(times):
            asked = urllib.request.Request(f"http://{at}/metrics", headers={"Authorization": "Bearer token"})
            began = time.perf_counter()
            lines = urllib.request.urlopen(asked).read().splitlines()
            seconds.append(time.perf_counter() - began)
            assert sum(not line.startswith(b"#") for line in lines) >= series
    return seconds


def _reports(series: int) -> Sequence[Report]:
    """Values of gauges of tasks, shared out over metrics and jobs."""
    names = ("ipt_train_loss", "ipt_train_bias_grad_norm", "ipt_train_bias_weight_ratio")
    each = -(-series // len(names))
    return [
        (name, {"job": f"job-{number // 20}", "task": f"task-{number % 20}"}, "set", number / 7)
        for name in names
        for number in range(each)
    ]


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-tiny")
    made.add_argument("--rounds", type=count, default=8, help="blocks with and without telling (default: %(default)s)")
    made.add_argument("--block", type=count, default=4, help="reports of a block (default: %(default)s)")
    made.add_argument("--every", type=count, default=10, help="steps between reports (default: %(default)s)")
    made.add_argument("--images", type=count, default=4, help="images per step (default: %(default)s)")
    made.add_argument("--patch", type=count, default=64, help="side of the crops in pixels (default: %(default)s)")
    made.add_argument("--threads", type=count, default=1, help="torch's threads (default: %(default)s)")
    made.add_argument("--series", type=count, default=10_000, help="series that are scraped (default: %(default)s)")
    made.add_argument("--scrapes", type=count, default=9, help="scrapes (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
