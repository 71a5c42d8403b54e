"""A process that keeps freed memory touches new pages once, not anew with every round of arrays."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from ipt_platform.data.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def round():
    arrays = [np.ones(20_000_000, np.uint8) for _ in range(3)]
for _ in range(2):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt")
def test_freed_memory_is_used_again():
    faults = {how: int(subprocess.check_output([sys.executable, "-c", PROGRAM, how])) for how in ("keep", "default")}

    assert faults["keep"] < 1000  # of the 146,000 pages that the arrays of ten rounds have
    assert faults["default"] > 10_000
