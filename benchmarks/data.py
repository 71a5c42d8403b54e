"""How fast photographs become crops: the two carriers beside the physical limit and beside what others do.

Sides, in turn, each alone on the machine: `bare`, one process for each CPU that reads, decodes, crops and degrades and gives
nothing to anybody; `ray` and `local`, the carriers; `dataloader`, webdataset in a torch DataLoader with the same decoder and
degradations; `peers`, a DataLoader that decodes a whole photograph for every crop of every task. Nobody keeps decoded pictures.
Each round starts a Ray of its own, so the first batch is what a job would wait for, and Ray's processes take nothing from the
others. Besides: the cost of each degradation and decoder, and the peak memory of a long and a short stream.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import psutil
import ray
from ray._private import internal_api

from benchmarks.costs import decoder_costs, degradation_costs
from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from benchmarks.memory import Peak, ProcessTree
from benchmarks.photos import Photos, packed, synthetic
from benchmarks.sides import STREAMS, TASKS, Setting, bare, rate
from ipt_platform.cluster.local import Slots, connected
from ipt_platform.data.ahead import Ahead
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.stream import ray_stream
from ipt_platform.errors import UsageError

SLOWEST_MS, CHEAP_MS = 6.0, 0.5
CHEAP = ("denoise", "dehaze")
SHORT, LONG = 200, 2000

ASKED = (("ray", "bare", 0.85), ("local", "bare", 0.95), ("ray", "dataloader", 1.0), ("local", "dataloader", 1.1))
ASKED_OF_PEERS = (("ray", "peers", 3.0), ("local", "peers", 3.0))


def main() -> None:
    arguments = _parser().parse_args()
    cv2.setNumThreads(1)  # threads of this process would be missing in the loaders that are forked from it, which wait for them
    before = machine()
    cache = Path(arguments.cache)
    cache.mkdir(parents=True, exist_ok=True)
    sets = _sets(arguments, cache)
    rows: list[dict[str, Any]] = []
    figures: list[Figure] = []
    tables: dict[str, Any] = {}
    if "rates" in arguments.parts:
        for photos in sets:
            setting = Setting(photos, arguments.images, arguments.patch, arguments.cpus, arguments.prefetch)
            mine = _rates(setting, arguments)
            rows += mine
            figures += _figures(photos.name, mine)
        tables["rates"] = rows
    if "costs" in arguments.parts:
        tables["degradations"] = degradation_costs(sets[0], arguments.patch, crops=24)
        tables["decoders"] = [row for photos in sets for row in decoder_costs(photos, repeats=5)]
        figures += _cost_figures(tables["degradations"])
    if "memory" in arguments.parts:
        setting = Setting(sets[-1], 2, arguments.patch, arguments.cpus, arguments.prefetch)
        tables["memory"] = [row for carrier in ("local", "ray") for row in _memory(setting, carrier)]
        figures += _memory_figures(tables["memory"])
    finish(arguments, before, figures, **tables)


def _sets(arguments: argparse.Namespace, cache: Path) -> list[Photos]:
    folder = Path(arguments.photos)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of photographs; name one with --photos.")
    photographs = packed("photographs", folder, cache)
    makers = {"photographs": lambda: photographs, "1080p": lambda: synthetic(photographs.files, arguments.large, cache)}
    return [makers[name]() for name in arguments.sets]


def _rates(setting: Setting, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for number in range(arguments.rounds):
        for side in [*STREAMS, "bare"][:: 1 if number % 2 == 0 else -1]:
            note(f"{setting.photos.name}, round {number + 1} of {arguments.rounds}: {side}")
            measured: dict[str, float] = {"ray_start_seconds": 0.0}
            if side == "bare":
                measured |= bare(setting, arguments.warm, arguments.seconds)
            elif side == "ray":
                with _ray(setting) as seconds:
                    measured |= {"ray_start_seconds": seconds}
                    measured |= rate(STREAMS[side], setting, arguments.warm, arguments.seconds)
            else:
                measured |= rate(STREAMS[side], setting, arguments.warm, arguments.seconds)
            rows.append({"pictures": setting.photos.name, "round": number, "side": side, **measured})
    return rows


@contextmanager
def _ray(setting: Setting) -> Iterator[float]:
    """A Ray of our own; how long it took to start, seconds."""
    ahead = Ahead.of(setting.maker(1).largest_room, setting.processes, setting.prefetch)
    slots = Slots(setting.processes, store_bytes=ahead.store_bytes)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, connected(slots, Path(folder) / "ray.log"):
        yield time.perf_counter() - began


def _figures(name: str, rows: list[dict[str, Any]]) -> list[Figure]:
    of = {side: [row for row in rows if row["side"] == side] for side in [*STREAMS, "bare"]}
    rates = {side: [row["crops_per_second"] for row in mine] for side, mine in of.items()}
    figures = [
        Figure(f"{name}: {side} over {other}", spread(_ratios(rates[side], rates[other])), at_least=asked)
        for side, other, asked in (*ASKED, *ASKED_OF_PEERS)
    ]
    figures += [Figure(f"{name}: {side}", spread(rates[side]), "crops/s") for side in ("bare", *STREAMS)]
    first = [row["first_batch_seconds"] for row in of["ray"]]
    figures.append(Figure(f"{name}: first batch through Ray, after Ray's own start", spread(first), "s", at_most=3.0))
    local = [row["first_batch_seconds"] for row in of["local"]]
    figures.append(Figure(f"{name}: first batch through the local carrier", spread(local), "s"))
    return figures


def _ratios(rates: list[float], others: list[float]) -> list[float]:
    return [mine / other for mine, other in zip(rates, others, strict=True)]


def _cost_figures(rows: list[dict[str, Any]]) -> list[Figure]:
    cost = {row["name"]: row["ms"] for row in rows if row["kind"] == "task"}
    slowest = max(rows, key=lambda row: row["ms"])
    figures = [Figure(f"slowest degradation, {slowest['name']}", slowest["ms"], "ms", at_most=SLOWEST_MS)]
    figures += [Figure(f"degradation of {name}", cost[name], "ms", at_most=CHEAP_MS) for name in CHEAP]
    return [*figures, Figure("mean of the five tasks", statistics.mean(cost[name] for name in TASKS), "ms")]


def _memory(setting: Setting, carrier: str) -> Iterator[dict[str, Any]]:
    for steps in (SHORT, LONG):
        note(f"memory of {steps} steps, {carrier}")
        if carrier == "local":
            peak, batches = _peak(local_stream(setting.maker(steps), 0, steps, setting.processes, setting.prefetch))
            spilled = 0
        else:
            with _ray(setting):
                stream = ray_stream(setting.maker(steps), 0, steps, setting.processes, setting.prefetch)
                peak, batches = _peak(stream)
                spilled = _spilled()
        mib = peak.total / 2**20
        yield {"carrier": carrier, "steps": batches, "peak_mib": mib, "spilled_mib": spilled / 2**20, "samples": peak.samples}


def _peak(stream: Any) -> tuple[Peak, int]:
    """Peak memory of this process and everything it started while a stream runs to its end, and how many batches came."""
    peak, tree, over = Peak(), ProcessTree(psutil.Process().pid), threading.Event()

    def watch() -> None:
        while not over.is_set():
            peak.look(tree)
            over.wait(0.25)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with closing(stream):
            batches = sum(1 for _ in stream)
    finally:
        over.set()
        watcher.join()
    return peak, batches


def _spilled() -> int:
    """Bytes that Ray has written to disk because its object store was full."""
    state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)
    return int(internal_api.get_memory_info_reply(state).store_stats.spilled_bytes_total)


def _memory_figures(rows: list[dict[str, Any]]) -> list[Figure]:
    figures = []
    for carrier in ("local", "ray"):
        short, long = (next(row for row in rows if row["carrier"] == carrier and row["steps"] == n) for n in (SHORT, LONG))
        ratio = long["peak_mib"] / short["peak_mib"]
        figures.append(Figure(f"{carrier}: peak memory of {LONG} steps over {SHORT}", ratio, at_most=1.1))
        figures.append(Figure(f"{carrier}: peak memory", long["peak_mib"], "MiB"))
    return [*figures, Figure("ray: spilled", max(row["spilled_mib"] for row in rows), "MiB", at_most=0)]


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--photos", default="../shared/data/train/bsds500", help="folder of photographs (default: %(default)s)")
    made.add_argument("--cache", default="/tmp/ipt-benchmark-data", help="folder for packed and made pictures")
    made.add_argument("--sets", nargs="+", default=["photographs", "1080p"], choices=["photographs", "1080p"])
    made.add_argument("--parts", nargs="+", default=["rates", "costs", "memory"], choices=["rates", "costs", "memory"])
    made.add_argument("--large", type=count, default=2000, help="pictures of 1920x1080 (default: %(default)s)")
    made.add_argument("--rounds", type=count, default=3, help="measurements of each side (default: %(default)s)")
    made.add_argument("--seconds", type=float, default=6, help="of each measurement (default: %(default)s)")
    made.add_argument("--warm", type=float, default=2, help="seconds that do not count (default: %(default)s)")
    made.add_argument("--images", type=count, default=8, help="pictures per step (default: %(default)s)")
    made.add_argument("--patch", type=count, default=128, help="side of the crops in pixels (default: %(default)s)")
    made.add_argument("--prefetch", type=count, default=4, help="steps made ahead (default: %(default)s)")
    made.add_argument("--cpus", type=count, default=2, help="processes that make crops, of each side (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
