"""Decoded pictures that were used lately, up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class PictureCache:
    """Keeps the pictures used last, at most `max_bytes` of them; pictures come out read-only, so content never changes.

    Safe from several threads; empty again in another process.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._clear()

    def get(self, key: Hashable, load: Callable[[], np.ndarray]) -> np.ndarray:
        """The picture of a key, loaded where it is not here. Whatever `load` raises passes through."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        picture = load()  # outside the lock: other threads decode meanwhile, and at worst the same picture twice
        picture.setflags(write=False)
        if picture.nbytes <= self.max_bytes:
            self._keep(key, picture)
        return picture

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._pictures

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def _keep(self, key: Hashable, picture: np.ndarray) -> None:
        with self._lock:
            if key in self._pictures:
                return
            self._pictures[key] = picture
            self._bytes += picture.nbytes
            while self._bytes > self.max_bytes:
                self._bytes -= self._pictures.popitem(last=False)[1].nbytes

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._pictures: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0

    def __getstate__(self) -> dict:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict) -> None:
        self.max_bytes = state["max_bytes"]
        self._clear()
