"""Convolution against scipy's in every way that it is done, at borders, with context and in tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ipt_platform.data.degradations import Frame, convolve
from ipt_platform.data.degradations.frame import Context


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def few(radius, count=40, seed=1):
    """Scattered weights."""
    rng, kernel = np.random.default_rng(seed), np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    kernel.ravel()[rng.permutation(kernel.size)[:count]] = rng.random(min(count, kernel.size))
    return kernel / kernel.sum()


def product(radius, seed=1):
    """A column times a row, neither symmetric."""
    rng = np.random.default_rng(seed)
    kernel = np.outer(rng.random(2 * radius + 1) + 0.1, rng.random(2 * radius + 1) + 0.1)
    return (kernel / kernel.sum()).astype(np.float32)


def dense(radius, seed=1):
    kernel = np.random.default_rng(seed).random((2 * radius + 1, 2 * radius + 1))
    return (kernel / kernel.sum()).astype(np.float32)


def expected(x, kernel):
    return np.stack([ndimage.convolve(x[..., c].astype(np.float64), kernel, mode="mirror") for c in range(3)], axis=-1)


@pytest.mark.parametrize(
    "kernel", [few(1, 4), few(5), few(20), few(32, 100), dense(2), dense(5), dense(6), dense(12), product(9)]
)
@pytest.mark.parametrize("size", [(60, 70), (33, 90)])
def test_every_kind_of_kernel_convolves_as_scipy_does(kernel, size):
    x = picture(*size)

    np.testing.assert_allclose(convolve.convolve(x, kernel), expected(x, kernel), atol=3e-6)


def test_kinds_are_told_apart():
    assert convolve._sides(product(7)) is not None
    assert convolve._sides(dense(7)) is None
    nearly = product(7)
    nearly[3, 4] *= 1.001
    assert convolve._sides(nearly) is None


@pytest.mark.parametrize("kernel", [few(6), dense(7), product(7)])
def test_context_is_looked_at_and_not_given_back(kernel):
    x = picture(50, 60)
    whole = convolve.convolve(x, kernel)

    part = convolve.convolve(x[5:40], kernel, Frame(50, 60, 5, 0, Context(above=9, below=8)))

    assert part.shape == (18, 60, 3)
    np.testing.assert_allclose(part, whole[14:32], atol=3e-6)


def test_pictures_of_many_tiles_have_no_seams(monkeypatch):
    x, kernel = picture(90, 75), dense(8)
    whole = convolve.convolve(x, kernel)
    monkeypatch.setattr(convolve, "_TILE", 32)

    np.testing.assert_allclose(convolve.convolve(x, kernel), whole, atol=3e-6)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(1, 20), count=st.integers(1, 300))
def test_boxes_hold_every_weight_once_and_few_each(seed, radius, count):
    kernel = few(radius, count, seed)
    held = np.zeros_like(kernel)

    for rows, columns in convolve.boxes(kernel):
        assert 0 < kernel[rows, columns].size <= 129
        held[rows, columns] += kernel[rows, columns]

    np.testing.assert_array_equal(held, kernel)
