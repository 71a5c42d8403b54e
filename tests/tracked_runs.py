"""Runs that have something to tell."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ipt_platform.observe.events import append_event
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.load import dump_job
from tests.jobs import small_job


def made_run(storage: Path, name: str = "rain", **values: Any) -> RunDir:
    """A run with a job, before its first attempt."""
    run = create(storage, name)
    run.job.write_text(dump_job(small_job(**values)))
    append_event(run, "created", 0, kind="train", steps=100)
    return run


def report(attempt: int, step: int, loss: float = 0.5) -> dict[str, Any]:
    """A line of training."""
    return {
        "attempt": attempt,
        "step": step,
        "steps": 100,
        "loss": {"denoise": loss},
        "lr": 3e-4,
        "bias_lr": None,
        "grad_norm": 0.25,
        "images_per_second": 12.5,
        "samples": {"seen": 4 * step, "bad": {"cut-off": 1}},
    }


def pictures(run: RunDir, step: int, names: Iterable[str]) -> dict[str, bytes]:
    """Triptychs of a step, 24 x 8 pixels; their bytes by name."""
    run.samples(step).mkdir(parents=True, exist_ok=True)
    found = {}
    for number, name in enumerate(names):
        _, data = cv2.imencode(".png", np.full((8, 24, 3), 40 * number, np.uint8))
        (run.samples(step) / f"{name}.png").write_bytes(data.tobytes())
        found[name] = data.tobytes()
    return found
