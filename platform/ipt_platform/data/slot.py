"""Memory that processes share without copying: a batch is made in it by one and used in it by another."""

import mmap
import os

import numpy as np

_GROWS_BY = 1 << 20  # bytes; what is not written to takes no memory


class Slot:
    """Memory behind a descriptor that other processes inherit; it grows as it is asked to.

    It has no name in any file system, so however its users end, nothing is left behind.

    Args:
        descriptor: of the slot of another process; None makes a new one.
    """

    def __init__(self, descriptor: int | None = None):
        self.descriptor = os.memfd_create("ipt-batch") if descriptor is None else descriptor
        self._memory: mmap.mmap | None = None

    def buffer(self, size: int) -> np.ndarray:
        """The first `size` bytes: uint8 [size], writable, an array of its own for every call."""
        if self._memory is None or len(self._memory) < size:
            if os.fstat(self.descriptor).st_size < size:
                os.ftruncate(self.descriptor, -(-size // _GROWS_BY) * _GROWS_BY)
            # What still looks into the old mapping keeps it; both show the same memory.
            self._memory = mmap.mmap(self.descriptor, 0)
        return np.frombuffer(self._memory, np.uint8, size)

    def close(self) -> None:
        """Let go of it; arrays that look into it stay good."""
        os.close(self.descriptor)
        self._memory = None
