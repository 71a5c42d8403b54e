"""The tasks of a run or of a registry as steps: what is asked for is loaded once, and kept."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ipt_platform.restore.model import Weights, find_weights
from ipt_platform.restore.models import Chosen, Models, choose_model
from ipt_platform.restore.offer import Offer, offer_of_registry, offer_of_run
from ipt_platform.restore.route.route import Route, Share
from ipt_platform.restore.run import Step
from ipt_platform.restore.switch import mixture
from ipt_platform.restore.tiles import DEFAULT_OVERLAP, DEFAULT_TILE, restore_array


class Sources:
    """What restores for the tasks that are asked for.

    Args:
        storage: folder of runs and registry.
        run: a run's id or folder, or the folder of a checkpoint; None: the registered tasks.
        device: where the models go.
        tile: longest side given to a model, pixels.
        overlap: pixels that neighbouring tiles share.

    Attributes:
        weights: the checkpoint of the run, where one is named.
        models: what was loaded.
        alone: the tasks that were asked for by themselves, and not in a mixture.

    Raises:
        NotFoundError: no such run.
        CheckpointError: the run has no usable checkpoint.
    """

    def __init__(
        self, storage: str, run: str | None, device: torch.device, tile: int = DEFAULT_TILE, overlap: int = DEFAULT_OVERLAP
    ):
        self.storage, self.device, self.tile, self.overlap = storage, device, tile, overlap
        self.weights: Weights | None = find_weights(storage, run) if run is not None else None
        self.models = Models({}, device)
        self.alone: set[str] = set()

    @cached_property
    def offer(self) -> Offer:
        """The tasks that there are models for, and those that are known.

        Raises:
            SpecError, CheckpointError, UsageError: as `offer_of_run` and `offer_of_registry`.
        """
        return offer_of_run(self.weights, self.storage) if self.weights else offer_of_registry(self.storage)

    def chosen(self, task: str) -> Chosen:
        """What restores for a task; errors as of `choose_model`."""
        if task not in self.models.chosen:
            checkpoint = self.weights.checkpoint if self.weights else None
            self.models.chosen[task] = choose_model(self.storage, checkpoint, task)
        return self.models.chosen[task]

    def steps(self, tasks: Sequence[str]) -> list[Step]:
        """What is done to a picture for these tasks, one after the other; errors as of `choose_model` and `Models.restorer`."""
        found = [(task, self.chosen(task).scale) for task in tasks]
        self.alone.update(tasks)
        for task in tasks:
            self.models.restorer(task)  # what cannot be loaded is told before the first picture
        return [self._step(lambda task=task: self.models.restorer(task), scale) for task, scale in found]

    def about(self, share: Share) -> dict[str, Any]:
        """What was done for a task, as a document: name, share; version and scale where it was not mixed with others."""
        if share.task not in self.alone:
            return asdict(share)
        chosen = self.chosen(share.task)
        return {"task": chosen.task, "share": share.share, "version": chosen.version, "scale": chosen.scale}

    def in_words(self, route: Route) -> str:
        """What was done for a route, for people: "dehaze, then my-sr@3, 2 times as wide and high"."""
        found = [self.chosen(task) for task in route.tasks]
        scale = math.prod(each.scale for each in found)
        by = ", then ".join(each.version or each.task for each in found)
        return f"{by}, {scale} times as wide and high" if scale > 1 else by

    def mixer(self, tasks: Collection[str]) -> Callable[[Mapping[str, float]], list[Step]]:
        """What makes a step of the shares of these tasks; errors as of `choose_model` and `Models.together`."""
        for task in tasks:
            self.chosen(task)
        model = self.models.together(tasks)

        def steps(shares: Mapping[str, float]) -> list[Step]:
            restorer = mixture(model, shares)
            return [self._step(lambda: restorer, 1)]

        return steps

    def _step(self, model: Callable[[], nn.Module], scale: int) -> Step:
        return Step(
            lambda picture, on_tile: restore_array(model(), picture, self.device, self.tile, self.overlap, on_tile), scale
        )
