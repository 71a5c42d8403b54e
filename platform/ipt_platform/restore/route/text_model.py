"""The classifier of sentences: an encoder's vector to a logit for each task, and its training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from ipt_platform.restore.route.grammar import Instruction

BATCH = 256
RATE = 0.01


class Prepared(Protocol):
    """Texts as an encoder takes them: made once, taken in parts."""

    def take(self, rows: np.ndarray) -> Self:
        """These texts, int64 [n], in this order."""
        ...


class Encoder(nn.Module, ABC):
    """What makes vectors `[N, size]` of N prepared texts: `ngrams.NgramEncoder`, or an embedding model in its place."""

    size: int

    @abstractmethod
    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Texts as `forward` takes them."""


class TextModel(nn.Module):
    """An encoder and a layer from its vectors to the tasks.

    Args:
        encoder: what makes vectors of texts.
        tasks: how many.
    """

    def __init__(self, encoder: Encoder, tasks: int):
        super().__init__()
        self.encoder = encoder
        self.out = nn.Linear(encoder.size, tasks)
        nn.init.constant_(self.out.bias, -2.0)  # most tasks are not meant

    def forward(self, prepared: Prepared) -> Tensor:
        """Logits `[N, tasks]`."""
        return self.out(self.encoder(prepared))

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Texts as `forward` takes them."""
        return self.encoder.prepare(texts)

    @torch.no_grad()
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """How probably each text asks for each task, for several may be meant: float32 [N, tasks] in [0, 1]."""
        return torch.sigmoid(self(self.prepare(texts))).numpy()


def train_text_model(
    make_encoder: Callable[[], Encoder],
    examples: Sequence[Instruction],
    tasks: Sequence[str],
    seed: int,
    epochs: int = 2,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> TextModel:
    """Train a classifier on examples: Adam on the binary cross-entropy of every task, the rate falling to zero along a line.

    The same seed gives the same model on the same machine.

    Args:
        make_encoder: makes a fresh encoder; parameters that need no gradient stay as they are.
        examples: what people say, and what they mean.
        tasks: names of the tasks, in the order of the logits.
        seed: of everything random.
        epochs: passes over the examples.
        progress: told (steps done, steps in all).
    """
    wanted = torch.tensor([[float(task in example.tasks) for task in tasks] for example in examples])
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TextModel(make_encoder(), len(tasks)).train()
        prepared = model.prepare([example.text for example in examples])
        optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=RATE)
        batches, order = -(-len(examples) // BATCH), np.arange(len(examples))
        for step in range(epochs * batches):
            if step % batches == 0:
                order = rng.permutation(len(examples))
            rows = order[step % batches * BATCH :][:BATCH]
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / (epochs * batches))
            logits = model(prepared.take(rows))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted[rows], reduction="sum") / len(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress(step + 1, epochs * batches)
    return model.eval()
