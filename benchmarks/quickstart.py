"""The quickstart as a newcomer meets it: time, gains, share of waiting for data, peak memory of all its processes.

Runs what `make demo` runs once everything is installed, `ipt-platform data sample` and `ipt-platform submit
jobs/quickstart.yaml`, and looks at the memory of the whole tree of processes twice a second. The sampler costs some time of a
core itself; how much is said.
"""

import argparse
import subprocess
import tempfile
import time
from typing import Any

import psutil

from benchmarks.command import run_command
from benchmarks.measure import Figure, finish, machine, note, parser, run_script
from benchmarks.memory import Peak, ProcessTree
from benchmarks.training import QUICKSTART, settings_of
from ipt_platform.evaluate.report import Row, rows_of

GIB = 2**30
GAINS = {"denoise": 6.0, "deblur": 0.3}
"""dB asked of each task."""


def main() -> None:
    arguments = _parser().parse_args()
    before, peak, available = machine(), Peak(), psutil.virtual_memory().available
    least = available

    def watch(process: subprocess.Popen) -> None:
        nonlocal least
        tree = ProcessTree(process.pid)
        while process.poll() is None:
            peak.look(tree)
            least = min(least, psutil.virtual_memory().available)
            time.sleep(arguments.interval)

    began, own = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as storage:
        note("the sample photographs, then the quickstart; some minutes")
        run_command("data", "sample", during=watch)
        report = run_command("submit", str(QUICKSTART), *_changes(arguments, storage), during=watch)
    seconds, own = time.perf_counter() - began, time.process_time() - own
    rows = rows_of(report["sets"])
    finish(
        arguments,
        before,
        [
            Figure("the sample set and the quickstart", seconds, "s", at_most=360),
            *(Figure(f"gain of {row.task} on {row.set}", row.gain, "dB", at_least=GAINS.get(row.task)) for row in rows),
            Figure("peak memory of all processes", peak.total / GIB, "GiB", at_most=4),
            Figure("share of time waiting for data", report["data_wait_share"], at_most=0.05),
            Figure("training steps", report["steps"] / report["seconds"], "1/s"),
            Figure("training", report["seconds"], "s"),
            Figure("least memory available on the machine, below the start", (available - least) / GIB, "GiB"),
            Figure("share of a core that the sampler took", own / seconds),
        ],
        pictures=[_picture(row, report["protocol"]) for row in rows],
        memory_at_the_peak=[
            {"process": title, "MiB": size / 2**20, "share": size / peak.total}
            for title, size in sorted(peak.sizes.items(), key=lambda item: -item[1])
        ],
        sampling=[{"samples": peak.samples, "peak_after_seconds": peak.after}],
    )


def _changes(arguments: argparse.Namespace, storage: str) -> list[str]:
    changes = [*settings_of({"storage": storage}), *arguments.set]
    return [word for change in changes for word in ("--set", change)]


def _picture(row: Row, protocol: str) -> dict[str, Any]:
    numbers = {"input_db": row.psnr_input, "restored_db": row.psnr, "gain": row.gain, "ssim": row.ssim}
    return {"set": row.set, "task": row.task, "pictures": row.n, "protocol": protocol, **numbers}


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the job, as for submit")
    made.add_argument("--interval", type=float, default=0.5, help="seconds between looks at the memory (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
