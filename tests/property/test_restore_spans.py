import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.restore.tiles import spans


@given(length=st.integers(1, 3000), tiles=st.integers(2, 8), overlaps=st.integers(1, 4))
def test_the_weights_of_all_tiles_sum_to_one_at_every_pixel(length, tiles, overlaps):
    tile, overlap = 64 * tiles, 64 * min(overlaps, tiles // 2)

    total = np.zeros(length)
    for span in spans(length, tile, overlap):
        total[span.start : span.stop] += span.weight

    np.testing.assert_allclose(total, 1, atol=1e-12)


@given(length=st.integers(1, 3000), tiles=st.integers(2, 8))
def test_pixels_near_a_cut_never_count(length, tiles):
    for span in spans(length, 64 * tiles, 64):
        assert span.start == 0 or (span.weight[:24] == 0).all()
        assert span.stop == length or (span.weight[-24:] == 0).all()
