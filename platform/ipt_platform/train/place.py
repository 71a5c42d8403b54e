"""Where one worker of an attempt runs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ipt_platform.observe.rundir import RunDir
from ipt_platform.train.group import Workers


@dataclass(frozen=True)
class Place:
    """Where a session runs.

    Attributes:
        run: the run it belongs to.
        attempt: the start of the run it belongs to.
        base: what relative paths of the job are relative to.
        workers: which of the workers it is.
        device: where its model lies.
    """

    run: RunDir
    attempt: int
    base: Path
    workers: Workers
    device: torch.device
