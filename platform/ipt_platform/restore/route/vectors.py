"""Words as vectors of a model that somebody has, in the place of hashed pieces: what it holds for alike is understood alike.

The file has a word and its numbers on each line, as GloVe, fastText (`.vec`) and word2vec write them; a first line with the
two sizes is passed over. The vectors stay as they are; the layer over them learns, as `ngrams.NgramEncoder`'s does.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.restore.route.ngrams import STOP, gather, largest
from ipt_platform.restore.route.scopes import FORWARD, PLAIN, scoped
from ipt_platform.restore.route.text_model import Encoder

WORDS = 100_000
"""So many words are read from the beginning of a file, where the frequent ones stand."""

SCOPES = (PLAIN, *FORWARD)
DROPPED = 0.2


@dataclass(frozen=True)
class WordVectors:
    """The vectors of words.

    Attributes:
        places: row of each word, in lower case.
        vectors: float32 [V, D], each of length 1.
        digest: sha256 of the lines that were read.
    """

    places: Mapping[str, int]
    vectors: Tensor
    digest: str


def read_vectors(path: Path) -> WordVectors:
    """Read a file of word vectors.

    Raises:
        NotFoundError: there is none.
        DataError: a line is not a word and as many numbers as the first one has.
    """
    if not path.is_file():
        raise NotFoundError(
            f"{path}: no such file; expected a word and its numbers on each line, as GloVe and fastText have them"
        )
    places: dict[str, int] = {}
    rows: list[np.ndarray] = []
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number, line in enumerate(islice(file, WORDS + 1), 1):
            word, *numbers = line.split() or [b""]
            if number == 1 and len(numbers) == 1:
                continue
            digest.update(line)
            try:
                row = np.array(numbers, np.float32)
            except ValueError as error:
                raise DataError(f"{path}:{number}: expected a word and its numbers: {error}") from error
            if not row.size or (rows and row.size != rows[0].size) or not np.isfinite(row).all():
                expected = rows[0].size if rows else "some"
                raise DataError(f"{path}:{number}: expected a word and {expected} finite numbers, found {row.size}")
            if places.setdefault(word.decode(errors="replace").lower(), len(rows)) == len(rows):
                rows.append(row / max(float(np.linalg.norm(row)), 1e-9))
    if not rows:
        raise DataError(f"{path}: there is no word in it")
    return WordVectors(places, torch.from_numpy(np.stack(rows)), digest.hexdigest())


@dataclass(frozen=True)
class Spoken:
    """The words of some texts that have vectors.

    Attributes:
        ids: int64 [W], row of each word's vector.
        scopes: int64 [W], place in `SCOPES` of the scope in which it stands.
        texts: int64 [N + 1], where the words of each text begin; the last is W.
    """

    ids: np.ndarray
    scopes: np.ndarray
    texts: np.ndarray

    def take(self, rows: np.ndarray) -> "Spoken":
        """These texts, int64 [n], in this order."""
        words, texts = gather(self.texts, rows)
        return Spoken(self.ids[words], self.scopes[words], texts)


class VectorEncoder(Encoder):
    """Words of N texts to vectors `[N, size]`, none of whose values is negative; as `NgramEncoder` over given vectors.

    Args:
        words: the vectors, which are no part of the encoder's state.
    """

    size = 64

    def __init__(self, words: WordVectors):
        super().__init__()
        self.given = words
        self.hidden = nn.Linear(words.vectors.shape[1] + len(SCOPES), self.size)
        self.dropout = nn.Dropout(DROPPED)

    def prepare(self, texts: Sequence[str]) -> Spoken:
        """What `forward` takes."""
        known = self.given.places.keys() - STOP
        found = [
            [
                (self.given.places[word], SCOPES.index(scope))
                for clause in scoped(text)
                for word, scope in clause
                if word in known
            ]
            for text in texts
        ]
        flat = np.array([each for words in found for each in words], np.int64).reshape(-1, 2)
        return Spoken(flat[:, 0], flat[:, 1], np.cumsum([0, *map(len, found)]))

    def forward(self, spoken: Spoken) -> Tensor:
        """Vectors `[N, size]`."""
        vectors = self.dropout(self.given.vectors[torch.from_numpy(spoken.ids)])
        scopes = nn.functional.one_hot(torch.from_numpy(spoken.scopes), len(SCOPES)).float()
        return largest(torch.relu(self.hidden(torch.cat([vectors, scopes], dim=1))), spoken.texts)
