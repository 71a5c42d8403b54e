"""The page over many runs and a long one: when something is first seen in Chromium, and what a live update costs the server.

The server is `ipt-platform dashboard` as a process of its own over runs that are written first: finished ones of 20 reports,
and one that this script leads with as many reports as asked. A first paint is that of a browser context that has seen nothing,
its cache empty (Paint Timing, first-contentful-paint, from the start of the navigation). A live update is what the page of a
run asks for when one more report was written: its curves, thinned out of all reports, and its state; timed at a client on
loopback.
"""

import argparse
import contextlib
import http.client
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from ipt_platform.errors import NotFoundError
from ipt_platform.observe.events import append_event
from ipt_platform.observe.jsonl import line_of
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create

PROGRAM = "from ipt_platform.cli.main import main; main()"
PATHS = {
    "fleet": "/",
    "runs": "/runs",
    "run": "/runs/long",
    "logs": "/runs/long/logs",
    "compare": "/compare?run=run-0000&run=long",
}
PARTS = {"curves": "/runs/long/series", "state": "/runs/long/parts/summary", "checkpoints": "/runs/long/parts/checkpoints"}
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")


def main() -> None:
    """Measure and print."""
    arguments = _parser().parse_args()
    found = machine()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise NotFoundError("this needs Chromium: Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        note(f"writing {arguments.runs:,} runs, and one of {arguments.lines:,} reports")
        for number in range(arguments.runs):
            _write(storage, f"run-{number:04d}", 20, ended=True)
        run = _write(storage, "long", arguments.lines, ended=False)
        with _served(storage) as address:
            paints, curves = _paints(arguments, chromium, address)
            updates = _updates(arguments, run, address)
    figures = [Figure(f"first paint of {name}", spread(paints[name]), "s", at_most=1.0) for name in PATHS]
    figures += [Figure(f"live update of {name}", spread(updates[name]), "s", at_most=0.2) for name in PARTS]
    figures.append(Figure("until the curves of a run stand there that nobody has looked at yet", curves, "s"))
    finish(arguments, found, figures)


def _write(storage: Path, name: str, reports: int, ended: bool) -> RunDir:
    run = create(storage, name)
    run.job.write_text((Path(__file__).parents[1] / "jobs/quickstart.yaml").read_text())
    append_event(run, "created", 0, kind="train", steps=2 * reports)
    append_event(run, "started", run.new_attempt(), step=0)
    run.logs(1, 0).write_text("2026-11-26 10:00:00,000 INFO a: it trains\n" * reports)
    chance = random.Random(name)
    with run.metrics.open("wb") as file:
        for step in range(1, reports + 1):
            file.write(line_of({"time": "2026-11-26T10:00:00.000+00:00", **_report(step, reports, chance)}))
            if step % max(1, reports // 50) == 0:
                file.write(line_of({"attempt": 1, "step": step, "evaluation": _measured(step / reports, chance)}))
    if ended:
        append_event(run, "finished", 1, step=reports)
    return run


def _report(step: int, reports: int, chance: random.Random) -> dict[str, Any]:
    noise = chance.random
    loss = {task: 0.1 / math.sqrt(step) + noise() * 0.003 for task in ("denoise", "deblur", "derain")}
    return {
        "attempt": 1, "step": step, "steps": 2 * reports, "stage": 0, "loss": loss, "lr": 3e-4, "bias_lr": 1e-3,
        "grad_norm": noise(), "bias_grad_norm": {task: noise() for task in loss}, "images_per_second": 30 + noise(),
        "data_wait_share": noise() * 0.05, "samples": {"seen": 8 * step, "bad": {}}, "seconds": 0.2 * step, "eta_seconds": 9.0,
    }  # fmt: skip


def _measured(done: float, chance: random.Random) -> dict[str, Any]:
    return {"test": {task: {"psnr": 26 + 2 * done + 0.1 * chance.random()} for task in ("denoise", "deblur", "derain")}}


@contextlib.contextmanager
def _served(storage: Path) -> Iterator[str]:
    words = [sys.executable, "-c", PROGRAM, "dashboard", "--storage", str(storage), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout
            address = (
                json.loads("".join(iter(page.stdout.readline, "}\n")) + "}")["address"].removeprefix("http://").rstrip("/")
            )
            _ask(http.client.HTTPConnection(address), "/runs")
            yield address
        finally:
            page.terminate()


def _paints(arguments: argparse.Namespace, chromium: str, address: str) -> tuple[dict[str, list[float]], float]:
    """Seconds to the first paint by page; and to the first curves of the long run."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {name: [] for name in PATHS}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(f"http://{address}/runs/long")
        page.wait_for_selector(".uplot", timeout=120_000)
        curves = time.perf_counter() - began
        for number in range(arguments.rounds):
            for name in list(PATHS) if number % 2 == 0 else list(PATHS)[::-1]:
                context = browser.new_context()
                page = context.new_page()
                page.goto(f"http://{address}{PATHS[name]}")
                paint = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"
                while not (moments := page.evaluate(paint)):
                    page.wait_for_timeout(20)
                found[name].append(moments[0] / 1000)
                context.close()
        browser.close()
    return found, curves


def _updates(arguments: argparse.Namespace, run: RunDir, address: str) -> dict[str, list[float]]:
    """Seconds that the server takes for each part once a report was written."""
    connection, chance = http.client.HTTPConnection(address), random.Random(0)
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for number in range(arguments.updates):
        append_metrics(run, _report(arguments.lines + number + 1, arguments.lines, chance))
        for name, path in PARTS.items():
            began = time.perf_counter()
            _ask(connection, path)
            found[name].append(time.perf_counter() - began)
        time.sleep(0.05)
    return found


def _ask(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise NotFoundError(f"{path}: the page answered {answer.status}: {data[:200]!r}")
    return data


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--runs", type=count, default=1000, help="finished runs (default: %(default)s)")
    made.add_argument("--lines", type=count, default=100_000, help="reports of the long one (default: %(default)s)")
    made.add_argument("--rounds", type=count, default=10, help="first paints of each page (default: %(default)s)")
    made.add_argument("--updates", type=count, default=50, help="live updates (default: %(default)s)")
    return made


if __name__ == "__main__":
    run_script(main)
