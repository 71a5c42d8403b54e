"""What the benchmarks rest on: intervals of medians, memory of a tree of processes, the reference network."""

import subprocess
import sys
import time
from fractions import Fraction
from math import comb

import pytest
import torch

from benchmarks.measure import Figure, spread
from benchmarks.memory import ProcessTree
from benchmarks.unet import UNet, biased_unet
from ipt_platform.model.counts import count_parameters

MIB = 1 << 20


def miss(n: int, k: int) -> Fraction:
    """How often the median lies outside of the k-th smallest to the k-th largest of n values, exactly."""
    return Fraction(2 * sum(comb(n, i) for i in range(k)), 2**n)


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 20, 51, 100, 400])
def test_the_interval_of_a_median_is_the_narrowest_that_misses_it_once_in_twenty(n):
    found = spread([float(value) for value in reversed(range(1, n + 1))])

    k = int(found.low)
    assert found.high == n + 1 - k
    assert found.median == (n + 1) / 2
    assert miss(n, k) <= Fraction(1, 20) < miss(n, k + 1)


def test_a_few_values_give_their_range():
    assert [(spread([3.0, 1.0, 2.0][:n]).low, spread([3.0, 1.0, 2.0][:n]).high) for n in (1, 2, 3)] == [(3, 3), (1, 3), (1, 3)]


def test_a_figure_says_whether_it_meets_what_is_asked():
    assert Figure("time", spread([1.0, 1.04, 9.0]), at_most=1.05).row()["met"] is True
    assert Figure("time", 1.06, at_most=1.05).row()["met"] is False
    assert Figure("rate", 0.94, at_least=0.95).row()["met"] is False
    assert Figure("rate", 0.94).row()["asked"] is None


# A parent with a shared and a private block of memory starts a child that touches the shared one too; told so, the parent ends.
FAMILY = f"""
import mmap, os, sys, time
shared = mmap.mmap(-1, 96 * {MIB})
shared.write(b"x" * len(shared))
if os.fork() == 0:
    shared.seek(0)
    shared.read()
    private = b"y" * (32 * {MIB})
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
sys.stdin.readline()
"""


def test_shared_memory_counts_once_and_orphans_are_still_counted():
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin
        assert parent.stdout
        tree = ProcessTree(parent.pid)
        child = int(parent.stdout.readline())
        both = sum(tree.sizes().values())
        parent.stdin.close()
        parent.wait()
        orphan = sum(tree.sizes().values())
        subprocess.run(["kill", str(child)], check=True)
        while tree.sizes():
            time.sleep(0.01)

    assert 128 * MIB < both < 176 * MIB
    assert 128 * MIB < orphan < both


def test_the_reference_network_has_its_size_and_its_biases_leave_it_as_it_was():
    torch.manual_seed(0)
    model, x = biased_unet(["denoise", "deblur"], rank=4), torch.rand(2, 3, 16, 24)

    restored = model({"denoise": x, "deblur": x})

    assert count_parameters(UNet()) == pytest.approx(0.54e6, rel=0.01)
    assert set(model.bias("denoise").layout) == {
        name for name, weight in model.backbone.named_parameters() if weight.dim() == 4 and name != "embed.weight"
    }
    for task in ("denoise", "deblur"):
        torch.testing.assert_close(restored[task], model.backbone(x), rtol=0, atol=0)
