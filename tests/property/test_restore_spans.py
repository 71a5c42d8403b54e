import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.restore.tiles import spans


@given(length=st.integers(1, 3000), steps=st.integers(1, 6), overlaps=st.integers(1, 16))
def test_the_weights_of_all_tiles_sum_to_one_at_every_pixel(length, steps, overlaps):
    overlap = 16 * min(overlaps, 8 * steps)
    tile = overlap + 128 * steps

    total = np.zeros(length)
    for span in spans(length, tile, overlap):
        total[span.start : span.stop] += span.weight

    np.testing.assert_allclose(total, 1, atol=1e-12)


@given(length=st.integers(1, 3000), steps=st.integers(1, 6))
def test_pixels_near_a_cut_never_count(length, steps):
    for span in spans(length, 64 + 128 * steps, 64):
        assert span.start == 0 or (span.weight[:24] == 0).all()
        assert span.stop == length or (span.weight[-24:] == 0).all()
