"""Sentences as hashed words and pieces of words: no vocabulary, so any word and any slip of the hand has features.

Every word that carries meaning is a bag of itself, its pieces of 3 to 5 letters and its pairs with both neighbours; all of them
are hashed together with the scope in which the word stands (`scopes`). Each word is embedded and goes through one hidden layer,
and of each hidden unit the largest value over the words counts: so what one word says of one task is not drowned by the words
about another, and words that no task knows add next to nothing.
Source: Bojanowski et al., "Enriching Word Vectors with Subword Information" (TACL 2017), for the pieces and the hashing.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ipt_platform.restore.route.scopes import scoped
from ipt_platform.restore.route.text_model import Encoder

BUCKETS = 1 << 15
PIECES = (3, 4, 5)
PIECE_WEIGHT = 2.0
PAIR_WEIGHT = 0.5

DROPPED = 0.4
"""Share of features that are left out at random in training, so that no phrase is learned by heart."""

_STOP = """
a an the that this these those it its is are was were be been being am i im ive id you your u we our us my me mine he him
his she her they them their there theres here of in on at to for from with by and or as if so do does did done has have had
can could would should will shall may might must please pls plz thanks thank thx hey hi hello ok okay just only really very
quite kinda pretty somewhat also too then than what whats why how which who when where some any all both each every
everything something anything thing things get got make makes made need needs want wants like go goes look looks looking
take took taken picture pictures photo photos pic pics image images shot shots one ones other others even still now again
not no dont
"""
STOP = frozenset(_STOP.split())
"""Words without meaning of their own here; they stand only in pairs."""


@dataclass(frozen=True)
class Features:
    """The features of some texts.

    Attributes:
        ids: int64 [F], bucket of each feature, word by word.
        weights: float32 [F].
        words: int64 [W + 1], where the features of each word begin; the last is F.
        texts: int64 [N + 1], where the words of each text begin; the last is W.
    """

    ids: np.ndarray
    weights: np.ndarray
    words: np.ndarray
    texts: np.ndarray

    def __len__(self) -> int:
        return len(self.texts) - 1

    def take(self, rows: np.ndarray) -> "Features":
        """The features of these texts, int64 [n], in this order."""
        words, texts = gather(self.texts, rows)
        places, starts = gather(self.words, words)
        return Features(self.ids[places], self.weights[places], starts, texts)


class NgramEncoder(Encoder):
    """Features of N texts to vectors `[N, size]`, none of whose values is negative."""

    size = 64

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(BUCKETS, self.size, mode="sum")
        self.hidden = nn.Linear(self.size, self.size)
        nn.init.normal_(self.words.weight, std=0.05)

    def prepare(self, texts: Sequence[str]) -> Features:
        """What `forward` takes."""
        return features_of(texts)

    def forward(self, features: Features) -> Tensor:
        """Vectors `[N, size]`."""
        ids, starts = torch.from_numpy(features.ids), torch.from_numpy(features.words[:-1])
        weights = torch.from_numpy(features.weights)
        if self.training:
            weights = weights * (torch.rand(len(weights)) >= DROPPED) / (1 - DROPPED)
        hidden = torch.relu(self.hidden(self.words(ids, starts, weights)))
        return largest(hidden, features.texts)


def largest(words: Tensor, texts: np.ndarray) -> Tensor:
    """The largest value of each column over the words of each text: `[N, size]` from `[W, size]`, of which none is negative.

    Args:
        words: the words of all texts.
        texts: int64 [N + 1], where the words of each text begin; one without words gets zeros.
    """
    owner = torch.from_numpy(np.repeat(np.arange(len(texts) - 1), np.diff(texts)))
    return words.new_zeros(len(texts) - 1, words.shape[1]).scatter_reduce(0, owner[:, None].expand_as(words), words, "amax")


def features_of(texts: Sequence[str]) -> Features:
    """The features of texts; a text without a word that carries meaning has none."""
    ids: list[int] = []
    weights: list[float] = []
    words, ends = [0], [0]
    for text in texts:
        for clause in scoped(text):
            for number, (word, scope) in enumerate(clause):
                if word in STOP:
                    continue
                pieces = _pieces(word, scope)
                ids += pieces
                weights += [1.0, *[PIECE_WEIGHT / (len(pieces) - 1) ** 0.5] * (len(pieces) - 1)]
                neighbours = [pair for pair in (clause[number - 1 : number + 1], clause[number : number + 2]) if len(pair) == 2]
                ids += [_bucket(scope, "pair", f"{first} {second}") for (first, _), (second, _) in neighbours]
                weights += [PAIR_WEIGHT] * len(neighbours)
                words.append(len(ids))
        ends.append(len(words) - 1)
    return Features(np.array(ids, np.int64), np.array(weights, np.float32), np.array(words), np.array(ends))


@lru_cache(maxsize=1 << 16)
def _pieces(word: str, scope: str) -> list[int]:
    """Buckets of a word and, after it, of its pieces; `<` and `>` mark its ends."""
    marked = f"<{word}>"
    pieces = [marked[at : at + size] for size in PIECES for at in range(len(marked) - size + 1)]
    return [_bucket(scope, "word", word), *(_bucket(scope, "piece", piece) for piece in pieces)]


def _bucket(scope: str, kind: str, text: str) -> int:
    return zlib.crc32(f"{scope}|{kind}|{text}".encode()) % BUCKETS


def gather(starts: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of all elements of some groups, one group after the other, and where each group begins among them."""
    lengths = starts[rows + 1] - starts[rows]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return np.repeat(starts[rows] - ends[:-1], lengths) + np.arange(ends[-1]), ends
