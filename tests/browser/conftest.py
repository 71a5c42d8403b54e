"""A real Chromium on a real server on loopback."""

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import sync_playwright

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.registry.store import open_registry
from ipt_platform.tune.trials import suggest
from ipt_platform.web.app import create_app
from ipt_platform.web.serve import listen
from ipt_platform.web.settings import Settings
from tests.conftest import HANG
from tests.integration.web.conftest import report, write_run
from tests.registered import add, point
from tests.searches import TRIALS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
"""How long something is waited for that should happen at once; machines are slow at times."""


@dataclass(frozen=True)
class Served:
    """A page that answers: its address, and the server behind it."""

    url: str
    server: uvicorn.Server


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], Served]]:
    """Starts pages in threads of this process, each on a port of its own; all of them end with the test."""
    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(settings: Settings) -> Served:
        on = listen(settings, 0)
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [on]}, daemon=True)
        thread.start()
        running.append((server, thread, on))
        return Served(f"http://127.0.0.1:{on.getsockname()[1]}", server)

    yield start
    for server, thread, on in running:
        server.should_exit = True
        thread.join(HANG)
        on.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: Debian's package chromium")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


class Tab:
    """A page in a context of its own, and what went wrong on it."""

    def __init__(self, context, url: str):
        self.context, self.url = context, url
        self.page = context.new_page()
        self.page.set_default_timeout(1000 * HANG)
        self.wrong: list[str] = []
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("dialog", lambda dialog: dialog.accept())

    def go(self, path: str):
        """Open a path of the server."""
        self.page.goto(self.url + path)
        return self.page

    def until(self, expression: str) -> None:
        """Wait until an expression of JavaScript is true; Playwright's own way needs `eval`, which the page forbids."""
        end = time.monotonic() + HANG
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.page.locator('main').inner_text()}"
            self.page.wait_for_timeout(50)

    def audit(self) -> list[str]:
        """What axe finds that is serious or worse, in words."""
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:160]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@pytest.fixture
def tab(chromium) -> Iterator[Callable[..., Tab]]:
    """Opens tabs; axe is in each of them."""
    with contextlib.ExitStack() as stack:

        def open_tab(served: Served, **options) -> Tab:
            context = chromium.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
            stack.callback(context.close)
            context.add_init_script(path=AXE)
            return Tab(context, served.url)

        yield open_tab


@pytest.fixture
def storage(tmp_path):
    write_run(tmp_path, "busy", steps=8)
    write_run(tmp_path, "done", "finished", steps=20)
    write_run(tmp_path, "lost", "failed")
    registry = open_registry(tmp_path, None)
    for version, psnr in ((1, 31.25), (2, 29.5)):
        add(registry, "my-derain", version, psnr)
    point(registry, "my-derain", "prod", 1, "better")
    search(tmp_path)
    return tmp_path


def search(storage) -> None:
    """A search that is over, of which two trials have a run."""
    run = create(storage, "tried")
    append_event(run, "created", 0, kind="tune", steps=6)
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    for trial in TRIALS:
        suggest(run, trial.suggestion, attempt)
    write_run(run.members, "t001", "finished")
    write_run(run.members, "t002", "finished")
    trials = [{"trial": each.name, "psnr": each.psnr, "parameters": each.parameters} for each in TRIALS]
    knobs = [
        {
            "knob": "model.bias.rank",
            "n": 5,
            "share": 0.4,
            "interval": [0.2, 0.6],
            "p": 0.03,
            "beyond_chance": True,
            "why_not": "",
        }
    ]
    report = {
        "trials": trials,
        "pareto": ["t001", "t002"],
        "best": {"trial": "t002"},
        "importance": {"step": 30, "knobs": knobs},
    }
    run.report.write_text(json.dumps(report))
    (run.path / "report.md").write_text("# tried\n\n| trial | PSNR |\n|:--|--:|\n| t002 | 27.0 |\n")
    append_event(run, "finished", attempt, step=6)


@pytest.fixture
def served(serve, storage):
    return serve(Settings(str(storage)))


@pytest.fixture
def long(serve, tmp_path, tab) -> Callable[[int], tuple[Tab, RunDir]]:
    """Opens the page of a run with so many reports, one a step."""

    def open_run(steps: int) -> tuple[Tab, RunDir]:
        run = write_run(tmp_path, "long", steps=0)
        for step in range(1, steps + 1):
            append_metrics(run, report(step))
        looked = tab(serve(Settings(str(tmp_path))))
        looked.go("/runs/long")
        looked.until("document.querySelector('[data-curves]').dataset.drawn >= 1")
        return looked, run

    return open_run
