"""The tasks of a run or of a registry as steps: what is asked for is loaded once, and kept."""

from collections.abc import Sequence
from functools import cached_property

import torch

from ipt_platform.restore.model import Weights, find_weights
from ipt_platform.restore.offer import Offer, offer_of_registry, offer_of_run
from ipt_platform.restore.run import Step
from ipt_platform.restore.source import Source, find_source
from ipt_platform.restore.tiles import DEFAULT_OVERLAP, DEFAULT_TILE, restore_array


class Sources:
    """What restores for the tasks that are asked for.

    Args:
        storage: folder of runs and registry.
        run: a run's id or folder, or the folder of a checkpoint; None: the registered tasks.
        device: where the models go.
        tile: longest side given to a model, pixels.
        overlap: pixels that neighbouring tiles share.

    Raises:
        NotFoundError: no such run.
        CheckpointError: the run has no usable checkpoint.
    """

    def __init__(
        self, storage: str, run: str | None, device: torch.device, tile: int = DEFAULT_TILE, overlap: int = DEFAULT_OVERLAP
    ):
        self.storage, self.device, self.tile, self.overlap = storage, device, tile, overlap
        self.weights: Weights | None = find_weights(storage, run) if run is not None else None
        self.loaded: dict[str, Source] = {}

    @cached_property
    def offer(self) -> Offer:
        """The tasks that there are models for, and those that are known.

        Raises:
            SpecError, CheckpointError, UsageError: as `offer_of_run` and `offer_of_registry`.
        """
        return offer_of_run(self.weights, self.storage) if self.weights else offer_of_registry(self.storage)

    def source(self, task: str) -> Source:
        """What restores for a task; errors as of `find_source`."""
        if task not in self.loaded:
            checkpoint = str(self.weights.checkpoint) if self.weights else None
            self.loaded[task] = find_source(self.storage, checkpoint, task, self.device)
        return self.loaded[task]

    def steps(self, tasks: Sequence[str]) -> list[Step]:
        """What is done to a picture for these tasks, one after the other; errors as of `find_source`."""
        return [self._step(self.source(task)) for task in tasks]

    def _step(self, source: Source) -> Step:
        return Step(
            lambda picture, on_tile: restore_array(source.model, picture, self.device, self.tile, self.overlap, on_tile),
            source.scale,
        )
