"""The page as a server on loopback, and runs with pictures for it."""

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import uvicorn

from ipt_platform.evaluate.triptych import triptych
from ipt_platform.observe.storage import create
from ipt_platform.web.app import create_app
from ipt_platform.web.settings import Settings
from tests.conftest import HANG


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The page at a free port; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        end = time.monotonic() + HANG
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Drawn:
    """The pictures that were drawn for a run: `[H, W, 3]` uint8 by (step, name, panel)."""

    run: str
    pictures: dict[tuple[int, str, str], np.ndarray] = field(default_factory=dict)


def draw_samples(
    storage: str | Path,
    run_id: str,
    steps: Sequence[int],
    names: Sequence[str],
    size: tuple[int, int] = (150, 200),
    error: int = 40,
) -> Drawn:
    """Write triptychs into a run, which is made: a scene for each name, and less error with each step."""
    run, drawn = create(storage, run_id), Drawn(run_id)
    run.job.write_text("apiVersion: ipt/v1\nkind: train\nname: drawn\n")
    for scene, name in enumerate(names):
        rng = np.random.default_rng(scene)
        clean = scene_of(rng, *size)
        degraded = _noisy(clean, rng, error)
        for place, step in enumerate(steps):
            restored = _noisy(clean, rng, error / (2 + place))
            found = {"degraded": degraded, "restored": restored, "clean": clean}
            drawn.pictures |= {(step, name, panel): picture for panel, picture in found.items()}
            folder = run.samples(step)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(triptych(*found.values(), 20, 30))
            (folder / f"{name}.json").write_text(json.dumps({"sigma": error, "kernel": [0.25, 0.123456789]}))
    return drawn


def scene_of(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth colours with edges."""
    small = rng.integers(30, 226, (height // 25 + 2, width // 25 + 2, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def _noisy(clean: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    return np.clip(clean + rng.normal(0, sigma, clean.shape), 0, 255).astype(np.uint8)


def decode(png: bytes) -> np.ndarray:
    """RGB pixels of a PNG."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
