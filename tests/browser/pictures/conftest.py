"""Windows with a comparer in them, and runs with pictures."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ipt_platform.web.settings import Settings
from tests.conftest import HANG
from tests.pages import Drawn, draw_samples, served

NAMES = ["set-denoise-one", "set-denoise-two"]
STEPS = [5, 10, 15, 20]
PAGE = "/runs/first/pictures"
ONE, TWO = NAMES
MEASURED = 'ipt-comparer[data-measured="true"]'
AXE = Path(__file__).parent.parent / "vendor" / "axe.min.js"


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def drawn(storage) -> Drawn:
    return draw_samples(storage, "first", STEPS, NAMES)


@pytest.fixture(scope="session")
def pictures_site(storage, drawn) -> Iterator[str]:
    """Address of a page with pictures of runs."""
    draw_samples(storage, "second", [5, 12], NAMES, error=40)
    with served(Settings(str(storage))) as address:
        yield address


@pytest.fixture
def site(pictures_site) -> str:
    """The page that is visited; other modules have others."""
    return pictures_site


@pytest.fixture
def visit(chromium, site) -> Iterator[Callable[..., "Seen"]]:
    """Opens an address of the page in a window of its own; what its scripts complain about fails the test."""
    contexts, complaints = [], []

    def open_page(path: str, width: int = 1280, height: int = 860, wait: str = MEASURED, **more: Any) -> Seen:
        context = chromium.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        context.set_default_timeout(1000 * HANG)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        seen = Seen(page, complaints)
        page.goto(site + path)
        page.wait_for_selector(wait)
        return seen

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


class Seen:
    """A page with a comparer, as a person and as a program see it."""

    def __init__(self, page: Any, complaints: list[str]):
        self.page, self.complaints = page, complaints

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.wait_for_selector("ipt-comparer:not([aria-busy])")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def measured(self) -> None:
        self.settle()
        self.page.wait_for_selector(MEASURED)

    def comparer(self, expression: str) -> Any:
        """The value of an expression of the comparer `c`."""
        return self.page.evaluate(f"() => {{ const c = document.querySelector('ipt-comparer'); return {expression}; }}")

    def canvases(self) -> list[np.ndarray]:
        """What each canvas shows, RGB uint8."""
        urls = self.page.evaluate(
            "() => [...document.querySelectorAll('.cmp-pane canvas')].map((each) => each.toDataURL('image/png'))"
        )
        return [_pixels(url) for url in urls]

    def shown(self, picture: np.ndarray, canvas: np.ndarray) -> np.ndarray:
        """What a canvas should show of a picture in the view of the comparer, at or above 100 %; NaN outside of it."""
        view = self.comparer("c.view")
        height, width = canvas.shape[:2]
        left, top = (round_half_up(side / 2 - view[axis] * view["scale"]) for side, axis in ((width, "x"), (height, "y")))
        rows = np.floor((np.arange(height) + 0.5 - top) / view["scale"]).astype(int)
        columns = np.floor((np.arange(width) + 0.5 - left) / view["scale"]).astype(int)
        inside = np.outer((rows >= 0) & (rows < picture.shape[0]), (columns >= 0) & (columns < picture.shape[1]))
        found = picture[np.clip(rows, 0, picture.shape[0] - 1)][:, np.clip(columns, 0, picture.shape[1] - 1)].astype(float)
        found[~inside] = np.nan
        return found

    def agree(self, canvas: np.ndarray, picture: np.ndarray, columns: slice = slice(None)) -> bool:
        """Whether a canvas, or some columns of it, show exactly a picture."""
        wanted = self.shown(picture, canvas)[:, columns]
        there = ~np.isnan(wanted)
        return bool(there.any()) and bool((canvas[:, columns][there] == wanted[there]).all())

    def numbers(self) -> dict[str, list[str]]:
        """The table: pane -> PSNR, SSIM."""
        rows = self.page.locator(".cmp-table tbody tr").all()
        return {row.get_attribute("data-pane"): row.locator("td").all_inner_texts()[:2] for row in rows}

    def serious(self) -> list[str]:
        """What axe-core finds that is serious or worse."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {[node['target'] for node in each['nodes']]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]


def panel(drawn: Drawn, step: int, name: str = ONE) -> dict[str, np.ndarray]:
    """The pictures of a triptych of the first run."""
    return {each: drawn.pictures[step, name, each] for each in ("degraded", "restored", "clean")}


def round_half_up(value: float) -> int:
    return int(np.floor(value + 0.5))


def _pixels(url: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
