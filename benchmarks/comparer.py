"""How smooth the comparer of the page is with pictures of 4K, in a real Chromium without a window: time from frame to frame
while every pane is zoomed and moved, and how long people wait for pictures, numbers and the heat map.

Three pictures of 3840x2160 are served on loopback: smooth colours with grain, and two of them with noise. A frame is late when
it comes later than two frames of 60 a second. Chromium draws with the processor here, as on a machine without a graphics card.
Needs the package playwright, and Chromium in the path.
"""

import argparse
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import psutil
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script, spread
from ipt_platform.errors import UsageError
from ipt_platform.web.app import create_app
from ipt_platform.web.settings import Settings

SIZE = (2160, 3840)
NOISE = {"degraded": 25, "restored": 6, "clean": 0}
LATE = 1000 / 30

OPEN = """async (names) => {
  const comparer = document.body.appendChild(document.createElement("ipt-comparer"));
  comparer.scrollIntoView();
  const began = performance.now();
  const pane = (name) => ({name, label: name, key: name, source: `/bench/${name}.png`});
  const pictures = [{id: "4K", label: "4K"}];
  await comparer.show({pictures, steps: () => [], panes: () => names.map(pane), reference: "clean", pin: false});
  const shown = performance.now() - began;
  const {key} = comparer.panes[0];
  const region = {x: 0, y: 0, width: 3840, height: 2160};
  const timed = async (kind, message) => {
    const began = performance.now();
    let first;
    await comparer.store.ask(kind, message, () => (first = performance.now() - began));
    return [first, performance.now() - began];
  };
  await new Promise((done) => setTimeout(done, 500));
  const heat = (await timed("heat", {one: "restored", other: "clean", gain: 4}))[1];
  const [psnr, ssim] = await timed("measure", {pairs: [["restored", "clean"]], region});
  return {shown, heat, psnr, ssim};
}"""

READY = """async (mode) => {
  const comparer = document.querySelector("ipt-comparer");
  comparer.setMode(mode);
  comparer.zoomToFit();
  while (comparer.dataset.measured !== "true") await new Promise((done) => setTimeout(done, 100));
}"""

MOVE = """async ([mode, frames]) => {
  const comparer = document.querySelector("ipt-comparer");
  const times = [];
  for (let at = 0; at <= frames; at++) {
    const half = frames / 2;
    if (at < half) comparer.zoomBy(Math.exp(Math.log(16) / half), {x: comparer.pane.width / 3, y: comparer.pane.height / 3});
    else comparer.panBy(12 * Math.cos(at / 9), 9 * Math.sin(at / 7));
    if (mode === "slider") comparer.setSplit(0.5 + 0.3 * Math.sin(at / 11));
    times.push(await new Promise((frame) => requestAnimationFrame(frame)));
  }
  return times.slice(1).map((time, at) => time - times[at]);
}"""


def main() -> None:
    arguments = _parser().parse_args()
    before = machine()
    pictures = _pictures()
    with _served(pictures) as address, _page(arguments, address) as page:
        waits = page.evaluate(OPEN, list(pictures))
        frames: dict[str, list[float]] = {}
        costs: dict[str, float] = {}
        for mode in ("slider", "side", "flip", "difference"):
            note(f"moving: {mode}")
            page.evaluate(READY, mode)
            before_frames = _processor_time()
            frames[mode] = page.evaluate(MOVE, [mode, arguments.frames])
            costs[mode] = 1000 * (_processor_time() - before_frames) / arguments.frames
    finish(
        arguments,
        before,
        [
            *(Figure(f"time between frames, {mode}", spread(times), "ms", at_most=LATE) for mode, times in frames.items()),
            *(Figure(f"processor time of a frame, {mode}", cost, "ms") for mode, cost in costs.items()),
            *(
                Figure(f"late frames, {mode}", sum(each > LATE for each in times) / len(times))
                for mode, times in frames.items()
            ),
            Figure("until three pictures are seen", waits["shown"] / 1000, "s"),
            Figure("until a heat map is there", waits["heat"] / 1000, "s"),
            Figure("until PSNR of all of a picture is there", waits["psnr"] / 1000, "s"),
            Figure("until SSIM of all of a picture is there", waits["ssim"] / 1000, "s"),
        ],
    )


def _processor_time() -> float:
    """Seconds that Chromium's processes have taken of all cores."""
    found = psutil.Process().children(recursive=True)
    return sum(sum(each.cpu_times()[:2]) for each in found if "chrom" in each.name())


def _pictures() -> dict[str, bytes]:
    """PNGs by name."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (27, 48, 3), np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    clean = np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255)
    found = {}
    for name, sigma in NOISE.items():
        noisy = np.clip(clean + sigma * rng.normal(size=clean.shape), 0, 255).astype(np.uint8)
        found[name] = cv2.imencode(".png", noisy, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return found


@contextmanager
def _served(pictures: dict[str, bytes]) -> Iterator[str]:
    def picture(request: Request) -> Response:
        return Response(pictures[request.path_params["name"]], media_type="image/png")

    with tempfile.TemporaryDirectory() as storage, socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(Settings(storage))
        app.routes.append(Route("/bench/{name}.png", picture))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def _page(arguments: argparse.Namespace, address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if not (program := shutil.which(arguments.chromium)):
        raise UsageError(f"{arguments.chromium}: there is no such program; install Chromium, or name it with --chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=program, args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/pictures?left=&right=")
        page.add_script_tag(url="/static/comparer/comparer.js", type="module")
        page.add_style_tag(url="/static/comparer.css")
        page.wait_for_selector("#content")
        page.evaluate("() => customElements.whenDefined('ipt-comparer').then(() => true)")
        yield page
        browser.close()


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--frames", type=count, default=240, help="frames of each mode")
    made.add_argument("--chromium", default="chromium", help="the program")
    return made


if __name__ == "__main__":
    run_script(main)
