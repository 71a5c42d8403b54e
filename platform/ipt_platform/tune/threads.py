"""Decompositions of many small matrices, on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread of this process meanwhile, and as many as before afterwards.

    The matrices of our backbones are too small for a decomposition to gain by a second thread, and the threads wait for each
    other at every column: where another process takes a core, two of them need twenty times as long as one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
