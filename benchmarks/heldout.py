"""Fixed crops of held-out photographs with frozen degradations: a quick and comparable measure while a model learns."""

from dataclasses import dataclass

import numpy as np
import torch

from ipt_platform.errors import DataError
from ipt_platform.evaluate.protocols import measure
from ipt_platform.evaluate.testset import FrozenTask, TestSet
from ipt_platform.model.bias import BiasedModel

PROTOCOL = "rgb-uint8"
BATCH = 8


@dataclass(frozen=True)
class HeldOut:
    """The crops of one task: degraded float32 `[n, P, P, 3]`, clean uint8 `[n, P, P, 3]`."""

    task: str
    degraded: np.ndarray
    clean: np.ndarray

    @property
    def psnr_input(self) -> float:
        """Mean dB of the degraded crops under `PROTOCOL`."""
        return _mean_psnr(self.degraded, self.clean)

    @torch.no_grad()
    def psnr(self, model: BiasedModel) -> float:
        """Mean dB of the crops restored through the task's merged weights, under `PROTOCOL`."""
        inputs = torch.from_numpy(self.degraded).permute(0, 3, 1, 2)
        restored = torch.cat([model.run_task(self.task, part) for part in inputs.split(BATCH)])
        return _mean_psnr(restored.permute(0, 2, 3, 1).numpy(), self.clean)


def held_out(testset: TestSet, task: FrozenTask, side: int) -> HeldOut:
    """The centre crops of a set, cut out of whole pictures that were degraded before.

    Raises:
        DataError: a picture is smaller than the crop.
    """
    degraded, clean = [], []
    for item in testset.items(task):
        height, width = item.clean.shape[:2]
        if min(height, width) < side:
            raise DataError(f"{item.key} has {width}x{height} pixels, a crop of {side}x{side} does not fit; leave it out")
        top, left = (height - side) // 2, (width - side) // 2
        degraded.append(item.degraded[top : top + side, left : left + side])
        clean.append(item.clean[top : top + side, left : left + side])
    return HeldOut(task.name, np.stack(degraded), np.stack(clean))


def _mean_psnr(pictures: np.ndarray, clean: np.ndarray) -> float:
    return float(np.mean([measure(PROTOCOL, one, other)["psnr"] for one, other in zip(pictures, clean, strict=True)]))
