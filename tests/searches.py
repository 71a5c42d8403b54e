"""A search as its files leave it, with trials that are made up here."""

from pathlib import Path
from typing import Any

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.load import load_job
from ipt_platform.tune.plan import Plan
from ipt_platform.tune.trials import Suggestion, Trial

TEXT = """\
apiVersion: ipt/v1
kind: tune
name: search
seed: 3
storage: others
base:
  kind: train
  model: {backbone: iptv2-nano, bias: {rank: 4}}
  tasks: [denoise, deblur]
  data: {shards: shards/*.tar}
  train: {stages: [{steps: 30, patch: 48, images: 2}]}
  evaluate: {every: 10, sets: [test]}
search:
  space:
    model.bias.rank: {min: 1, max: 64}
    model.bias.targets: {subsets: [qkv, ffn]}
    train.ema: {choices: [null, 0.9]}
  trials: 12
  repeat: [7, 8]
  best: 2
"""
BACKBONE = 1000


def plan_of(base: Path, *overrides: str, text: str = TEXT) -> Plan:
    (base / "job.yaml").write_text(text)
    return Plan(load_job(base / "job.yaml", overrides, base), create(base / "others", "search"), base)


def scores(psnr: float) -> dict[str, Any]:
    """A mean of `psnr` over two tasks."""
    return {
        "test": {
            task: {"psnr": psnr + more, "psnr_input": 20.0, "ssim": 0.5, "n": 2}
            for task, more in (("denoise", 1.0), ("deblur", -1.0))
        }
    }


def made(number: int, psnr: float | None, parameters: int, state: str = "finished", step: int = 30, reason: str = "") -> Trial:
    """A trial that was measured every 10 steps, each time 1 dB better."""
    steps = [*range(10, step + 1, 10)] if psnr is not None else []
    return Trial(
        Suggestion(f"t{number:03d}", {"model.bias.rank": number, "model.bias.targets": ["ffn"], "train.ema": None}, "tpe"),
        RunDir(Path("others/search/runs") / f"t{number:03d}"),
        state,
        reason,
        {at: psnr - (step - at) / 10 for at in steps} if psnr is not None else {},
        scores(psnr) if psnr is not None else {},
        30,
        parameters,
        BACKBONE,
        1.5 * step,
    )


TRIALS = [
    made(1, 25.0, 100),
    made(2, 27.0, 200),
    made(3, 26.5, 400),
    made(4, 22.0, 50, "stopped", 10, "stopped by the search: not among the best at step 10 (after step 10 of 30); submitting"),
    made(5, None, 0, "failed", 0, "step 3: the loss is not finite | =1+1"),
    made(6, 26.0, 150),
]
