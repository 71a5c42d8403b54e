"""A real Chromium on a real server on loopback."""

import contextlib
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

from ipt_platform.web.app import create_app
from ipt_platform.web.serve import listen
from ipt_platform.web.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SECONDS = 60
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
        thread.join(SECONDS)
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
        self.page.set_default_timeout(1000 * SECONDS)
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
        end = time.monotonic() + SECONDS
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
